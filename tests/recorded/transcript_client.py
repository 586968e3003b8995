"""Sends the requests of a case and writes the responses and the provider's requests as one text, the transcript.

Lines that begin with `>` are the request, with `<` the status and the headers of the response, with `?` the request to
the provider; the response body is unchanged. Requests sent meanwhile are indented. A body without a final newline gets
a last line of `¶`. For a binary event stream, the payloads of each kind of event are joined. A line of `~` marks where
the provider sent its next piece: what is above it had arrived by then.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
from botocore.eventstream import EventStreamBuffer

from tests.recorded.exchange import Exchange
from tests.recorded.provider import Provider, ProviderRequest

__all__ = ["TranscriptClient"]

UNRECORDED: Final = {
    "connection",
    "content-length",
    "date",
    "transfer-encoding",
    "x-amzn-requestid",
    "x-amzn-trace-id",
}
"""Headers that differ from run to run."""

RECORDED_HEADERS: Final = (
    "accept",
    "accept-encoding",
    "anthropic-version",
    "authorization",
    "content-type",
    "x-api-key",
)
INVOKE: Final = ("/2015-03-31/", "/2021-11-15/")
TIMEOUT_S: Final = 30
ATTEMPTS: Final = 5
POLLS: Final = 100
POLL_INTERVAL_S: Final = 0.1


@dataclass(frozen=True)
class TranscriptClient:
    """A client of one server that also reads the requests to its provider.

    Args:
        url: The server's URL.
        provider: The provider it calls.
        server_tools: Names of the server's own tools, recorded instead of their long schemas.
        invoke_url: URL of the server's Invoke API.
    """

    url: str
    provider: Provider
    server_tools: frozenset[str] = frozenset()
    invoke_url: str = ""

    def record(self, exchanges: Iterable[Exchange]) -> str:
        """The transcript of these exchanges, in order."""
        with httpx.Client(timeout=TIMEOUT_S) as client:
            return "\n".join("\n".join(self._exchange(client, exchange)) + "\n" for exchange in exchanges)

    def _exchange(self, client: httpx.Client, exchange: Exchange) -> Iterator[str]:
        yield from _request(exchange)
        answer, body, meanwhile = self._answered(client, exchange)
        for line in "\n".join(meanwhile).splitlines():
            yield f"    {line}".rstrip()
        if exchange.until:
            answer.headers["retry-after"] = "<seconds>"
        yield from _answer(answer, body if exchange.shows_body else b"")
        server_tools = frozenset() if exchange.shows_tools else self.server_tools
        for request in self.provider.requests:
            yield from _provider_request(request, server_tools)

    def _answered(self, client: httpx.Client, exchange: Exchange) -> tuple[httpx.Response, bytes, list[str]]:
        for _ in range(ATTEMPTS):
            self.provider.expect(exchange.answers, self.url)
            with self._sent(client, exchange) as answer:
                body, meanwhile = self._received(client, exchange, answer)
            if exchange.until in {0, answer.status_code}:
                return answer, body, meanwhile
        raise AssertionError(f"{exchange.path} was not answered with {exchange.until}")

    def _sent(self, client: httpx.Client, exchange: Exchange) -> Any:
        at = self.invoke_url if exchange.path.startswith(INVOKE) else self.url
        headers = dict(exchange.headers)
        return client.stream(exchange.method, at + exchange.path, content=exchange.body, headers=headers)

    def _received(self, client: httpx.Client, exchange: Exchange, answer: httpx.Response) -> tuple[bytes, list[str]]:
        body = b""
        meanwhile: list[str] = []
        for piece in answer.iter_raw():
            body += piece
            self.provider.note_received(body)
            if exchange.meanwhile and not meanwhile and exchange.wait_for in body:
                meanwhile = [
                    self._send_meanwhile(client, meanwhile_exchange) for meanwhile_exchange in exchange.meanwhile
                ]
        self.provider.release()
        recorded_body = _events(body) if exchange.path.startswith(INVOKE[1]) else body
        return _with_marks(recorded_body, self.provider.marks), meanwhile

    def _send_meanwhile(self, client: httpx.Client, exchange: Exchange) -> str:
        """Send a request during another one, without changing the provider's answers."""
        for _ in range(POLLS):
            with self._sent(client, exchange) as answer:
                answer.read()
            if exchange.until_says in answer.content:
                return "\n".join([*_request(exchange), *_answer(answer, answer.content), ""])
            time.sleep(POLL_INTERVAL_S)
        raise AssertionError(f"{exchange.path} was not answered with {exchange.until_says!r}")


def _with_marks(body: bytes, marks: Iterable[tuple[int, str]]) -> bytes:
    """A body with a line inserted at each of these positions."""
    for place, mark in sorted(marks, reverse=True):
        body = body[:place] + f"{mark}\n\n".encode() + body[place:]
    return body


def _provider_request(request: ProviderRequest, server_tools: frozenset[str]) -> Iterator[str]:
    yield ""
    yield f"? {request.method} {request.path}"
    yield from (f"? {name}: {request.headers[name]}" for name in RECORDED_HEADERS if name in request.headers)
    for name, value in request.body.items():
        yield from _field(name, value, server_tools)


def _field(name: str, value: Any, server_tools: frozenset[str]) -> Iterator[str]:
    """A field on one line, but a list with a line for each of its entries."""
    if name == "toolConfig":
        for key, inner in value.items():
            yield from _field(f"{name}.{key}", inner, server_tools)
    elif isinstance(value, list):
        names = [_tool_name(entry) for entry in value]
        yield f"? {name}:"
        if known := [name for name in names if name in server_tools]:
            yield "?   all of ours" if server_tools.issubset(known) else f"?   of ours: {', '.join(known)}"
        yield from (f"?   {_json(entry)}" for name, entry in zip(names, value, strict=True) if name not in server_tools)
    else:
        yield f"? {name}: {_json(value)}"


def _tool_name(entry: Any) -> str:
    """The name in a vendor's description of a tool."""
    payloads = entry.get("function") or entry.get("toolSpec") or entry if isinstance(entry, dict) else {}
    return str(payloads.get("name", ""))


def _request(exchange: Exchange) -> Iterator[str]:
    yield f"> {exchange.method} {exchange.path}"
    yield from (f"> {name}: {value}" for name, value in exchange.headers.items())
    if exchange.body:
        yield f"> {exchange.body.decode(errors='backslashreplace')}"
    yield ""


def _answer(answer: httpx.Response, body: bytes) -> Iterator[str]:
    yield f"< {answer.status_code}"
    yield from (f"< {name}: {value}" for name, value in answer.headers.items() if name not in UNRECORDED)
    if body:
        yield ""
        text = body.decode().replace("\0" * 8, "<eight zeros>")
        yield text.removesuffix("\n") if text.endswith("\n") else f"{text}\n¶"


def _events(body: bytes) -> bytes:
    """The joined payload of each kind of event; the number of chunks differs from run to run."""
    payloads: dict[str, bytes] = {}
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for event in buffer:
        kind = str(event.to_response_dict()["headers"][":event-type"])
        payloads[kind] = payloads.get(kind, b"") + event.payload
    return b"\n".join(f"{kind}: ".encode() + payload for kind, payload in payloads.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
