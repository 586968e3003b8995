"""Tool results: what a tool returns or raises → what the model and the client receive.

Results are JSON encoded by orjson, errors are sentences; both are limited in size, and secrets are redacted. Of the
exceptions a tool raises, only the text of a `ToolError` is passed on, since it was written for the model. Everything
else goes to the log.
"""

import bisect
import contextlib
import dataclasses
import logging
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.events import ToolStatus
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import exception_class_name

__all__ = [
    "CANCELLED",
    "Outcome",
    "batch_outcomes",
    "completed",
    "counts_as_failure",
    "denied",
    "encode",
    "failed",
    "handle_exception",
    "outcome_for_exception",
    "timed_out",
    "truncate",
]

_MAX_ERROR_CHARS: Final = 2000
_CONTAINERS: Final = (dict, list, tuple, set, frozenset)
_LARGE: Final = 1024 * 1024  # bytes of JSON that take about a millisecond to write

_LOGGER: Final = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. `result` is JSON text and empty unless completed; `error` is empty exactly then.

    `cached` is set if the result is one that was cached.
    """

    status: ToolStatus
    result: bytes = b""
    error: str = ""
    cached: bool | UnsetType = UNSET


CANCELLED: Final = Outcome("cancelled", error="The call was stopped before it was done.")


def failed(error: str) -> Outcome:
    """A failed outcome with this message, redacted and limited in length."""
    return Outcome("failed", error=_error_message(error))


def timed_out(error: str) -> Outcome:
    """A timed-out outcome with this message, redacted and limited in length."""
    return Outcome("timed_out", error=_error_message(error))


def denied(error: str) -> Outcome:
    """The outcome of a call that a person did not allow, with this message, redacted and limited in length."""
    return Outcome("denied", error=_error_message(error))


def completed(value: Any, max_bytes: int) -> Outcome:
    """The outcome of what a tool returned.

    Raises:
        ToolError: It cannot be encoded as JSON.
    """
    return Outcome("completed", encode(value, max_bytes))


def batch_outcomes(name: str, values: Sequence[Any], max_bytes: int) -> list[Outcome]:
    """The outcomes of what a batch function returned: results, or exceptions in their places."""
    return [_batch_item_outcome(name, value, max_bytes) for value in values]


def _batch_item_outcome(name: str, value: Any, max_bytes: int) -> Outcome:
    if isinstance(value, BaseException):
        return handle_exception(name, value)
    try:
        return completed(value, max_bytes)
    except ToolError as error:
        return handle_exception(name, error)


def outcome_for_exception(name: str, error: BaseException) -> Outcome:
    """The failed outcome of an exception: the text of a ToolError, or one generic sentence for any other exception."""
    message = ""
    with contextlib.suppress(BaseException):  # a str() that raises, even SystemExit, fails only this call
        message = str(error) if isinstance(error, ToolError) else ""
    return failed(message or f"{name} failed because of an internal error.")


def handle_exception(name: str, error: BaseException) -> Outcome:
    """The outcome of an exception that a tool raised. Logged with its cause, unless it is an intended ToolError."""
    if counts_as_failure(error):
        _LOGGER.warning("tool %s raised %s", name, exception_class_name(error), exc_info=error)
    return outcome_for_exception(name, error)


def counts_as_failure(error: BaseException) -> bool:
    """Whether the tool or a service it depends on failed, for retries and circuit breakers.

    A ToolError is raised on purpose, about wrong arguments for example; only a ToolUnavailable counts.
    """
    return not isinstance(error, ToolError) or isinstance(error, ToolUnavailable)


def encode(value: Any, max_bytes: int) -> bytes:
    """Encode a value as JSON text of at most `max_bytes`; a larger one is cut to a JSON string that says so.

    Of a very large value only the beginning is encoded, since the loop must not stand still for what is cut anyway.

    Raises:
        ToolError: orjson cannot encode it; the log says why.
    """
    is_large = _is_large(value, max(_LARGE, 2 * max_bytes))
    try:
        shown = _Beginning(2 * max_bytes).of(value) if is_large else value
        encoded = orjson.dumps(shown, default=_to_builtins, option=orjson.OPT_NON_STR_KEYS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        _LOGGER.warning("a tool's result cannot be written as JSON", exc_info=error)
        raise ToolError("The tool's result cannot be written as JSON.") from error
    redacted = redaction.redact_json(encoded) if len(encoded) <= max_bytes else encoded
    if len(redacted) <= max_bytes and not is_large:
        return redacted
    return truncate(redacted, max_bytes, f"more than {_LARGE}" if is_large else "")


def truncate(encoded: bytes, max_bytes: int, size: str = "") -> bytes:
    """Cut JSON text to a JSON string of at most `max_bytes`, redacted, with a note at its end.

    A JSON string is cut as the text it holds, any other value as its JSON text. `size` is what the note says of its
    length, if `encoded` is not all of it.
    """
    decoded = orjson.loads(encoded) if encoded.startswith(b'"') else encoded.decode()
    text = redaction.redact_prefix(decoded, max_bytes).encode()
    note = f" … [cut: the result has {size or len(encoded)} bytes of JSON, the limit is {max_bytes}]"

    def encoded_size(kept_bytes: int) -> int:
        return len(_encode_with_note(text, kept_bytes, note))

    # Binary search: the encoded size grows with the bytes kept, but unevenly because of escaping.
    kept_bytes = bisect.bisect_right(range(min(len(text), max_bytes)), max_bytes, key=encoded_size) - 1
    return _encode_with_note(text, kept_bytes, note)


def _encode_with_note(text: bytes, kept_bytes: int, note: str) -> bytes:
    return orjson.dumps(text[: max(kept_bytes, 0)].decode(errors="ignore") + note)


def _is_large(value: Any, limit: int) -> bool:
    """Whether a value may have more than about `limit` bytes of JSON; looks at no more of it than that."""
    if isinstance(value, str):
        return len(value) > limit
    pending = [value]
    while pending:
        limit -= _own_size(value := pending.pop())
        if limit < 0:
            return True
        pending += _parts(value)
    return False


def _own_size(value: Any) -> int:
    """Bytes of a text, or at least as many as a container's parts take."""
    if isinstance(value, str):
        return len(value)
    return 2 * len(value) if isinstance(value, _CONTAINERS) else 2


def _parts(value: Any) -> Collection[Any]:
    """The values in a container, or in an object that is encoded as one."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, _CONTAINERS):
        return value
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.astuple(value)
    return vars(value).values() if dataclasses.is_dataclass(value) and hasattr(value, "__dict__") else ()


class _Beginning(msgspec.Struct):
    """Copies the beginning of a value.

    Attributes:
        left: About how many bytes of JSON the copy may still have.
    """

    left: int

    def of(self, value: Any) -> Any:
        """The value, or as much of it as fits."""
        if isinstance(value, str):
            value = value[: max(0, self.left)]
            self.left -= len(value)
        elif isinstance(value, dict):
            value = {name: self.of(part) for name, part in value.items() if self._continues()}
        elif parts := _parts(value):
            fields = getattr(value, "__struct_fields__", None) or getattr(value, "__dict__", None)
            copy = [self.of(part) for part in parts if self._continues()]
            value = dict(zip(fields, copy, strict=False)) if fields else copy
        return value

    def _continues(self) -> bool:
        self.left -= 2
        return self.left > 0


def _to_builtins(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError


def _error_message(text: str) -> str:
    redacted = redaction.redact_prefix(text.encode(errors="replace").decode(), _MAX_ERROR_CHARS)
    return redacted if len(text) <= _MAX_ERROR_CHARS else f"{redacted} … [cut]"
