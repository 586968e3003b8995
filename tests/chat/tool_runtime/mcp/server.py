"""MCP servers built with the official package, for the tests, one per argument; prints their ports when they listen.

`server.py stateful stateless json resumable dual modern`: the first four have sessions, as servers before 2026-07-28.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult, JSONRPCMessage
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from winterbourne.override import override

Tool: TypeAlias = Callable[..., Any]
TOOLS: list[Tool] = []


def tool(function: Tool) -> Tool:
    TOOLS.append(function)
    return function


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def say(text: str) -> str:
    """Say it."""
    return text


@tool
def fail() -> str:
    """Fail every time."""
    raise ToolError("the sensor is broken")


@tool
async def count(context: Context, to: int) -> str:
    """Count, and report progress."""
    for number in range(to):
        await context.report_progress(number + 1, to)
    return "counted"


@tool
async def close_early(context: Context) -> str:
    """Close the event stream before the result."""
    await context.close_sse_stream()
    await asyncio.sleep(0.05)
    return "resumed"


@tool
async def order(context: Context) -> str | InputRequiredResult:
    """Ask for a size and a colour, in a stateless request."""
    if not (answers := context.input_responses):
        return InputRequiredResult(input_requests={name: ask_for(name) for name in ("size", "colour")})
    contents = [answer.content or {} for answer in answers.values() if isinstance(answer, ElicitResult)]
    return ", ".join(f"{name} {value}" for content in contents for name, value in content.items())


def ask_for(name: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"Which {name}?", requested_schema=schema))


@tool
async def hang() -> str:
    """Never return."""
    print_line("called")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print_line("cancelled")
        raise
    return "never"


class MemoryEventStore(EventStore):
    """Keeps all events, so that their streams can be resumed. Ids count from 0."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    @override
    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    @override
    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        first = int(last_event_id)
        stream = self._events[first][0]
        for event_id, (stream_id, message) in enumerate(self._events[first + 1 :], first + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(event_id)))
        return stream


class OneEra:
    """Refuses the requests of the other era, as servers do that do not know it."""

    def __init__(self, app: ASGIApp, *, takes_modern: bool) -> None:
        self._app, self._takes_modern = app, takes_modern

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"")
        if scope["type"] != "http" or (version == b"2026-07-28") == self._takes_modern:
            await self._app(scope, receive, send)
            return
        error = {"code": -32022 if self._takes_modern else -32600, "message": "Unsupported protocol version"}
        await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)(scope, receive, send)


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Server(uvicorn.Server):
    """One of several in a process, which all end with it."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def make_app(mode: str) -> ASGIApp:
    server = MCPServer("weather-station")
    for function in TOOLS:
        server.add_tool(function)
    app = server.streamable_http_app(
        stateless_http=mode == "stateless",
        json_response=mode == "json",
        event_store=MemoryEventStore() if mode == "resumable" else None,
        retry_interval=10,
    )
    return app if mode == "dual" else OneEra(app, takes_modern=mode == "modern")


async def main(*modes: str) -> None:
    sockets = {mode: socket.create_server(("127.0.0.1", 0)) for mode in modes}
    servers = {mode: Server(uvicorn.Config(make_app(mode), log_level="error", lifespan="on")) for mode in modes}
    print_line(" ".join(str(each.getsockname()[1]) for each in sockets.values()))
    await asyncio.gather(*(servers[mode].serve(sockets=[sockets[mode]]) for mode in modes))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
