"""Exceptions as text for the log: bounded however much they say, with their causes and the members of groups.

An exception's message may quote what it was raised over. While `ARGUMENTS` is set, words of those are left out of it:
what a user said is not for the log (LOG_MESSAGES). Frames show source lines and no values.
"""

import contextvars
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from chat import redaction

__all__ = ["ARGUMENTS", "EVERYTHING", "MAX_CHARS", "format_exception", "format_message", "loggable_text"]

ARGUMENTS: Final[contextvars.ContextVar[Any]] = contextvars.ContextVar("ARGUMENTS", default=None)
"""The arguments of the tool that runs in this context, where the log may not have them."""

MAX_CHARS: Final = 2000
"""Of one message; what follows is cut before it is formatted."""

MAX_FRAMES: Final = 20
"""The innermost of one traceback."""

MAX_EXCEPTIONS: Final = 8
"""Of one text: causes and members of groups."""

MAX_VALUES: Final = 20
"""Of the arguments are looked for as a whole, the longest first; their words are looked for all."""

HIDDEN: Final = "[argument]"
EVERYTHING: Final = object()
"""In `ARGUMENTS`: whose arguments a message may quote is not known, so nothing of it is shown."""

_WORD: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^\W_]+")  # an escape of an address is no part of a word
_WORD_AT_END: Final = re.compile(r"\w+\Z")
_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be been but by can cannot could did do does for from get had has have he her his i if in"
        " into is it its like may me my need no not of on one or our out please she should so some than that the their"
        " them then there these they this to too up us want was we were what when where which who why will with would"
        " you your",
    )
)
"""Words of every sentence tell nothing, and without them no message can be read."""

CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_exception(error: BaseException) -> str:
    """An exception with its traceback, its causes and the members of a group, in Python's own layout."""
    return "".join(_Description().of(error))


def format_message(error: BaseException) -> str:
    """What the exception says: at most MAX_CHARS characters, without the words of ARGUMENTS."""
    try:
        words = str(error)
    except Exception as worse:  # noqa: BLE001  (somebody's __str__; their error must be told all the same)
        return f"<{type(error).__name__} whose text raises {type(worse).__name__}>"
    return loggable_text(words)


def loggable_text(words: str) -> str:
    """At most MAX_CHARS characters, with a note where that is not all, and without the words of ARGUMENTS."""
    if len(words) <= MAX_CHARS:
        return _without_arguments(words)
    whole_words = _WORD_AT_END.sub("", redaction.redact_start(words, MAX_CHARS))
    return f"{_without_arguments(whole_words)} … [cut: {len(words)} characters]"


# Private functions and classes


class _Description:
    """One text; remembers what it has told, since causes may go in circles."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def of(self, error: BaseException) -> Iterator[str]:
        if id(error) in self._told or len(self._told) >= MAX_EXCEPTIONS:
            return
        self._told.add(id(error))
        if error.__cause__:
            yield from self._before(error.__cause__, CAUSED)
        elif error.__context__ and not error.__suppress_context__:
            yield from self._before(error.__context__, DURING)
        yield from _frames(error)
        yield f"{_name(error)}: {format_message(error)}".removesuffix(": ") + "\n"
        for note in getattr(error, "__notes__", ())[:MAX_EXCEPTIONS]:
            yield loggable_text(str(note)) + "\n"
        if isinstance(error, BaseExceptionGroup):
            for number, member in enumerate(error.exceptions, 1):
                yield from self._member(number, member)

    def _before(self, earlier: BaseException, between: str) -> Iterator[str]:
        if told := "".join(self.of(earlier)):
            yield told + between

    def _member(self, number: int, member: BaseException) -> Iterator[str]:
        if told := "".join(self.of(member)):
            yield f"---------------- {number} ----------------\n{told}"


def _name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    )


def _frames(error: BaseException) -> Iterator[str]:
    if error.__traceback__:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__, -MAX_FRAMES)


def _without_arguments(words: str) -> str:
    """Arguments are replaced where they stand as a whole, and so is every word of theirs but the common ones."""
    arguments = ARGUMENTS.get()
    if arguments is None or not words:
        return words
    if arguments is EVERYTHING:
        return f"[not shown: {len(words)} characters]"
    spoken = sorted(map(str, _values(msgspec.to_builtins(arguments, enc_hook=str))), key=len, reverse=True)
    for value in [value for value in spoken if len(value) <= MAX_CHARS][:MAX_VALUES]:
        if len(value) > 3:  # shorter ones are words
            for form in redaction.forms_of(value):
                words = words.replace(form, HIDDEN)
    hidden = {word for value in spoken for word in _telling_words(value.casefold())}
    return _WORD.sub(lambda word: HIDDEN if word[0].casefold() in hidden else word[0], words)


def _values(value: Any, *, names: bool = False) -> Iterator[Any]:
    """Everything in the arguments that a model wrote; the names of the parameters are the tool's own."""
    match value:
        case dict():
            if names:
                yield from value
            for inner in value.values():
                yield from _values(inner, names=True)
        case list() | tuple():
            for inner in value:
                yield from _values(inner, names=True)
        case None | bool():
            pass
        case _:
            yield value


def _telling_words(value: str) -> Iterable[str]:
    found = _WORD.findall(value)
    return found if len(found) == 1 else (word for word in found if word not in _COMMON)
