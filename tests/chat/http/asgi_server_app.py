"""What the servers of `test_asgi_servers` run: a chat with a slow tool, and beside it an answer that breaks off."""

import asyncio
import os
from typing import Any

from winterbourne import on_shutdown, on_startup
from winterbourne.chat import Chat, tool
from winterbourne.chat.http.asgi import AsgiApplication


def say(line: str) -> None:
    """Tell the test, in one write: two workers have one output."""
    os.write(1, f"{line}\n".encode())


@tool
async def linger() -> str:
    """Wait for a long time."""
    say("LINGERS")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        say("CANCELLED")
        raise
    return "done"


@tool
async def nap() -> str:
    """Wait for a short time."""
    say("NAPS")
    await asyncio.sleep(0.5)
    say("AWAKE")
    return "done"


class Broken:
    """Answers everything by half."""

    async def handle(self, _: Any, stream: Any) -> None:
        await stream.write(b"half")
        raise ZeroDivisionError


on_startup(lambda: say("STARTED"))
on_shutdown(lambda: say("STOPPED"))
chat = Chat(tools=[linger, nap], auth="none", title_model="off", scripted_words_per_second=0, max_body_bytes=100_000)
broken = AsgiApplication(Broken())  # type: ignore[arg-type]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The chat, but for one path."""
    await (broken if scope.get("path") == "/broken" else chat.asgi)(scope, receive, send)
