"""A streaming handler in ten lines: `words.handler`."""

import asyncio

from winterbourne import Response


async def handler(event, context):
    yield Response(headers={"content-type": "text/plain; charset=utf-8"})
    for word in ["a", "winterbourne", "runs", "when", "there", "is", "water"]:
        yield f"{word} "
        await asyncio.sleep(0.2)
