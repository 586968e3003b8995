"""What comes back from a tool → what the model and the client are told.

Results are JSON by orjson, errors are sentences; both have a limit, and neither has a secret in it. Of what a tool
raises only the words of a `ToolError` are told: they were written for the model. Everything else is for the log.
"""

import bisect
import logging
from typing import Any, Final

import msgspec
import orjson

from winterbourne.chat.core.events import ToolStatus
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction

__all__ = ["CANCELLED", "Outcome", "encode", "failed", "outcome_for_exception", "timed_out", "truncate"]

_MAX_ERROR_CHARS: Final = 2000

_LOGGER: Final = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. `result` is JSON text and empty unless completed; `error` is empty if it is.

    `fault` says that the tool, or what it needs, is to blame; not the arguments, nor those who stopped it.
    """

    status: ToolStatus
    result: bytes = b""
    error: str = ""
    fault: bool = False


CANCELLED: Final = Outcome("cancelled", error="The call was stopped before it was done.")


def failed(error: str, *, fault: bool = False) -> Outcome:
    """A failure in these words."""
    return Outcome("failed", error=_error_message(error), fault=fault)


def timed_out(error: str) -> Outcome:
    """A timeout in these words."""
    return Outcome("timed_out", error=_error_message(error))


def outcome_for_exception(name: str, error: BaseException) -> Outcome:
    """A failure of the tool of this name by an exception: a ToolError in its own words, any other in one sentence."""
    message = _exception_message(error) if isinstance(error, ToolError) else ""
    fault = not isinstance(error, ToolError) or isinstance(error, ToolUnavailable)
    return failed(message or f"{name} failed because of an internal error.", fault=fault)


def encode(value: Any, max_bytes: int) -> bytes:
    """A value as JSON text of at most `limit` bytes; a larger one is cut to a JSON string that says so.

    Raises:
        ToolError: orjson cannot write it; the log says why.
    """
    try:
        encoded = orjson.dumps(value, default=_to_builtins, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        _LOGGER.warning("a tool's result cannot be written as JSON", exc_info=error)
        raise ToolError("The tool's result cannot be written as JSON.") from error
    redacted = redaction.redact_json(encoded) if len(encoded) <= max_bytes else encoded
    return redacted if len(redacted) <= max_bytes else truncate(redacted, max_bytes)


def truncate(encoded: bytes, max_bytes: int) -> bytes:
    """The beginning of a JSON text without secrets, as a JSON string of at most `limit` bytes with a note at its end.

    A text is cut as the text it is; anything else is cut as the JSON it was written in.
    """
    decoded = orjson.loads(encoded) if encoded.startswith(b'"') else encoded.decode()
    text = redaction.redact_prefix(decoded, max_bytes).encode()
    note = f" … [cut: the result has {len(encoded)} bytes of JSON, the limit is {max_bytes}]"

    def encoded_size(kept_bytes: int) -> int:
        return len(_encode_with_note(text, kept_bytes, note))

    # The size grows with what is kept; escaping decides by how much.
    return _encode_with_note(
        text, bisect.bisect_right(range(min(len(text), max_bytes)), max_bytes, key=encoded_size) - 1, note
    )


def _encode_with_note(text: bytes, kept_bytes: int, note: str) -> bytes:
    return orjson.dumps(text[: max(kept_bytes, 0)].decode(errors="ignore") + note)


def _to_builtins(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError


def _exception_message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - an exception whose text fails, or exits, is still only a failed tool
        return ""


def _error_message(text: str) -> str:
    redacted = redaction.redact_prefix(text.encode(errors="replace").decode(), _MAX_ERROR_CHARS)
    return redacted if len(text) <= _MAX_ERROR_CHARS else f"{redacted} … [cut]"
