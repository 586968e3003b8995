"""An MCP server built with the official package, for the tests; prints its port when it listens.

`server.py stateful|stateless|json`
"""

import asyncio
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("weather-station")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def say(text: str) -> str:
    """Say it."""
    return text


@server.tool()
def fail() -> str:
    """Fail every time."""
    raise ToolError("the sensor is broken")


@server.tool()
async def count(context: Context, to: int) -> str:
    """Count, and report progress."""
    for number in range(to):
        await context.report_progress(number + 1, to)
    return "counted"


@server.tool()
async def hang() -> str:
    """Never return."""
    print_line("called")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print_line("cancelled")
        raise
    return "never"


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(mode: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app(stateless_http=mode == "stateless", json_response=mode == "json")
    print_line(str(listening.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
