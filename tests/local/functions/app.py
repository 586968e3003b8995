"""A function for the engine layer with every outcome a response can have, one per path."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from winterbourne import Response


async def handler(event: dict[str, Any], context: Any) -> AsyncIterator[Response | str]:
    path = event.get("rawPath", "/")
    if path == "/crash-before":
        os._exit(3)
    if path == "/raise-before":
        raise ValueError("before")
    if path.startswith("/status/"):
        yield Response(status=int(path.rpartition("/")[2]), headers={"location": "/elsewhere"})
        return
    yield Response(status=200, headers={"content-type": "text/plain"}, cookies=["seen=1"])
    yield f"{context.function_name} {os.getpid()}\n"
    if path == "/raise-after":
        raise ValueError("after")
    if path == "/crash-after":
        os._exit(3)
    if path == "/slow":
        await asyncio.sleep(0.3)
        yield "slow\n"
