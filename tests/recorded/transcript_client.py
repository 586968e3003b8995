"""Sends the requests of a case and writes down what came back, and what the provider was asked, as one text.

Lines that begin with `>` are the request, with `<` the status and the headers of the answer, with `?` what the
provider was asked; the answer's body stands as it is. What was said meanwhile is indented. A body that does not end
with its line gets a last line of `¶`. Of an event stream each kind of event is told, and what it carries, joined.
A line of `~` stands where the provider sent its next piece: what is above it had arrived by then.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
from botocore.eventstream import EventStreamBuffer

from tests.recorded.exchange import Exchange
from tests.recorded.provider import Asked, Provider

__all__ = ["Talk"]

UNRECORDED: Final = {
    "connection",
    "content-length",
    "date",
    "transfer-encoding",
    "x-amzn-requestid",
    "x-amzn-trace-id",
}
"""Headers that tell of the moment, not of the answer."""

ASKED: Final = ("accept", "accept-encoding", "anthropic-version", "authorization", "content-type", "x-api-key")
INVOKE: Final = ("/2015-03-31/", "/2021-11-15/")
TIMEOUT_S: Final = 30
ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Talk:
    """One server, and the provider it asks.

    Args:
        url: The server's.
        provider: Whom it asks.
        ours: Names of the tools that the server itself offers: they stand for the tools, whose schemas are long.
        invoke_url: Where the server answers as Lambda's own API does.
    """

    url: str
    provider: Provider
    ours: frozenset[str] = frozenset()
    invoke_url: str = ""

    def record(self, exchanges: Iterable[Exchange]) -> str:
        """Everything that was said, in order."""
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
        ours = frozenset() if exchange.shows_tools else self.ours
        for asked in self.provider.asked:
            yield from _asked(asked, ours)

    def _answered(self, client: httpx.Client, exchange: Exchange) -> tuple[httpx.Response, bytes, list[str]]:
        for _ in range(ATTEMPTS):
            self.provider.expect(exchange.answers, self.url)
            with self._sent(client, exchange) as answer:
                body, meanwhile = self._heard(client, exchange, answer)
            if exchange.until in {0, answer.status_code}:
                return answer, body, meanwhile
        raise AssertionError(f"{exchange.path} was not answered with {exchange.until}")

    def _sent(self, client: httpx.Client, exchange: Exchange) -> Any:
        at = self.invoke_url if exchange.path.startswith(INVOKE) else self.url
        headers = dict(exchange.headers)
        return client.stream(exchange.method, at + exchange.path, content=exchange.body, headers=headers)

    def _heard(self, client: httpx.Client, exchange: Exchange, answer: httpx.Response) -> tuple[bytes, list[str]]:
        body = b""
        meanwhile: list[str] = []
        for piece in answer.iter_raw():
            body += piece
            self.provider.hear(body)
            if exchange.meanwhile and not meanwhile and exchange.wait_for in body:
                meanwhile = [self._aside(client, aside) for aside in exchange.meanwhile]
        self.provider.go_on()
        told = _events(body) if exchange.path.startswith(INVOKE[1]) else body
        return _marked(told, self.provider.marks), meanwhile

    def _aside(self, client: httpx.Client, exchange: Exchange) -> str:
        """A request beside another one, whose answers of the provider stay as they are."""
        with self._sent(client, exchange) as answer:
            answer.read()
        return "\n".join([*_request(exchange), *_answer(answer, answer.content), ""])


def _marked(body: bytes, marks: Iterable[tuple[int, str]]) -> bytes:
    """A body with a line at each of these places."""
    for place, mark in sorted(marks, reverse=True):
        body = body[:place] + f"{mark}\n\n".encode() + body[place:]
    return body


def _asked(asked: Asked, ours: frozenset[str]) -> Iterator[str]:
    yield ""
    yield f"? {asked.method} {asked.path}"
    yield from (f"? {name}: {asked.headers[name]}" for name in ASKED if name in asked.headers)
    for name, value in asked.body.items():
        yield from _field(name, value, ours)


def _field(name: str, value: Any, ours: frozenset[str]) -> Iterator[str]:
    """A field on one line, but a list with a line for each of its entries."""
    if name == "toolConfig":
        for key, inner in value.items():
            yield from _field(f"{name}.{key}", inner, ours)
    elif isinstance(value, list):
        names = [_tool_name(entry) for entry in value]
        yield f"? {name}:"
        if known := [name for name in names if name in ours]:
            yield "?   all of ours" if ours.issubset(known) else f"?   of ours: {', '.join(known)}"
        yield from (f"?   {_json(entry)}" for name, entry in zip(names, value, strict=True) if name not in ours)
    else:
        yield f"? {name}: {_json(value)}"


def _tool_name(entry: Any) -> str:
    """The name in a vendor's description of a tool."""
    said = entry.get("function") or entry.get("toolSpec") or entry if isinstance(entry, dict) else {}
    return str(said.get("name", ""))


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
    """What each kind of event carries; in how many pieces is a matter of the moment."""
    said: dict[str, bytes] = {}
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for event in buffer:
        kind = str(event.to_response_dict()["headers"][":event-type"])
        said[kind] = said.get(kind, b"") + event.payload
    return b"\n".join(f"{kind}: ".encode() + payload for kind, payload in said.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
