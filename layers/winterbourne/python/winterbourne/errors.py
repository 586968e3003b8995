"""What can go wrong in the layer, and how an error is told to Lambda.

WinterbourneError
├── Fault              the function or an event is not as it must be; carries Lambda's own name for that
├── PreludeTooLarge    status, headers and cookies do not fit into the 16 KB that the front ends read
├── StreamMisused      started twice, or written to after its end
├── StreamLost         Lambda closed the response under way; also a ConnectionError
├── DeadlineReached    the handler was cancelled because its time was up
├── ShuttingDown       the handler was cancelled because the execution environment ends
├── IllegalMove        a step that the table of the exchange does not list
├── RuntimeApiError    the Runtime API answered with something else than it documents
└── RuntimeApiDown     it cannot be reached or has given up; the process must end
"""

import json
import os
import traceback
from types import TracebackType
from typing import Any

from winterbourne.redaction import redact_text

__all__ = [
    "DeadlineReached",
    "ErrorReport",
    "Fault",
    "IllegalTransition",
    "PreludeTooLarge",
    "RuntimeApiError",
    "RuntimeApiUnavailable",
    "ShuttingDown",
    "StreamLost",
    "StreamMisused",
    "WinterbourneError",
]

MAX_XRAY_CAUSE_BYTES = 1024 * 1024  # a larger cause is refused together with the report that carries it
INTERNAL_PATHS = (
    os.path.dirname(__file__) + os.sep,
    f"{os.sep}concurrent{os.sep}futures{os.sep}",
    f"{os.sep}asyncio{os.sep}",
    f"{os.sep}importlib{os.sep}",
    "<frozen importlib",
)


class WinterbourneError(Exception):
    """The root: everything this layer raises by itself."""


class Fault(WinterbourneError):
    """The function or an event is not as it must be.

    Args:
        kind: Lambda's name for it, such as `Runtime.ImportModuleError`.
        message: What a developer reads.
        trace: Lines that lead to the place, where there are any.
    """

    def __init__(self, error_type: str, message: str, trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.trace = trace or []


class PreludeTooLarge(WinterbourneError):
    """The prelude does not fit into the bytes in which the front ends look for its end."""


class StreamMisused(WinterbourneError):
    """A response stream was started twice, or used after its end."""


class StreamLost(WinterbourneError, ConnectionError):
    """Lambda closed the connection or refused the response while it was being sent. What is written goes nowhere."""


class DeadlineReached(WinterbourneError):
    """The handler was cancelled so that its stream could still end before Lambda cuts it."""


class ShuttingDown(WinterbourneError):
    """The handler was cancelled because the execution environment shuts down."""


class IllegalTransition(WinterbourneError):
    """A step that the table of the exchange does not list: a bug of the caller, found before any byte was written."""


class RuntimeApiError(WinterbourneError):
    """The Runtime API refused a request.

    Args:
        path: What was asked of it.
        status: The HTTP status of its answer.
        body: Its answer.
    """

    def __init__(self, path: str, status: int, body: bytes = b"") -> None:
        super().__init__(f"the Runtime API answered {status} to {path}: {body.decode(errors='replace')}")
        self.status = status


class RuntimeApiUnavailable(WinterbourneError):
    """The Runtime API cannot be reached, or answered 500: nothing more can be done in this process."""


class ErrorReport:
    """One error as Lambda wants to hear of it.

    Args:
        error: What was raised.
        request_id: Of the invocation it belongs to; empty during init.
    """

    def __init__(self, error: BaseException, request_id: str = "") -> None:
        self.message = redact_text(_safe_str(error))
        self.request_id = request_id
        self.frames: list[traceback.FrameSummary] = []
        if isinstance(error, Fault):
            self.name = self.error_type = error.error_type
            self.xray_type = "LambdaValidationError"  # as the stock client calls all of these
            self.stack = [redact_text(line) for line in error.trace]
            return
        self.name = self.xray_type = type(error).__name__
        # A header is ASCII; Lambda itself shows what is not made of plain letters as Unknown.
        self.error_type = f"Function.{self.name}" if self.name.isascii() else "Function.Unknown"
        self.frames = _user_frames(error.__traceback__)
        self.stack = traceback.format_list(self.frames)

    @property
    def document(self) -> dict[str, Any]:
        """The error document, key by key as the stock client writes it."""
        return {
            "errorMessage": self.message,
            "errorType": self.name,
            "requestId": self.request_id,
            "stackTrace": self.stack,
        }

    @property
    def body(self) -> bytes:
        """The error document as ASCII JSON, which holds any text, lone surrogates included."""
        return json.dumps(self.document).encode()

    @property
    def xray_cause(self) -> str:
        """The value of Lambda-Runtime-Function-XRay-Error-Cause; empty where it would be too large."""
        stack = [{"label": frame.name, "path": frame.filename, "line": frame.lineno} for frame in self.frames]
        cause = {
            "working_directory": _working_directory(),
            "exceptions": [{"message": self.message, "type": self.xray_type, "stack": stack}],
            "paths": sorted({frame.filename for frame in self.frames}),
        }
        text = json.dumps(cause)
        return text if len(text) < MAX_XRAY_CAUSE_BYTES else ""


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - somebody's __str__; their error must be told all the same
        return f"<{type(error).__name__} whose text raises {type(worse).__name__}>"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the function removed it
        return ""


def _user_frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """The frames from the handler on: how the layer called it tells its developer nothing."""
    frames = list(traceback.extract_tb(trace))
    first = next((i for i, frame in enumerate(frames) if not _is_internal(frame.filename)), 0)
    return frames[first:]


def _is_internal(filename: str) -> bool:
    return any(place in filename for place in INTERNAL_PATHS)
