"""The baseline: httpx reads the stream and orjson parses each event, nothing else. One URL per line on stdin."""

import asyncio
import sys

import httpx
import orjson


async def main() -> None:
    """Read each stream to its end and say so."""
    async with httpx.AsyncClient() as client:
        for url in map(str.strip, sys.stdin):
            seen = await read(client, f"{url}/chat/completions")
            sys.stdout.write(f"{seen}\n")
            sys.stdout.flush()


async def read(client: httpx.AsyncClient, url: str) -> int:
    """How many tokens came."""
    seen, rest = 0, b""
    async with client.stream("POST", url, json={}) as response:
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    choices = orjson.loads(event[6:])["choices"]
                    seen += bool(choices and choices[0]["delta"].get("content"))
    return seen


if __name__ == "__main__":
    asyncio.run(main())
