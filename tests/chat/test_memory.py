"""How much memory a request with one large document takes: at most twice its size, from the event to the provider."""

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests import transcripts
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.chat.test_app import make_service
from winterbourne.chat.infra import http_pool
from winterbourne.invocation import FrontEnd, parse_event
from winterbourne.protocol import append_data
from winterbourne.stream import open_stream

pytestmark = pytest.mark.usefixtures("own_hooks")

PDF = base64.b64encode(b"%PDF-1.7\n" + b"\x00\x10\x83" * 1_460_000).decode()
"""4.4 MB, and a third more in base64: a function URL lets hardly more through."""

PDF_DIGEST = hashlib.sha256(PDF.encode()).hexdigest()

URL = f"data:application/pdf;base64,{PDF}"
SPARE_BYTES = 600_000  # whatever else a request takes
BODIES: dict[str, Any] = {
    "/chat": {"content": [{"type": "document", "media_type": "application/pdf", "name": "a.pdf", "data": PDF}]},
    "/api/chat": {"id": "u", "parts": [{"type": "file", "mediaType": "application/pdf", "url": URL}]},
    "/agui": {
        "id": "u",
        "content": [{"type": "document", "source": {"type": "data", "mimeType": "application/pdf", "value": PDF}}],
    },
    "/v1/chat/completions": {"content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": URL}}]},
}


class Swallowing:
    """A provider that keeps nothing of what it is sent but whether the document was in it, whole."""

    found = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        digest, start, before = hashlib.sha256(), PDF[:32].encode(), b""
        while not self.found and left:
            piece = await reader.read(min(left, 65_536))
            left -= len(piece)
            before += piece
            self.found = start in before
        document = before[before.find(start) :]
        digest.update(document)
        missing = len(PDF) - len(document)
        while left:
            piece = await reader.read(min(left, 65_536))
            left -= len(piece)
            digest.update(piece[:missing])
            missing -= min(missing, len(piece))
        self.found = digest.hexdigest() == PDF_DIGEST
        answer = transcripts.wire("anthropic", "text")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + answer)
        writer.close()


@contextlib.asynccontextmanager
async def swallowing() -> AsyncIterator[tuple[Swallowing, str]]:
    provider = Swallowing()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    try:
        yield provider, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await http_pool.close()
        server.close()


def arrived(path: str, body: dict[str, Any]) -> list[bytearray]:
    """An event in the pieces in which it arrives from Lambda."""
    whole = json.dumps(event("POST", path, body), ensure_ascii=False).encode()
    pieces: list[bytearray] = []
    for start in range(0, len(whole), 50_000):
        append_data(pieces, whole[start : start + 50_000])
    return pieces


@pytest.mark.parametrize("language", ["", "é", "\N{WATER WAVE}"])
@pytest.mark.parametrize("path", BODIES)
async def test_a_large_document_takes_at_most_twice_its_size(path: str, language: str) -> None:
    await measure(path, {"messages": [{"role": "user", **BODIES[path]}], "stream": True, "user": language})


async def test_one_that_is_kept_likewise() -> None:
    body = {"messages": [{"role": "user", **BODIES["/chat"]}], "conversation_id": "c", "store": True, "user": "é"}
    await measure("/chat", body, spare_bytes=2 * SPARE_BYTES)  # with what the provider here has read


@pytest.mark.parametrize("path", BODIES)
async def test_it_is_gone_with_its_answer(path: str) -> None:
    """And need not wait for the garbage collector, while the next document arrives."""
    gc.disable()
    try:
        left = await measure(path, {"messages": [{"role": "user", **BODIES[path]}], "threadId": "t", "runId": "r"})
    finally:
        gc.enable()
    assert left < 2 * SPARE_BYTES


async def measure(path: str, body: dict[str, Any], spare_bytes: int = SPARE_BYTES) -> int:
    async with swallowing() as (provider, url):
        options = {"anthropic_base_url": url, "anthropic_api_key": "sk-0123456789", "title_model": "off"}
        service = make_service(model_provider="anthropic", **options)
        await handle(service, event("POST", path, {"messages": [{"role": "user", "content": "Hi"}]}), *one_answer())
        gc.collect()
        tracemalloc.start()
        try:
            pieces = arrived(path, body)
            tracemalloc.reset_peak()
            given = parse_event({}, pieces, takes_large=True)
            stream, _ = open_stream(None, FrontEnd.FUNCTION_URL, is_head=False)
            await handle(service, given, stream, FakeLambdaContext())
            await stream.end()
            left, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert provider.found
    assert given["body"] is None
    assert peak <= 2 * len(PDF) + spare_bytes
    return left


def one_answer() -> Any:
    return RecordedResponse(), FakeLambdaContext()
