"""What the log has of an exception: all that helps, bounded, and nothing of what a user said."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import (
    EXCEPTION_REDACTOR,
    MASK,
    MAX_EXCEPTIONS,
    MAX_FRAMES,
    MAX_MESSAGE_CHARS,
    ArgumentRedactor,
    exception_class_name,
    exception_notes,
    format_exception,
    format_message,
)

SAID = st.text("bcå港1_ %", min_size=1)


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Berth(msgspec.Struct):
    ship: str
    length: float = 0


@pytest.fixture
def hidden() -> Iterator[Any]:
    """Sets the arguments of the tool that runs."""
    token = EXCEPTION_REDACTOR.set(None)
    yield lambda *arguments: EXCEPTION_REDACTOR.set(ArgumentRedactor(*map(json.dumps, arguments)))
    EXCEPTION_REDACTOR.reset(token)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error from cause  # noqa: TRY301 - to have a traceback
    except BaseException as caught:  # noqa: BLE001 - whatever the test raises
        return caught


class TestDescribed:
    def test_it_reads_like_pythons_own(self) -> None:
        text = format_exception(raised(ValueError("odd"), raised(KeyError("x"))))
        first, second = text.split("\nThe above exception was the direct cause of the following exception:\n\n")
        for part, last in ((first, "KeyError: 'x'\n"), (second, "ValueError: odd\n")):
            assert part.startswith("Traceback (most recent call last):\n  File ")
            assert part.endswith(last)

    def test_a_cause_that_was_put_aside_is_not_told(self) -> None:
        def aside() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301 - as careless code does
            except KeyError:
                raise ValueError("odd") from None

        with pytest.raises(ValueError, match="odd") as caught:
            aside()
        assert "KeyError" not in format_exception(caught.value)

    def test_what_was_being_handled_is_told(self) -> None:
        def careless() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301 - as careless code does
            except KeyError:
                raise ValueError("odd")  # noqa: B904 - that is the point

        with pytest.raises(ValueError, match="odd") as caught:
            careless()
        assert "KeyError: 'x'\n\nDuring handling of the above exception" in format_exception(caught.value)

    def test_the_members_of_a_group_and_notes_are_told(self) -> None:
        error = ExceptionGroup("several", [KeyError("x"), ExceptionGroup("in it", [OSError("y")])])
        error.add_note("while mooring")
        text = format_exception(error)
        assert all(
            told in text for told in ("several (2 sub-exceptions)", "KeyError: 'x'", "OSError: y", "while mooring")
        )

    def test_causes_in_a_circle_end(self) -> None:
        first, second = KeyError("x"), ValueError("y")
        first.__cause__, second.__cause__ = second, first
        assert format_exception(first).count("KeyError") == 1

    def test_of_very_many_causes_the_nearest_are_told(self) -> None:
        error: BaseException = KeyError("0")
        for number in range(1, 100):
            error = raised(ValueError(number), error)
        text = format_exception(error)
        assert text.endswith("ValueError: 99\n")
        assert text.count("ValueError: ") == MAX_EXCEPTIONS

    def test_a_deep_stack_is_cut(self) -> None:
        def even(left: int) -> None:
            odd(left - 1)

        def odd(left: int) -> None:
            if left < 0:
                raise RecursionError("too deep")
            even(left - 1)

        with pytest.raises(RecursionError) as caught:
            even(200)
        assert format_exception(caught.value).count("  File ") == MAX_FRAMES

    def test_an_exception_whose_text_fails_is_told_all_the_same(self) -> None:
        assert format_exception(Hostile()).endswith(".Hostile: <Hostile whose text raises RuntimeError>\n")

    @pytest.mark.parametrize("worse", [SystemExit, KeyboardInterrupt])
    def test_nor_does_one_whose_text_exits_end_the_process(self, worse: type[BaseException]) -> None:
        class Exits(Exception):
            def __str__(self) -> str:
                raise worse

        assert format_message(Exits()) == f"<Exits whose text raises {worse.__name__}>"

    def test_notes_are_few_and_need_not_be_notes(self) -> None:
        error = ValueError("x")
        for number in range(1000):
            error.add_note(f"{number} {'n' * 10_000}")
        assert len(exception_notes(error)) == MAX_EXCEPTIONS
        assert all(len(note) < MAX_MESSAGE_CHARS + 100 for note in exception_notes(error))
        for notes in (5, [object()], None):
            error.__notes__ = notes  # type: ignore[assignment]  # nobody checks it
            assert len(exception_notes(error)) == (notes != 5 and notes is not None)

    def test_notes_that_cannot_be_read_are_none(self) -> None:
        class Odd(Exception):
            @property
            def __notes__(self) -> list[str]:  # type: ignore[override]  # nobody checks it
                raise SystemExit("no notes")

        assert exception_notes(Odd()) == []
        assert "no notes" not in format_exception(Odd())

    def test_one_with_a_cause_that_is_false_is_told_with_it(self) -> None:
        class Falsy(Exception):
            def __bool__(self) -> bool:
                raise OSError

        assert "Falsy" in format_exception(raised(ValueError("odd"), Falsy("x")))

    def test_one_that_lies_is_told_somehow(self) -> None:
        class Named(type):
            @property
            def __name__(cls) -> str:  # type: ignore[override]  # nobody checks it
                raise OSError("no name")

        class Lies(Exception, metaclass=Named):
            @property  # type: ignore[misc]  # likewise
            def __class__(self) -> Any:
                return ExceptionGroup

        assert exception_class_name(Lies()) == "Lies"
        assert format_exception(Lies("x")).startswith(("<an exception that cannot be formatted", "tests."))

    def test_one_without_words_has_its_name(self) -> None:
        assert format_exception(TimeoutError()) == "TimeoutError\n"

    def test_five_megabytes_become_a_few_lines(self) -> None:
        text = format_exception(raised(ValueError("x " * 2_500_000), raised(KeyError("y" * 5_000_000))))
        assert len(text) < 10_000
        assert "… [cut: 5000000 characters]" in text


class TestMessages:
    def test_a_long_one_is_cut_between_words_and_never_within_a_secret(self) -> None:
        redaction.register("sk-harbour")
        for before in range(MAX_MESSAGE_CHARS - 15, MAX_MESSAGE_CHARS + 2):
            assert "sk-h" not in format_message(ValueError("x" * before + " sk-harbour" + "y" * 100))
        assert format_message(ValueError("word " * 1000)).startswith("word word")

    @pytest.mark.parametrize(
        "words",
        [
            "no ship Black Pearl",
            "no ship 'Black Pearl'",
            "NO SHIP BLACK PEARL",
            "no ship black_pearl or Pearl",
            f"https://x.test/?ship={quote('Black Pearl')}&length=77.25",
            f"https://x.test/?ship={quote_plus('Black Pearl')}",
            f"body was {json.dumps({'ship': 'Black Pearl'})}",
            "length 77.25 of a pearl",
            "by Jack of the Rom",
        ],
    )
    def test_nothing_of_the_arguments_is_in_it(self, hidden: Any, words: str) -> None:
        hidden({"ship": "Black Pearl", "length": 77.25, "note": "Jack was in Rom for the sun"})
        told = format_message(ValueError(words)).casefold()
        assert MASK in told
        assert not any(word in told for word in ("black", "pearl", "77", "25", "jack", "rom"))

    def test_nor_of_arguments_that_are_no_ascii(self, hidden: Any) -> None:
        hidden({"ship": "Überfahrt 港"})
        for words in ("no Überfahrt 港", quote("Überfahrt 港"), json.dumps("Überfahrt 港"), "überfahrt"):
            assert not any(word in format_message(ValueError(words)) for word in ("berfahrt", "港", "6e2f", "%E6"))

    def test_the_rest_of_it_stays(self, hidden: Any) -> None:
        hidden({"ship": "Black Pearl", "days": [1, True, None], "by": {"captain": "Sparrow"}})
        told = format_message(
            OSError("login failed for mysql://harbour@10.9.8.7/berths (Black Pearl, by Sparrow, day 1)")
        )
        assert told == (f"login failed for mysql://harbour@10.9.8.7/berths ({MASK}, by {MASK}, day {MASK})")

    def test_nor_of_a_message_that_is_cut(self, hidden: Any) -> None:
        hidden({"ship": "Endeavour"})
        told = format_message(ValueError("no Endeavour " * 1000))
        assert "Endeavour" not in told
        assert told.endswith(" … [cut: 13000 characters]")

    def test_a_message_can_still_be_read_after_a_long_question(self, hidden: Any) -> None:
        hidden({"question": "Can you tell me if the sea is in its bed, and what to do for it?"})
        words = "the tool could not reach the database at 10.9.8.7 in time, and it is not clear why"
        assert format_message(OSError(words)) == words

    def test_a_common_word_that_is_all_there_is_tells_something(self, hidden: Any) -> None:
        hidden({"answer": "no"})
        assert format_message(ValueError("the user said no")) == f"the user said {MASK}"

    def test_of_an_error_that_nobody_knows_the_arguments_of_nothing_is_shown(self, hidden: Any) -> None:
        hidden()
        assert format_message(ValueError("no ship Black Pearl")) == "[not shown: 19 characters]"
        assert format_message(ValueError()) == ""

    def test_arguments_that_are_no_json_are_words_all_the_same(self) -> None:
        token = EXCEPTION_REDACTOR.set(ArgumentRedactor('{"ship": "Black Pea'))
        try:
            assert format_message(ValueError("no Black Pea")) == f"no {MASK} {MASK}"
        finally:
            EXCEPTION_REDACTOR.reset(token)

    def test_an_argument_does_not_lay_open_what_is_left_of_a_secret(self, hidden: Any) -> None:
        redaction.register("made-up-provider-key")
        hidden({"word": "provider"})
        assert format_message(ValueError("401 for made-up-provider-key")) == "401 for [redacted]"

    def test_without_arguments_it_is_as_it_was_written(self) -> None:
        assert format_message(ValueError("no ship Black Pearl")) == "no ship Black Pearl"

    @given(st.recursive(SAID, lambda inner: st.lists(inner) | st.dictionaries(SAID, inner)))
    def test_no_word_of_any_arguments_is_in_it(self, arguments: Any) -> None:
        token = EXCEPTION_REDACTOR.set(ArgumentRedactor(json.dumps({"it": arguments})))
        try:
            told = format_message(ValueError(f"it was {arguments!r}"))
        finally:
            EXCEPTION_REDACTOR.reset(token)
        left = told.replace(MASK, "").removeprefix("it was ")
        assert not re.search(r"b|c|å|港|1", left.partition(" … [cut")[0])
