"""A model provider that breaks its streams in every way, in three families' formats, and knows what it had said."""

import asyncio
import contextlib
import json
import random
import re
import threading
from collections.abc import Iterator

from tests.transcripts import event_stream_message

__all__ = ["FAMILIES", "FAULTS", "FaultyProvider", "faulty_provider"]

FAMILIES = ("openai", "anthropic", "bedrock")
FAULTS = ("none", "cut", "early_end", "half_frame", "error", "garbage")
ENDS_WELL = {"none"}


class FaultyProvider:
    """Answers each question, which has a number, with words and one fault; `said` has the words of the last answer.

    Attributes:
        url: The base URL.
        said: By question, the words that were sent whole before the fault, and the fault.
    """

    def __init__(self, seed: int) -> None:
        self.url = ""
        self.said: dict[int, tuple[list[str], str]] = {}
        self._random = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = re.search(r"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if not await self._answer(head.split()[1], body, writer):
                    break
        writer.transport.abort()

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Send one answer; whether the connection can be used again."""
        family = "bedrock" if "converse" in path else "anthropic" if path.endswith("/messages") else "openai"
        numbers = re.findall(rb"question (\d+)", body)
        number = int(numbers[-1])
        fault = self._random.choice(FAULTS)
        words = [f"w{number}x{at} " for at in range(self._random.randint(0, 30))]
        self.said[number] = (words, fault)
        kind = "application/vnd.amazon.eventstream" if family == "bedrock" else "text/event-stream"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for frame in [*_start(family), *(_word(family, word) for word in words)]:
            _send(writer, frame)
            if self._random.random() < 0.2:
                await writer.drain()
                await asyncio.sleep(0)
        return await _finish(family, fault, writer)


async def _finish(family: str, fault: str, writer: asyncio.StreamWriter) -> bool:
    match fault:
        case "half_frame":
            frame = _word(family, "never whole")
            _send(writer, frame[: len(frame) // 2])
        case "error":
            _send(writer, _error(family))
        case "garbage":
            _send(writer, b"\x00\x00\x00\x05" * 8 if family == "bedrock" else b"data: {]\n\n")
        case "none":
            for frame in _end(family):
                _send(writer, frame)
    if fault == "cut":
        await writer.drain()
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _sse(event: dict[str, object]) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _start(family: str) -> Iterator[bytes]:
    match family:
        case "anthropic":
            yield _sse({"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}})
            yield _sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        case "bedrock":
            yield event_stream_message("messageStart", {"role": "assistant"})


def _word(family: str, word: str) -> bytes:
    match family:
        case "anthropic":
            return _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
        case "bedrock":
            return event_stream_message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
    return _sse({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})


def _error(family: str) -> bytes:
    match family:
        case "anthropic":
            return _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        case "bedrock":
            return event_stream_message("!throttlingException", {"message": "Too many requests"})
    return _sse({"error": {"message": "out of memory", "code": 500}})


def _end(family: str) -> Iterator[bytes]:
    match family:
        case "anthropic":
            yield _sse({"type": "content_block_stop", "index": 0})
            yield _sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
            yield _sse({"type": "message_stop"})
        case "bedrock":
            yield event_stream_message("contentBlockStop", {"contentBlockIndex": 0})
            yield event_stream_message("messageStop", {"stopReason": "end_turn"})
            yield event_stream_message("metadata", {"usage": {"inputTokens": 3, "outputTokens": 9}})
        case _:
            yield _sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            yield b"data: [DONE]\n\n"


@contextlib.contextmanager
def faulty_provider(seed: int) -> Iterator[FaultyProvider]:
    """Serve on a free port, in a thread with an event loop of its own."""
    provider, started, stop = FaultyProvider(seed), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with await asyncio.start_server(provider.serve, "127.0.0.1", 0) as server:
            provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()
            await stop.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(10)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
