"""What the log has of an exception: all that helps, bounded, and nothing of what a user said."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import redaction
from chat.exception_text import ARGUMENTS, HIDDEN, MAX_CHARS, MAX_EXCEPTIONS, described, loggable, message_of


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Berth(msgspec.Struct):
    ship: str
    length: float = 0


@pytest.fixture
def hidden() -> Iterator[Any]:
    """Sets the arguments of the tool that runs."""
    token = ARGUMENTS.set(None)
    yield ARGUMENTS.set
    ARGUMENTS.reset(token)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error from cause  # noqa: TRY301  (to have a traceback)
    except BaseException as caught:  # noqa: BLE001  (whatever the test raises)
        return caught


class TestDescribed:
    def test_it_reads_like_pythons_own(self) -> None:
        text = described(raised(ValueError("odd"), raised(KeyError("x"))))
        first, second = text.split("\nThe above exception was the direct cause of the following exception:\n\n")
        for part, last in ((first, "KeyError: 'x'\n"), (second, "ValueError: odd\n")):
            assert part.startswith("Traceback (most recent call last):\n  File ")
            assert part.endswith(last)

    def test_a_cause_that_was_put_aside_is_not_told(self) -> None:
        def aside() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301  (as careless code does)
            except KeyError:
                raise ValueError("odd") from None

        with pytest.raises(ValueError, match="odd") as caught:
            aside()
        assert "KeyError" not in described(caught.value)

    def test_what_was_being_handled_is_told(self) -> None:
        def careless() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301  (as careless code does)
            except KeyError:
                raise ValueError("odd")  # noqa: B904  (that is the point)

        with pytest.raises(ValueError, match="odd") as caught:
            careless()
        assert "KeyError: 'x'\n\nDuring handling of the above exception" in described(caught.value)

    def test_the_members_of_a_group_and_notes_are_told(self) -> None:
        error = ExceptionGroup("several", [KeyError("x"), ExceptionGroup("in it", [OSError("y")])])
        error.add_note("while mooring")
        text = described(error)
        assert all(
            told in text for told in ("several (2 sub-exceptions)", "KeyError: 'x'", "OSError: y", "while mooring")
        )

    def test_causes_in_a_circle_end(self) -> None:
        first, second = KeyError("x"), ValueError("y")
        first.__cause__, second.__cause__ = second, first
        assert described(first).count("KeyError") == 1

    def test_of_very_many_causes_the_nearest_are_told(self) -> None:
        error: BaseException = KeyError("0")
        for number in range(1, 100):
            error = raised(ValueError(number), error)
        text = described(error)
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
        assert described(caught.value).count("  File ") == 20

    def test_an_exception_whose_text_fails_is_told_all_the_same(self) -> None:
        assert described(Hostile()) == "Hostile: <Hostile whose text raises RuntimeError>\n"

    def test_one_without_words_has_its_name(self) -> None:
        assert described(TimeoutError()) == "TimeoutError\n"

    def test_five_megabytes_become_a_few_lines(self) -> None:
        text = described(raised(ValueError("x " * 2_500_000), raised(KeyError("y" * 5_000_000))))
        assert len(text) < 10_000
        assert "… [cut: 5000000 characters]" in text


class TestMessages:
    def test_a_long_one_is_cut_between_words_and_never_within_a_secret(self) -> None:
        redaction.remember("sk-harbour")
        for before in range(MAX_CHARS - 15, MAX_CHARS + 2):
            assert "sk-" not in redaction.text(loggable("x" * before + " sk-harbour" + "y" * 100))
        assert loggable("word " * 1000).startswith("word word")

    @pytest.mark.parametrize(
        "words",
        [
            "no ship Black Pearl",
            "no ship 'Black Pearl'",
            "NO SHIP BLACK PEARL",
            "no ship black_pearl or Pearl",
            f"https://x.test/?ship={quote('Black Pearl')}&length=77.25",
            f"body was {json.dumps({'ship': 'Black Pearl'})}",
            "length 77.25 of a pearl",
        ],
    )
    def test_nothing_of_the_arguments_is_in_it(self, hidden: Any, words: str) -> None:
        hidden(Berth("Black Pearl", 77.25))
        told = message_of(ValueError(words)).casefold()
        assert not any(word in told for word in ("pearl", "77", "25")) or "black_pearl" in words
        assert HIDDEN in told

    def test_the_rest_of_it_stays(self, hidden: Any) -> None:
        hidden({"ship": "Black Pearl", "days": [1, True, None], "by": {"captain": "Sparrow"}})
        told = message_of(
            OSError("login failed for mysql://harbour@10.9.8.7/berths (Black Pearl, captain Sparrow, day 1)")
        )
        assert told == (f"login failed for mysql://harbour@10.9.8.7/berths ({HIDDEN}, {HIDDEN} {HIDDEN}, day {HIDDEN})")

    def test_short_words_of_a_sentence_stay(self, hidden: Any) -> None:
        hidden({"question": "Is the sea at the pier?"})
        assert message_of(OSError("the disk is full")) == "the disk is full"

    def test_without_arguments_it_is_as_it_was_written(self) -> None:
        assert message_of(ValueError("no ship Black Pearl")) == "no ship Black Pearl"

    @given(st.recursive(st.text(min_size=4), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_any_arguments_are_looked_through(self, arguments: Any) -> None:
        token = ARGUMENTS.set({"it": arguments})
        try:
            message_of(ValueError(f"{arguments!r}"))
        finally:
            ARGUMENTS.reset(token)
