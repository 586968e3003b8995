"""The baseline: a client reads the stream and orjson parses each event, nothing else. One URL per line on stdin.

The argument names the client: `httpx`, `httpx2`, `h11` over asyncio's streams, or `ours`, httpx over the transport that
the chat gives it.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import h11
import orjson

READ_BYTES = 65536

Chunks: TypeAlias = AsyncIterator[bytes]


async def main(name: str) -> None:
    """Read each stream to its end and say so."""
    ask = over_h11 if name == "h11" else over_client(name)
    for url in map(str.strip, sys.stdin):
        seen = await read(ask(f"{url}/chat/completions"))
        sys.stdout.write(f"{seen}\n")
        sys.stdout.flush()


async def read(chunks: Chunks) -> int:
    """How many tokens came."""
    seen, rest = 0, b""
    async for data in chunks:
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]":
                choices = orjson.loads(event[6:])["choices"]
                seen += bool(choices and choices[0]["delta"].get("content"))
    return seen


def over_client(name: str) -> Callable[[str], Chunks]:
    """What reads with httpx, its successor, or httpx over our transport."""
    client = import_module("httpx" if name == "ours" else name).AsyncClient(**our_transport() if name == "ours" else {})

    async def ask(url: str) -> Chunks:
        async with client.stream("POST", url, json={}) as response:
            async for data in response.aiter_raw():
                yield data

    return ask


def our_transport() -> dict[str, Any]:
    """As `http_pool` makes it."""
    transport = import_module("winterbourne.chat.infra.http_transport").AsyncioTransport
    return {"transport": transport(verify=ssl.create_default_context(), limits=import_module("httpx").Limits())}


async def over_h11(url: str) -> Chunks:
    """Read with h11 over asyncio's streams, without a pool, timeouts or TLS."""
    parts, http = urlsplit(url), h11.Connection(h11.CLIENT)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = h11.Request(method="POST", target=parts.path, headers=[("host", "x"), ("content-length", "2")])
    for event in (request, h11.Data(data=b"{}"), h11.EndOfMessage()):
        writer.write(http.send(event) or b"")
    while not isinstance(received := http.next_event(), h11.EndOfMessage):
        if received is h11.NEED_DATA:
            http.receive_data(await reader.read(READ_BYTES))
        elif isinstance(received, h11.Data):
            yield bytes(received.data)
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
