"""The floor: a bare asyncio relay, which writes on whatever it reads. A URL and a port per line on stdin."""

import asyncio
import sys
from urllib.parse import urlsplit

READ_BYTES = 65536


async def main() -> None:
    """Relay each answer to its end and say so."""
    for line in sys.stdin:
        url, sink = line.split()
        await relay(url, int(sink))
        sys.stdout.write("done\n")
        sys.stdout.flush()


async def relay(url: str, sink: int) -> None:
    """Ask, and write on what is read."""
    parts = urlsplit(url)
    reader, asking = await asyncio.open_connection(parts.hostname, parts.port)
    _, out = await asyncio.open_connection("127.0.0.1", sink)
    asking.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}" % parts.path.encode())
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        data = await reader.read(READ_BYTES)
        out.write(data)
    asking.close()
    out.close()


if __name__ == "__main__":
    asyncio.run(main())
