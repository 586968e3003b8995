"""One invocation, between whoever asked for it and the execution environment that runs it."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["HTTP_INTEGRATION_CONTENT_TYPE", "FunctionError", "Invocation", "ResponseSink", "make_request_id"]

HTTP_INTEGRATION_CONTENT_TYPE: Final = "application/vnd.awslambda.http-integration-response"


@dataclass(frozen=True)
class FunctionError:
    """Why an invocation failed.

    Args:
        type: As Lambda names it: `Function.ValueError`, `Runtime.ExitError`, `Sandbox.Timedout`, …
        document: The JSON document of the error, `{"errorMessage", "errorType", …}`.
    """

    type: str
    document: bytes

    @classmethod
    def from_message(cls, error_type: str, message: str) -> "FunctionError":
        """An error of the execution environment's own."""
        return cls(error_type, json.dumps({"errorType": error_type, "errorMessage": message}).encode())

    @property
    def message(self) -> str:
        """The error's own words, as far as the document has any."""
        try:
            return str(json.loads(self.document)["errorMessage"])
        except (ValueError, KeyError, TypeError):
            return self.document[:200].decode(errors="replace")


class ResponseSink(Protocol):
    """Where the response of an invocation goes, piece by piece, while it comes."""

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """The function has begun to answer. Not called when it never does."""
        ...

    async def write(self, data: bytes) -> None:
        """More of the response. Waits while the client reads too slowly."""
        ...

    async def finish(self, error: FunctionError | None) -> None:
        """The invocation is over; called exactly once, with `begin` before it or not."""
        ...


def make_request_id() -> str:
    """A request id as Lambda makes them."""
    return str(uuid.uuid4())


@dataclass(eq=False, kw_only=True)
class Invocation:
    """What is asked of the function, and how it went.

    `over` is set when its response is complete, or it failed; `settled` when its environment has done with it, and
    its `log` is whole. `bytes_out` counts what the function sent.
    """

    payload: bytes
    sink: ResponseSink
    request_id: str = field(default_factory=make_request_id)
    trace_id: str = ""
    client_context: str = ""
    tenant_id: str = ""
    bytes_out: int = 0
    error: FunctionError | None = None
    log: list[str] = field(default_factory=list)
    response_done: asyncio.Event = field(default_factory=asyncio.Event)
    runtime_done: asyncio.Event = field(default_factory=asyncio.Event)
    _finished: bool = False

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """The function has begun to answer."""
        if not self._finished:
            await self.sink.begin(content_type, streaming=streaming)

    async def write(self, data: bytes) -> None:
        """More of the response; nothing any more when the end has been said."""
        if not self._finished:
            self.bytes_out += len(data)
            await self.sink.write(data)

    async def finish(self, error: FunctionError | None = None) -> None:
        """Tell the sink the end, once; the first word counts."""
        if self._finished:
            return
        self._finished, self.error = True, error
        try:
            await self.sink.finish(error)
        finally:
            self.response_done.set()

    @property
    def finished(self) -> bool:
        """Whether the end has been said."""
        return self._finished
