"""One invocation: the link between its caller (a response sink) and the execution environment that runs it."""

import asyncio
import contextlib
import json
import uuid
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["HTTP_INTEGRATION_CONTENT_TYPE", "FunctionError", "Invocation", "ResponseSink", "make_request_id"]

HTTP_INTEGRATION_CONTENT_TYPE: Final = "application/vnd.awslambda.http-integration-response"


@dataclass(frozen=True)
class FunctionError:
    """Why an invocation failed.

    Attributes:
        type: Lambda's error type: `Function.ValueError`, `Runtime.ExitError`, `Sandbox.Timedout`, …
        document: The error as JSON, `{"errorMessage", "errorType", …}`.
        at_init: Whether the function did not start.
    """

    type: str
    document: bytes
    at_init: bool = False

    @classmethod
    def from_message(cls, error_type: str, message: str) -> "FunctionError":
        """An error raised by the execution environment, not by the function."""
        return cls(error_type, json.dumps({"errorType": error_type, "errorMessage": message}).encode())

    @classmethod
    def response_too_large(cls, max_bytes: int) -> "FunctionError":
        """A response of more than `max_bytes` bytes."""
        message = f"Response payload size exceeded maximum allowed payload size ({max_bytes} bytes)."
        return cls.from_message("Function.ResponseSizeTooLarge", message)

    @property
    def message(self) -> str:
        """The document's `errorMessage`; if it has none, the start of the document."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.document)["errorMessage"])
        return self.document[:200].decode(errors="replace")

    @property
    def sentence(self) -> str:
        """What is wrong, in one line."""
        kind = self.type.removeprefix("Function.")
        text = " ".join(self.message.split())
        return text if kind in _EXPLAINED or self.type.startswith("Runtime.") else f"{kind}: {text}"


_EXPLAINED: Final = {"SettingsError", "InvalidToolDeclaration"}  # whose messages need no name before them


class ResponseSink(Protocol):
    """Receives the response of an invocation chunk by chunk, as it arrives."""

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """The function has started its response. Not called if it never does."""

    async def write(self, data: bytes) -> None:
        """More of the response. Waits while the client reads too slowly (backpressure)."""

    async def finish(self, error: FunctionError | None) -> None:
        """The invocation is over; called exactly once, whether or not `begin` was called."""


def make_request_id() -> str:
    """A request id in Lambda's format."""
    return str(uuid.uuid4())


@dataclass(eq=False, kw_only=True)
class Invocation:
    """A request to the function, and its outcome.

    `response_done` is set when the response is complete or the invocation has failed; `runtime_done` when the
    environment is done with it and its `log` is complete. `finished` says whether `finish` has been called.
    `started_at` is when it was dispatched, in seconds of `time.perf_counter`.
    """

    payload: bytes
    sink: ResponseSink
    request_id: str = field(default_factory=make_request_id)
    trace_id: str = ""
    client_context: str = ""
    tenant_id: str = ""
    started_at: float = 0.0
    error: FunctionError | None = None
    log: list[str] = field(default_factory=list)
    response_done: asyncio.Event = field(default_factory=asyncio.Event)
    runtime_done: asyncio.Event = field(default_factory=asyncio.Event)
    finished: bool = False

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """The function has started its response."""
        if not self.finished:
            await self.sink.begin(content_type, streaming=streaming)

    async def write(self, data: bytes) -> None:
        """More of the response; ignored once the invocation has finished."""
        if not self.finished:
            await self.sink.write(data)

    async def finish(self, error: FunctionError | None = None) -> None:
        """Finish the sink. Idempotent: only the first call counts."""
        if self.finished:
            return
        self.finished, self.error = True, error
        try:
            await self.sink.finish(error)
        finally:
            self.response_done.set()
