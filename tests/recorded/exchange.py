"""A case: requests to the chat, and the provider's response to each. Plain data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

__all__ = ["ALICE", "JSON", "Answer", "Case", "Exchange", "Piece", "get", "invoked", "post", "streamed"]

JSON: Mapping[str, str] = {"content-type": "application/json"}
ALICE: Mapping[str, str] = {"authorization": "Bearer made-up-alice"}


@dataclass(frozen=True)
class Piece:
    """A part of an answer; the next one is sent when the client has received what this one causes.

    Args:
        body: What the provider sends.
        means: Text that the client receives because of it, within its last frame. If a format sends nothing for it, the
            next piece is sent when the server has answered another request since.
    """

    body: bytes
    means: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of the provider: `body` is sent at once, `pieces` one by one, and `held` after all of `meanwhile`."""

    body: bytes = b""
    pieces: tuple[Piece, ...] = ()
    held: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    is_cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request to the chat.

    Args:
        method: The HTTP method.
        path: With its query.
        body: As it is sent.
        headers: As they are sent.
        answers: The provider's responses, one for each request to it.
        meanwhile: Requests that are sent and answered while this one is being answered.
        shows_body: Whether the body of the answer is recorded.
        shows_tools: Whether the tools of the server are recorded as they are sent to the provider, not by name.
        until: The request is sent again until it is answered with this status; the last answer is recorded.
        until_says: The request, one of `meanwhile`, is sent again until its answer has this text.
        wait_for: Text of the answer after which the requests of `meanwhile` are sent.
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    meanwhile: tuple["Exchange", ...] = ()
    shows_body: bool = True
    shows_tools: bool = False
    until: int = 0
    until_says: bytes = b""
    wait_for: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests that are recorded in one file, `wire/GROUP/NAME.txt`, in order, from one server."""

    group: str
    name: str
    server: str = "openai"
    exchanges: tuple[Exchange, ...]

    @property
    def title(self) -> str:
        return f"{self.group}/{self.name}"


def post(path: str, body: Any, *answers: Answer, **more: Any) -> Exchange:
    """A request with a JSON body."""
    text = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    headers = {**JSON, **more.pop("headers", ALICE)}
    return Exchange(method="POST", path=path, body=text, headers=headers, answers=answers, **more)


def get(path: str, **more: Any) -> Exchange:
    """A request without a body."""
    return Exchange(method=more.pop("method", "GET"), path=path, headers=more.pop("headers", ALICE), **more)


def invoked(exchange: Exchange, **identity: str) -> Exchange:
    """The same as an event for Lambda's Invoke; `identity` is the IAM identity in a function URL event."""
    return _given(exchange, "/2015-03-31/functions/local/invocations", identity)


def streamed(exchange: Exchange, **identity: str) -> Exchange:
    """The same for InvokeWithResponseStream."""
    return _given(exchange, "/2021-11-15/functions/local/response-streaming-invocations", identity)


def _given(exchange: Exchange, to: str, identity: Mapping[str, str]) -> Exchange:
    path, _, query = exchange.path.partition("?")
    context: dict[str, Any] = {"http": {"method": exchange.method, "path": unquote(path)}}
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": exchange.headers,
        "requestContext": {**context, **({"authorizer": {"iam": identity}} if identity else {})},
        "body": exchange.body.decode(),
        "isBase64Encoded": False,
    }
    body = json.dumps(event, ensure_ascii=False).encode()
    return replace(exchange, method="POST", path=to, headers=JSON, body=body)
