"""What comes back from a tool → what the model and the client are told. Pure.

Results are JSON by orjson, errors are sentences; both have a limit in bytes.
"""

import bisect
from typing import Any, Final

import msgspec
import orjson

from chat.errors import ToolError, ToolUnavailable
from chat.events import ToolStatus

__all__ = ["CANCELLED", "Outcome", "cut", "encode", "failed", "failed_by", "timed_out"]

_MAX_ERROR_CHARS: Final = 2000


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
    return Outcome("failed", error=_shortened(error), fault=fault)


def timed_out(error: str) -> Outcome:
    """A timeout in these words."""
    return Outcome("timed_out", error=_shortened(error))


def failed_by(error: BaseException) -> Outcome:
    """A failure by an exception: a ToolError in its own words, others by type and message, never a traceback."""
    words = _words(error)
    if isinstance(error, ToolError) and words:
        return failed(words, fault=isinstance(error, ToolUnavailable))
    return failed(f"{type(error).__name__}: {words}".rstrip(": "), fault=True)


def encode(value: Any, limit: int) -> bytes:
    """A value as JSON text of at most `limit` bytes; a larger one is cut to a JSON string that says so.

    Raises:
        ToolError: orjson cannot write it.
    """
    try:
        encoded = orjson.dumps(value, default=_builtin, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        raise ToolError(f"The tool's result cannot be written as JSON: {error}.") from error
    return encoded if len(encoded) <= limit else cut(encoded, limit)


def cut(encoded: bytes, limit: int) -> bytes:
    """The beginning of a JSON text, as a JSON string of at most `limit` bytes with a note at its end.

    A text is cut as the text it is; anything else is cut as the JSON it was written in.
    """
    text = orjson.loads(encoded).encode() if encoded.startswith(b'"') else encoded
    note = f" … [cut: the result has {len(encoded)} bytes of JSON, the limit is {limit}]"

    def size(kept: int) -> int:
        return len(_noted(text, kept, note))

    # The size grows with what is kept; escaping decides by how much.
    return _noted(text, bisect.bisect_right(range(min(len(text), limit)), limit, key=size) - 1, note)


# Private functions


def _noted(text: bytes, kept: int, note: str) -> bytes:
    return orjson.dumps(text[: max(kept, 0)].decode(errors="ignore") + note)


def _builtin(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (an exception whose text fails is still only a failed tool)
        return ""


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_ERROR_CHARS else text[:_MAX_ERROR_CHARS] + " … [cut]"
