"""A pytest plugin that runs Starlette's own test suite through the layer's ASGI handler.

Each request of Starlette's test client becomes a function URL event; the handler turns it into a scope again, and the
application's answer comes back by way of a response stream. Lifespan and WebSocket scopes, which no Lambda event has,
go to the application as they are.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from winterbourne.asgi import AsgiHandler
from winterbourne.invocation import LambdaContext
from winterbourne.stream import BufferedSink, ResponseStream

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ThroughLambda:
    """An ASGI application that serves another one as the layer does on Lambda."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self._handler = AsgiHandler(self._with_state)
        self._state: dict[str, Any] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._state = scope["state"]
        event = _event(scope, await _body(receive))
        sink = BufferedSink()
        stream = ResponseStream(sink)
        try:
            await self._handler(event, stream, LambdaContext({}))
        finally:
            if stream.response:
                body = sink.result(None)
                pairs = stream.response.headers
                headers = [*(pairs.items() if isinstance(pairs, dict) else pairs)]
                headers += [("set-cookie", cookie) for cookie in stream.response.cookies]
                encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
                await send({"type": "http.response.start", "status": stream.response.status, "headers": encoded})
                await send({"type": "http.response.body", "body": body})

    async def _with_state(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["state"] = self._state.copy()
        await self.app(scope, receive, send)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _event(scope: Message, body: bytes) -> dict[str, Any]:
    """The event of a function URL, which has each header once, and cookies in a list of their own too."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        joined = "; " if key == "cookie" else ","
        headers[key] = f"{headers[key]}{joined}{text}" if key in headers else text
    host, port = scope["server"]
    headers |= {"x-forwarded-proto": scope["scheme"], "x-forwarded-port": str(port)}
    headers.setdefault("host", host)
    client = scope["client"] or ("", 0)
    return {
        "version": "2.0",
        "rawPath": scope["raw_path"].decode("latin-1"),
        "rawQueryString": scope["query_string"].decode("latin-1"),
        "headers": headers,
        **({"cookies": headers["cookie"].split("; ")} if "cookie" in headers else {}),
        "requestContext": {"http": {"method": scope["method"], "path": scope["path"], "sourceIp": client[0]}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


@pytest.fixture(autouse=True)
def _through_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test client serve its application through Lambda."""
    testclient = pytest.importorskip("starlette.testclient")
    served = testclient._TestClientTransport.handle_request

    def handle_request(transport: Any, request: Any) -> Any:
        if not isinstance(transport.app, ThroughLambda):
            transport.app = ThroughLambda(transport.app)
        return served(transport, request)

    monkeypatch.setattr(testclient._TestClientTransport, "handle_request", handle_request)
