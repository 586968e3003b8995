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

import bisect
import contextlib
import json
import os
import traceback
from collections.abc import Callable
from itertools import dropwhile
from traceback import FrameSummary
from types import TracebackType

from winterbourne.log_formats import related_errors, safe_str
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

# Of a header: Lambda rejects a report whose cause takes 1 MiB, other servers at 64 KB, where X-Ray's own limit is.
MAX_XRAY_CAUSE_BYTES = 32 * 1024
MAX_XRAY_FRAMES = 50
MAX_BODY_BYTES = 1024 * 1024  # a sixth of what Lambda accepts, which rejects the whole report if it is larger
MAX_TYPE_CHARS = 200
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
        log_document: The document as it is logged: its stack trace also tells the error's causes and sub-exceptions.
    """

    def __init__(self, error: BaseException, request_id: str = "") -> None:
        self.message = message = redact_text(safe_str(error))
        self._frames: list[FrameSummary] = []
        related: list[str] = []
        if isinstance(error, RuntimeFault):
            name = self.error_type = error.error_type
            self._xray_type = "LambdaValidationError"  # as awslambdaric has it
            stack = [redact_text(line) for line in error.trace]
        else:
            name = self._xray_type = type(error).__name__[:MAX_TYPE_CHARS]
            # A header of ASCII; Lambda shows error types with other characters than an identifier's as Unknown.
            self.error_type = f"Function.{name}" if name.isascii() and name.isidentifier() else "Function.Unknown"
            self._frames = _user_frames(error.__traceback__)
            # Without columns, as awslambdaric passes them: later Pythons would mark the part of the line that failed.
            summaries = [FrameSummary(f.filename, f.lineno, f.name, line=f.line) for f in self._frames]
            stack = traceback.format_list(summaries)
            related = related_errors(error)
        self._stack = stack
        self.document = {"errorMessage": message, "errorType": name, "requestId": request_id, "stackTrace": stack}
        self.log_document = {**self.document, "stackTrace": stack + related}

    def body(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The document as ASCII JSON, which can represent any text, even lone surrogates.

        Args:
            max_bytes: A longer document loses the outer frames of its stack trace, then the end of its message.
        """
        stack, message = self._stack, self.message[:max_bytes]

        def encode(frame_count: int, length: int) -> bytes:
            shortened = message[:length] + "…" * (length < len(self.message))
            inner = stack[len(stack) - frame_count :]
            return json.dumps({**self.document, "errorMessage": shortened, "stackTrace": inner}).encode()

        frame_count = _largest(len(stack), lambda n: len(encode(n, len(message))) <= max_bytes)
        return encode(frame_count, _largest(len(message), lambda n: len(encode(frame_count, n)) <= max_bytes))

    @property
    def xray_cause(self) -> str:
        """The value of Lambda-Runtime-Function-XRay-Error-Cause: the innermost frames, and as much text as fits.

        Empty if not even the frames fit.
        """
        frames = self._frames[-MAX_XRAY_FRAMES:]
        stack = [{"label": frame.name, "path": frame.filename, "line": frame.lineno} for frame in frames]
        common = {"working_directory": _working_directory(), "paths": sorted({frame.filename for frame in frames})}

        def encode(length: int) -> str:
            exceptions = [{"message": self.message[:length], "type": self._xray_type, "stack": stack}]
            return json.dumps({**common, "exceptions": exceptions})

        longest = min(len(self.message), MAX_XRAY_CAUSE_BYTES)
        cause = encode(_largest(longest, lambda n: len(encode(n)) < MAX_XRAY_CAUSE_BYTES))
        return cause if len(cause) < MAX_XRAY_CAUSE_BYTES else ""


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that fits; 0 if none does."""
    if fits(limit):
        return limit
    return max(0, bisect.bisect_left(range(limit), x=True, key=lambda n: not fits(n)) - 1)


def _working_directory() -> str:
    with contextlib.suppress(FileNotFoundError):  # the function deleted it
        return os.getcwd()
    return ""


def _user_frames(trace: TracebackType | None) -> list[FrameSummary]:
    """The frames from the first one outside the runtime on; the runtime's own call path is noise."""
    frames = traceback.extract_tb(trace)
    return list(dropwhile(lambda frame: _is_internal(frame.filename), frames)) or list(frames)


def _is_internal(filename: str) -> bool:
    # Not what lies in folders below: the chat engine's frames tell why a handler failed.
    return os.path.dirname(filename) == RUNTIME or any(path in filename for path in INTERNAL_PATHS)
