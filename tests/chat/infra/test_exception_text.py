"""Exception text for the log: causes, groups and notes, bounded in length, with the tool's arguments redacted."""

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
from winterbourne.override import override

ARGUMENT_TEXT = st.text("bcå港1_ %", min_size=1)


class Hostile(Exception):
    @override
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Berth(msgspec.Struct):
    ship: str
    length: float = 0


@pytest.fixture
def redact_arguments() -> Iterator[Any]:
    """A function that sets the arguments to redact: those of the tool that runs."""
    token = EXCEPTION_REDACTOR.set(None)
    yield lambda *arguments: EXCEPTION_REDACTOR.set(ArgumentRedactor(*map(json.dumps, arguments)))
    EXCEPTION_REDACTOR.reset(token)


def with_traceback(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error from cause  # noqa: TRY301 - to have a traceback
    except BaseException as caught:  # noqa: BLE001 - whatever the test raises
        return caught


class TestFormatException:
    def test_it_looks_like_pythons_own_traceback(self) -> None:
        text = format_exception(with_traceback(ValueError("odd"), with_traceback(KeyError("x"))))
        first, second = text.split("\nThe above exception was the direct cause of the following exception:\n\n")
        for part, last in ((first, "KeyError: 'x'\n"), (second, "ValueError: odd\n")):
            assert part.startswith("Traceback (most recent call last):\n  File ")
            assert part.endswith(last)

    def test_a_suppressed_context_is_left_out(self) -> None:
        def suppress_context() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301 - an exception that is being handled is needed
            except KeyError:
                raise ValueError("odd") from None

        with pytest.raises(ValueError, match="odd") as caught:
            suppress_context()
        assert "KeyError" not in format_exception(caught.value)

    def test_the_exception_that_was_being_handled_is_included(self) -> None:
        def raise_while_handling() -> None:
            try:
                raise KeyError("x")  # noqa: TRY301 - an exception that is being handled is needed
            except KeyError:
                raise ValueError("odd")  # noqa: B904 - the implicit context is what is tested

        with pytest.raises(ValueError, match="odd") as caught:
            raise_while_handling()
        assert "KeyError: 'x'\n\nDuring handling of the above exception" in format_exception(caught.value)

    def test_the_members_of_a_group_and_notes_are_included(self) -> None:
        error = ExceptionGroup("several", [KeyError("x"), ExceptionGroup("in it", [OSError("y")])])
        error.add_note("while mooring")
        text = format_exception(error)
        assert all(
            part in text for part in ("several (2 sub-exceptions)", "KeyError: 'x'", "OSError: y", "while mooring")
        )

    def test_circular_causes_end(self) -> None:
        first, second = KeyError("x"), ValueError("y")
        first.__cause__, second.__cause__ = second, first
        assert format_exception(first).count("KeyError") == 1

    def test_of_very_many_causes_the_nearest_are_included(self) -> None:
        error: BaseException = KeyError("0")
        for number in range(1, 100):
            error = with_traceback(ValueError(number), error)
        text = format_exception(error)
        assert text.endswith("ValueError: 99\n")
        assert text.count("ValueError: ") == MAX_EXCEPTIONS

    def test_a_deep_stack_is_truncated(self) -> None:
        def even(left: int) -> None:
            odd(left - 1)

        def odd(left: int) -> None:
            if left < 0:
                raise RecursionError("too deep")
            even(left - 1)

        with pytest.raises(RecursionError) as caught:
            even(200)
        assert format_exception(caught.value).count("  File ") == MAX_FRAMES

    def test_an_exception_whose_str_raises_is_still_formatted(self) -> None:
        assert format_exception(Hostile()).endswith(".Hostile: <Hostile whose text raises RuntimeError>\n")

    @pytest.mark.parametrize("worse", [SystemExit, KeyboardInterrupt])
    def test_an_exception_whose_str_exits_does_not_end_the_process(self, worse: type[BaseException]) -> None:
        class Exits(Exception):
            @override
            def __str__(self) -> str:
                raise worse

        assert format_message(Exits()) == f"<Exits whose text raises {worse.__name__}>"

    def test_notes_are_limited_and_may_be_malformed(self) -> None:
        error = ValueError("x")
        for number in range(1000):
            error.add_note(f"{number} {'n' * 10_000}")
        assert len(exception_notes(error)) == MAX_EXCEPTIONS
        assert all(len(note) < MAX_MESSAGE_CHARS + 100 for note in exception_notes(error))
        for notes in (5, [object()], None):
            error.__notes__ = notes  # type: ignore[assignment]  # Python does not check it
            assert len(exception_notes(error)) == (notes != 5 and notes is not None)

    def test_notes_that_cannot_be_read_are_left_out(self) -> None:
        class Odd(Exception):
            @property
            @override
            def __notes__(self) -> list[str]:  # type: ignore[override]  # Python does not check it
                raise SystemExit("no notes")

        assert exception_notes(Odd()) == []
        assert "no notes" not in format_exception(Odd())

    def test_a_cause_whose_bool_raises_is_included(self) -> None:
        class Falsy(Exception):
            def __bool__(self) -> bool:
                raise OSError

        assert "Falsy" in format_exception(with_traceback(ValueError("odd"), Falsy("x")))

    def test_an_exception_that_fakes_its_class_is_still_formatted(self) -> None:
        class Named(type):
            @property
            @override
            def __name__(cls) -> str:  # type: ignore[override]  # Python does not check it
                raise OSError("no name")

        class Lies(Exception, metaclass=Named):
            @property  # type: ignore[misc]  # Python does not check it
            @override
            def __class__(self) -> Any:
                return ExceptionGroup

        assert exception_class_name(Lies()) == "Lies"
        assert format_exception(Lies("x")).startswith(("<an exception that cannot be formatted", "tests."))

    def test_an_exception_without_a_message_has_its_name(self) -> None:
        assert format_exception(TimeoutError()) == "TimeoutError\n"

    def test_five_megabytes_become_a_few_lines(self) -> None:
        text = format_exception(with_traceback(ValueError("x " * 2_500_000), with_traceback(KeyError("y" * 5_000_000))))
        assert len(text) < 10_000
        assert "… [cut: 5000000 characters]" in text


class TestFormatMessage:
    def test_a_long_message_is_truncated_between_words_and_never_within_a_secret(self) -> None:
        redaction.register("sk-harbour")
        for chars_before in range(MAX_MESSAGE_CHARS - 15, MAX_MESSAGE_CHARS + 2):
            assert "sk-h" not in format_message(ValueError("x" * chars_before + " sk-harbour" + "y" * 100))
        assert format_message(ValueError("word " * 1000)).startswith("word word")

    @pytest.mark.parametrize(
        "text",
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
    def test_arguments_are_redacted_in_any_spelling(self, redact_arguments: Any, text: str) -> None:
        redact_arguments({"ship": "Black Pearl", "length": 77.25, "note": "Jack was in Rom for the sun"})
        message = format_message(ValueError(text)).casefold()
        assert MASK in message
        assert not any(word in message for word in ("black", "pearl", "77", "25", "jack", "rom"))

    def test_arguments_that_are_not_ascii_are_redacted(self, redact_arguments: Any) -> None:
        redact_arguments({"ship": "Überfahrt 港"})
        for text in ("no Überfahrt 港", quote("Überfahrt 港"), json.dumps("Überfahrt 港"), "überfahrt"):
            assert not any(word in format_message(ValueError(text)) for word in ("berfahrt", "港", "6e2f", "%E6"))

    def test_the_rest_of_the_message_stays(self, redact_arguments: Any) -> None:
        redact_arguments({"ship": "Black Pearl", "days": [1, True, None], "by": {"captain": "Sparrow"}})
        message = format_message(
            OSError("login failed for mysql://harbour@10.9.8.7/berths (Black Pearl, by Sparrow, day 1)")
        )
        assert message == (f"login failed for mysql://harbour@10.9.8.7/berths ({MASK}, by {MASK}, day {MASK})")

    def test_arguments_are_redacted_in_a_message_that_is_truncated(self, redact_arguments: Any) -> None:
        redact_arguments({"ship": "Endeavour"})
        message = format_message(ValueError("no Endeavour " * 1000))
        assert "Endeavour" not in message
        assert message.endswith(" … [cut: 13000 characters]")

    def test_common_words_of_a_long_argument_are_not_redacted(self, redact_arguments: Any) -> None:
        redact_arguments({"question": "Can you tell me if the sea is in its bed, and what to do for it?"})
        text = "the tool could not reach the database at 10.9.8.7 in time, and it is not clear why"
        assert format_message(OSError(text)) == text

    def test_a_common_word_that_is_the_whole_argument_is_redacted(self, redact_arguments: Any) -> None:
        redact_arguments({"answer": "no"})
        assert format_message(ValueError("the user said no")) == f"the user said {MASK}"

    def test_the_whole_message_is_hidden_if_the_arguments_are_unknown(self, redact_arguments: Any) -> None:
        redact_arguments()
        assert format_message(ValueError("no ship Black Pearl")) == "[not shown: 19 characters]"
        assert format_message(ValueError()) == ""

    def test_arguments_that_are_not_json_are_redacted_too(self) -> None:
        token = EXCEPTION_REDACTOR.set(ArgumentRedactor('{"ship": "Black Pea'))
        try:
            assert format_message(ValueError("no Black Pea")) == f"no {MASK} {MASK}"
        finally:
            EXCEPTION_REDACTOR.reset(token)

    def test_secrets_are_redacted_before_arguments(self, redact_arguments: Any) -> None:
        redaction.register("made-up-provider-key")
        redact_arguments({"word": "provider"})
        assert format_message(ValueError("401 for made-up-provider-key")) == "401 for [redacted]"

    def test_without_arguments_the_message_is_unchanged(self) -> None:
        assert format_message(ValueError("no ship Black Pearl")) == "no ship Black Pearl"

    @given(st.recursive(ARGUMENT_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ARGUMENT_TEXT, inner)))
    def test_no_word_of_any_arguments_is_left(self, arguments: Any) -> None:
        token = EXCEPTION_REDACTOR.set(ArgumentRedactor(json.dumps({"it": arguments})))
        try:
            message = format_message(ValueError(f"it was {arguments!r}"))
        finally:
            EXCEPTION_REDACTOR.reset(token)
        remaining = message.replace(MASK, "").removeprefix("it was ")
        assert not re.search(r"b|c|å|港|1", remaining.partition(" … [cut")[0])
