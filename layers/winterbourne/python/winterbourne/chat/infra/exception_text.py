"""Formats exceptions for the log: with causes and group members, bounded in length, tool arguments redacted.

An exception's message may quote the data that caused it. While `EXCEPTION_REDACTOR` is set, the words of a tool's
arguments are masked: user content is logged only if LOG_MESSAGES allows it. Frames show source lines and no values.
"""

import contextlib
import contextvars
import functools
import json
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Final

from winterbourne.chat.infra import redaction
from winterbourne.log_formats import class_name as exception_class_name
from winterbourne.log_formats import safe_str

__all__ = [
    "EXCEPTION_REDACTOR",
    "MAX_FRAMES",
    "MAX_MESSAGE_CHARS",
    "ArgumentRedactor",
    "exception_class_name",
    "exception_notes",
    "format_exception",
    "format_message",
]

MAX_MESSAGE_CHARS: Final = 2000
"""Per message; longer ones are truncated before formatting."""

MAX_FRAMES: Final = 20
"""Per traceback: the innermost ones."""

MAX_EXCEPTIONS: Final = 8
"""Per text, causes and group members included. Also the limit for the notes of one exception."""

MAX_LONG_VALUES: Final = 20
"""How many argument values are searched for as a whole, the longest first. There is no limit for single words."""

MASK: Final = "[argument]"

CAUSE_SEPARATOR: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT_SEPARATOR: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


class ArgumentRedactor:
    """Masks tool arguments in exception messages, or hides the whole message.

    Args:
        *arguments: JSON texts as the model wrote them. With none, messages are hidden: what they quote is unknown.
    """

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def redact(self, text: str) -> str:
        """The text with argument values masked, and all their single words except common ones."""
        if not self._arguments:
            return f"[not shown: {len(text)} characters]"
        for form in self._long_value_forms:
            text = text.replace(form, MASK)
        return re.sub(_WORD, lambda word: MASK if word[0].casefold() in self._argument_words else word[0], text)

    @functools.cached_property
    def _argument_values(self) -> list[str]:
        values = (value for text in self._arguments for value in _leaf_values(_decode_json(text)))
        return sorted(map(str, values), key=len, reverse=True)

    @functools.cached_property
    def _long_value_forms(self) -> list[str]:
        long_values = [value for value in self._argument_values if _SHORT_CHARS < len(value) <= MAX_MESSAGE_CHARS]
        return [form for value in long_values[:MAX_LONG_VALUES] for form in redaction.encoded_forms(value)]

    @functools.cached_property
    def _argument_words(self) -> set[str]:
        return {word for value in self._argument_values for word in _significant_words(value.casefold())}


EXCEPTION_REDACTOR: Final = contextvars.ContextVar[ArgumentRedactor | None]("exception_redactor", default=None)
"""Redacts the exception messages logged in this context; None masks only secrets."""


def format_exception(error: BaseException) -> str:
    """An exception with its traceback, causes and group members, much as Python prints it."""
    try:
        return "".join(_format(error, set()))
    except BaseException as worse:  # noqa: BLE001 - a property may raise anything; the line is logged anyway
        return f"<an exception that cannot be formatted: formatting it raises {exception_class_name(worse)}>\n"


def format_message(error: BaseException) -> str:
    """The exception's message, redacted, at most MAX_MESSAGE_CHARS characters of it."""
    return _redact_and_truncate(safe_str(error))


def exception_notes(error: BaseException) -> list[str]:
    """The exception's first MAX_EXCEPTIONS notes, redacted, at most MAX_MESSAGE_CHARS characters of each."""
    with contextlib.suppress(BaseException):  # there are no notes, or they cannot be read
        return [_redact_and_truncate(str(note)) for note in error.__notes__[:MAX_EXCEPTIONS]]
    return []


_SHORT_CHARS: Final = 3  # values up to this length are searched for only as words
_WORD: Final = r"%[0-9A-Fa-f]{2}|[^\W_]+"  # a percent-escape of a URL is not part of a word
_WORD_AT_END: Final = r"\w+\Z"
# Common words reveal nothing, and a message with them masked would be unreadable.
_COMMON_TEXT: Final = """
    a an and are as at be been but by can cannot could did do does for from get had has have he her his i if in into is
    it its like may me my need no not of on one or our out please she should so some than that the their them then there
    these they this to too up us want was we were what when where which who why will with would you your
"""
_STOP_WORDS: Final = frozenset(_COMMON_TEXT.split())


def _redact_and_truncate(text: str) -> str:
    redactor = EXCEPTION_REDACTOR.get()
    if len(text) <= MAX_MESSAGE_CHARS:
        text = redaction.redact(text)  # first: masking an argument within a secret would leave the rest of it readable
        return redactor.redact(text) if redactor and text else text
    whole_words = re.sub(_WORD_AT_END, "", redaction.redact_prefix(text, MAX_MESSAGE_CHARS))
    shown = redactor.redact(whole_words) if redactor else whole_words
    return f"{shown} … [cut: {len(text)} characters]"


def _decode_json(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text or "{}", strict=False)
    return text  # not JSON: treated as one value


def _leaf_values(value: Any, *, include_names: bool = False) -> Iterator[Any]:
    """Every value that the model wrote. Top-level names are skipped: they are the tool's parameters."""
    if isinstance(value, dict):
        if include_names:
            yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _leaf_values(inner, include_names=True)
    elif not isinstance(value, bool | None):
        yield value


def _significant_words(value: str) -> Iterable[str]:
    found = re.findall(_WORD, value)
    return found if len(found) == 1 else (word for word in found if word not in _STOP_WORDS)


def _format(error: BaseException, seen: set[int], before: str = "", after: str = "") -> Iterator[str]:
    """The text of an exception between two others; nothing of one that was `seen`, since causes may form a cycle."""
    if id(error) in seen or len(seen) >= MAX_EXCEPTIONS:
        return
    seen.add(id(error))
    yield before
    if error.__cause__ is not None:
        yield from _format(error.__cause__, seen, after=CAUSE_SEPARATOR)
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _format(error.__context__, seen, after=CONTEXT_SEPARATOR)
    if error.__traceback__:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__, -MAX_FRAMES)
    yield f"{_qualified_name(error)}: {format_message(error)}".removesuffix(": ") + "\n"
    yield from (f"{note}\n" for note in exception_notes(error))
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions, 1):
            yield from _format(member, seen, before=f"---------------- {number} ----------------\n")
    yield after


def _qualified_name(error: BaseException) -> str:
    module, name = type(error).__module__, type(error).__qualname__
    return name if module in {"builtins", "__main__"} else f"{module}.{name}"
