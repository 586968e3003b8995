"""A model provider that only streams: TOKENS tokens of Chat Completions from prepared bytes. Prints its port.

`/burst/...` sends as fast as the socket accepts it, `/paced/...` one token a millisecond, as providers do but faster,
`/real/...` a few at the pace of a real model, `/stamped/...` as many, each the time in nanoseconds of the monotonic
clock, `/in-step/...` likewise but to all at once, and `/first/...` waits and then sends one such token.

What is stamped keeps to its times, which differ evenly between streams. With a plain sleep after each token, streams
that were late together once would be sent together ever after: within seconds most of them were in step.
"""

import asyncio
import itertools
import sys
import time

TOKENS = 3000
REAL_TOKENS = 400
RHYTHMS = {
    "burst": (TOKENS, 0.0),
    "paced": (TOKENS, 0.001),
    "real": (REAL_TOKENS, 0.02),
    "stamped": (REAL_TOKENS, 0.02),
    "in-step": (REAL_TOKENS, 0.02),
    "first": (0, 0.0),
}
"""How many tokens each path sends, and the seconds between two of them."""

PHASES = (number * 0.6180339887 % 1 for number in itertools.count())
"""When in such a pause each stream has its tokens: as evenly as can be, however many there are."""

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LEAD = b'{"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1763800000,"model":"gpt-bench",'
WORDS = ("The ", "river ", "runs ", "only ", "in ", "winter, ", "caf\u00e9 ", "and \\n")


def event(rest: bytes) -> bytes:
    """One HTTP chunk with one server-sent event."""
    data = b"data: " + LEAD + rest + b"}\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(text: str) -> bytes:
    """One token, as OpenAI sends it."""
    delta = b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,'
    return event(delta % text.encode() + b'"finish_reason":null}]')


STREAM = [token(WORDS[number % len(WORDS)]) for number in range(TOKENS)]
END = (
    event(b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]')
    + event(b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}' % (TOKENS, TOKENS + 9))
    + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection until it is closed."""
    while head := await head_of(reader):
        writer.write(HEAD)
        if b" /first/" in head:
            await asyncio.sleep(0.02)
            writer.write(token(str(time.monotonic_ns())))
            await asyncio.sleep(0.005)
        rhythm = head.split(b"/", 2)[1].decode()
        await (stamped(writer, rhythm) if rhythm in {"stamped", "in-step"} else plain(writer, rhythm))
        writer.write(END)
        await writer.drain()


async def plain(writer: asyncio.StreamWriter, rhythm: str) -> None:
    """Send the tokens of a rhythm, with a pause after each."""
    tokens, pause_s = RHYTHMS[rhythm]
    for piece in STREAM[:tokens]:
        writer.write(piece)
        await (asyncio.sleep(pause_s) if pause_s else writer.drain())


async def stamped(writer: asyncio.StreamWriter, rhythm: str) -> None:
    """Send tokens that say when they were sent, each at its time."""
    tokens, pause_s = RHYTHMS[rhythm]
    began_s, phase = time.monotonic(), 0.0 if rhythm == "in-step" else next(PHASES)
    due_s = began_s - began_s % pause_s + phase * pause_s
    for _ in range(tokens):
        writer.write(token(f"{time.monotonic_ns()} "))
        due_s += pause_s
        await asyncio.sleep(due_s - time.monotonic())


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request; its body is read and dropped. Empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length[15:]))
    return head


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
