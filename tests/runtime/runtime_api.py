"""A Runtime API on loopback, for the stock client and for ours: hands out invocations, records what is sent back."""

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import h11

from winterbourne.connection import RuntimeClient

__all__ = ["ARN", "Outcome", "RuntimeApi"]

ARN = "arn:aws:lambda:us-east-1:123456789012:function:test"


@dataclass
class Outcome:
    """What a runtime sent for one invocation, or about itself."""

    path: str
    headers: dict[str, str]
    chunks: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def streamed(self) -> bool:
        return self.headers.get("lambda-runtime-function-response-mode") == "streaming"

    @property
    def prelude(self) -> Any:
        return json.loads(self.body.split(b"\0" * 8, 1)[0])

    @property
    def payload(self) -> bytes:
        return self.body.split(b"\0" * 8, 1)[1]

    @property
    def trailing_error(self) -> Any:
        return json.loads(base64.b64decode(self.trailers["lambda-runtime-function-error-body"]))


class _Invocation:
    def __init__(self, request_id: str, event: bytes, headers: dict[str, str]) -> None:
        self.request_id = request_id
        self.event = event
        self.headers = headers
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()  # set when the first part of the response has been received
        self.partial: Outcome | None = None


class RuntimeApi:
    """Serves on an ephemeral port while its context is entered.

    Args:
        reject: Statuses to respond with instead of 202, by the last part of the path; each is used once.
        cut_after: Close the connection once this many bytes of a response have been received.
        reject_after: Respond with this status once this many bytes of a response have been received.
    """

    def __init__(
        self,
        *,
        reject: dict[str, int] | None = None,
        cut_after: int | None = None,
        reject_after: tuple[int, int] | None = None,
    ) -> None:
        self.calls: list[Outcome] = []  # init errors and restores
        self.called = asyncio.Event()
        self.connections = 0
        self.clients: list[RuntimeClient] = []  # the polling clients, if `serving` runs them in this process
        self.polled = asyncio.Event()  # set when a runtime waits for an invocation
        self.handed_out = asyncio.Event()
        self.reads_on = asyncio.Event()
        self.reads_on.set()
        self.reject = reject or {}
        self.cut_after = cut_after
        self.reject_after = reject_after
        self._numbers = itertools.count(1)
        self._queue: asyncio.Queue[_Invocation] = asyncio.Queue()
        self._open: dict[str, _Invocation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def submit(self, event: Any = None, *, deadline_s: float = 60, **headers: str | None) -> "_Invocation":
        """Queue an invocation; keyword arguments become headers, with None for a default one to omit."""
        request_id = f"request-{next(self._numbers)}"
        given = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + deadline_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": f"Root=1-{request_id}",
            "Content-Type": "application/json",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        invocation = _Invocation(request_id, body, {k: v for k, v in given.items() if v is not None})
        self._queue.put_nowait(invocation)
        return invocation

    async def invoke(self, event: Any = None, **options: Any) -> Outcome:
        """Queue an invocation and wait for its outcome, which is incomplete if the runtime disconnected."""
        return await self.submit(event, **options).outcome

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            await self._requests(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 22)
        while True:
            request = await self._event(http, reader)
            if not isinstance(request, h11.Request):
                return
            path = request.target.decode().removeprefix("/2018-06-01/runtime/")
            outcome = Outcome(path, {k.decode(): v.decode() for k, v in request.headers})
            invocation = self._open.get(path.split("/")[1]) if path.startswith("invocation/") else None
            if invocation:
                invocation.partial = outcome
            await self._take(http, reader, outcome, invocation)
            if not await self._answer(http, reader, writer, outcome, invocation):
                return
            if http.our_state is h11.MUST_CLOSE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _take(
        self, http: h11.Connection, reader: asyncio.StreamReader, outcome: Outcome, invocation: _Invocation | None
    ) -> None:
        while True:
            await self.reads_on.wait()
            event = await self._event(http, reader)
            if isinstance(event, h11.Data):
                outcome.chunks.append(bytes(event.data))
                if invocation:
                    invocation.arrived.set()
                if self.cut_after is not None and len(outcome.body) >= self.cut_after:
                    self.cut_after = None
                    return
                if self.reject_after and len(outcome.body) >= self.reject_after[0]:
                    return
            elif isinstance(event, h11.EndOfMessage):
                outcome.trailers = {k.decode(): v.decode() for k, v in event.headers}
                outcome.complete = True
                return
            else:
                return

    async def _answer(
        self,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        outcome: Outcome,
        invocation: _Invocation | None,
    ) -> bool:
        what = outcome.path.rpartition("/")[2]
        if outcome.path == "invocation/next":
            return await self._hand_out(http, writer)
        if not outcome.complete:
            if self.reject_after and len(outcome.body) >= self.reject_after[0]:
                status, self.reject_after = self.reject_after[1], None
                await self._send(http, writer, status, [], b"{}")
                with contextlib.suppress(ConnectionError):
                    while await reader.read(
                        65536
                    ):  # closing with unread bytes would reset the connection and lose the response
                        pass
            if invocation and not invocation.outcome.done():
                invocation.outcome.set_result(outcome)
            return False
        status = self.reject.pop(what, 200 if what == "next" else 202)
        await self._send(http, writer, status, [("Content-Type", "application/json")], b'{"status":"OK"}\n')
        if invocation:
            self._open.pop(invocation.request_id, None)
            if not invocation.outcome.done():
                invocation.outcome.set_result(outcome)
        else:
            self.calls.append(outcome)
            self.called.set()
        return True

    async def _hand_out(self, http: h11.Connection, writer: asyncio.StreamWriter) -> bool:
        if status := self.reject.pop("next", 0):
            await self._send(http, writer, status, [], b"{}")
            return True
        self.polled.set()
        invocation = await self._queue.get()
        self._open[invocation.request_id] = invocation
        self.handed_out.set()
        await self._send(http, writer, 200, invocation.headers.items(), invocation.event)
        return True

    @staticmethod
    async def _send(
        http: h11.Connection, writer: asyncio.StreamWriter, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        length = ("Content-Length", str(len(body)))
        data = http.send(h11.Response(status_code=status, headers=[*headers, length])) or b""
        data += http.send(h11.Data(data=body)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        writer.write(data)
        await writer.drain()

    @staticmethod
    async def _event(http: h11.Connection, reader: asyncio.StreamReader) -> Any:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        return event
