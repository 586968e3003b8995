"""The exceptions of the runtime, and the error report that is sent to Lambda.

WinterbourneError
├── RuntimeFault           the function, a setting or an event is invalid; carries the error type shown by Lambda
├── PreludeTooLarge        status, headers and cookies exceed the 16 KB that the front ends read
├── StreamMisused          the stream was started twice, or written to after its end
├── StreamLost             Lambda closed the response before its end; also a ConnectionError
├── DeadlineReached        the handler was cancelled because its deadline was near
├── ShuttingDown           the handler was cancelled because the execution environment is shutting down
├── IllegalTransition      a step that the protocol's state machine does not allow
├── RuntimeApiError        the Runtime API rejected a request or sent an invalid reply
└── RuntimeApiUnavailable  the Runtime API cannot be reached or answered 500; the process must exit
"""

import json
import os
import traceback
from types import TracebackType

from winterbourne.logs import redact_text

__all__ = [
    "DeadlineReached",
    "ErrorReport",
    "IllegalTransition",
    "PreludeTooLarge",
    "RuntimeApiError",
    "RuntimeApiUnavailable",
    "RuntimeFault",
    "ShuttingDown",
    "StreamLost",
    "StreamMisused",
    "WinterbourneError",
]

MAX_XRAY_CAUSE_BYTES = 1024 * 1024  # Lambda rejects the whole report if its cause is larger
RUNTIME = os.path.dirname(__file__)
INTERNAL_PATHS = ("/concurrent/futures/", "/asyncio/", "/importlib/", "<frozen importlib")


class WinterbourneError(Exception):
    """Base class of the runtime's own exceptions."""


class RuntimeFault(WinterbourneError):
    """The function, a setting or an event is invalid.

    Args:
        error_type: The type shown by Lambda, such as `Runtime.ImportModuleError`.
        message: The message for the developer.
        trace: Lines of the stack trace, if any.
    """

    def __init__(self, error_type: str, message: str, trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.trace = trace or []


class PreludeTooLarge(WinterbourneError):
    """The prelude is longer than the front ends read."""


class StreamMisused(WinterbourneError):
    """A response stream was started twice, or used after its end."""


class StreamLost(WinterbourneError, ConnectionError):
    """Lambda closed the connection or rejected the response while it was being sent; further data is discarded."""


class DeadlineReached(WinterbourneError):
    """The handler was cancelled shortly before the deadline, so that its stream ends properly."""


class ShuttingDown(WinterbourneError):
    """The handler was cancelled because the execution environment is shutting down."""


class IllegalTransition(WinterbourneError):
    """The protocol's state machine does not allow this step: a bug in the caller, raised before any byte is written."""


class RuntimeApiError(WinterbourneError):
    """The Runtime API rejected a request, or its reply was not valid HTTP.

    Args:
        path: Path of the request.
        status: HTTP status of the reply; 0 if the reply was not valid HTTP.
        body: Body of the reply, or what is wrong with it.
    """

    def __init__(self, path: str, status: int, body: bytes = b"") -> None:
        super().__init__(f"the Runtime API answered {status} to {path}: {body.decode(errors='replace')}")


class RuntimeApiUnavailable(WinterbourneError):
    """The Runtime API cannot be reached or answered 500; the process must exit."""


class ErrorReport:
    """An error in the form in which Lambda accepts it, redacted.

    Args:
        error: The exception.
        request_id: Request id of the invocation; empty during init.

    Attributes:
        message: The exception's text.
        error_type: The error type in Lambda's namespace.
        document: The error document, with the same keys as that of awslambdaric, AWS's runtime interface client.
        body: The document as ASCII JSON, which can represent any text, even lone surrogates.
    """

    def __init__(self, error: BaseException, request_id: str = "") -> None:
        self.message = message = redact_text(_safe_str(error))
        self._frames: list[traceback.FrameSummary] = []
        if isinstance(error, RuntimeFault):
            name = self.error_type = error.error_type
            self._xray_type = "LambdaValidationError"  # as awslambdaric has it
            stack = [redact_text(line) for line in error.trace]
        else:
            name = self._xray_type = type(error).__name__
            # Headers are ASCII, and Lambda shows error types with other characters as Unknown.
            self.error_type = f"Function.{name}" if name.isascii() else "Function.Unknown"
            self._frames = _user_frames(error.__traceback__)
            stack = traceback.format_list(self._frames)
        self.document = {"errorMessage": message, "errorType": name, "requestId": request_id, "stackTrace": stack}
        self.body = json.dumps(self.document).encode()

    @property
    def xray_cause(self) -> str:
        """The value of Lambda-Runtime-Function-XRay-Error-Cause; empty if it would be too large."""
        stack = [{"label": frame.name, "path": frame.filename, "line": frame.lineno} for frame in self._frames]
        exceptions = [{"message": self.message, "type": self._xray_type, "stack": stack}]
        paths = sorted({frame.filename for frame in self._frames})
        cause = json.dumps({"working_directory": _working_directory(), "exceptions": exceptions, "paths": paths})
        return cause if len(cause) < MAX_XRAY_CAUSE_BYTES else ""


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - a user's __str__; the error must still be reported
        return f"<{type(error).__name__} whose text raises {type(worse).__name__}>"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the function deleted it
        return ""


def _user_frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """The frames from the first one outside the runtime on; the runtime's own call path is noise."""
    frames = list(traceback.extract_tb(trace))
    first = next((i for i, frame in enumerate(frames) if not _is_internal(frame.filename)), 0)
    return frames[first:]


def _is_internal(filename: str) -> bool:
    # Not what lies in folders below: the chat engine's frames tell why a handler failed.
    return os.path.dirname(filename) == RUNTIME or any(path in filename for path in INTERNAL_PATHS)
