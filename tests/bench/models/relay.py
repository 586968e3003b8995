"""The floor: a bare asyncio relay, which writes on whatever it reads. A URL and a port per line on stdin."""

import asyncio
import sys
from urllib.parse import urlsplit

READ_BYTES = 65536


async def main() -> None:
    """Relay each answer to its end and say how many tokens it had."""
    for line in sys.stdin:
        url, sink = line.split()
        sys.stdout.write(f"{await relay(url, int(sink))}\n")
        sys.stdout.flush()


async def relay(url: str, sink: int) -> int:
    """Ask, and write on what is read; how many tokens came."""
    parts = urlsplit(url)
    reader, asking = await asyncio.open_connection(parts.hostname, parts.port)
    _, out = await asyncio.open_connection("127.0.0.1", sink)
    asking.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}" % parts.path.encode())
    data, tokens = b"", 0
    while not data.endswith(b"\r\n0\r\n\r\n"):
        data = await reader.read(READ_BYTES)
        tokens += data.count(b'"content"')
        out.write(data)
    asking.close()
    out.close()
    return tokens


if __name__ == "__main__":
    asyncio.run(main())
