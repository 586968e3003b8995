"""A minimal Runtime API for a chat function: hands out one invocation at a time."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Self

from winterbourne.override import override

__all__ = ["FakeRuntimeApi", "chat_event"]

ACCEPTED = b'HTTP/1.1 202 Accepted\r\ncontent-length: 16\r\n\r\n{"status":"OK"}\n'


def chat_event(words: str, **more: object) -> bytes:
    """The function-URL event of one chat request, payload 2.0; `more` are further fields of its body."""
    body = json.dumps({"messages": [{"role": "user", "content": words}], **more})
    http = {"method": "POST", "path": "/chat", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"}
    event: dict[str, Any] = {
        "version": "2.0",
        "rawPath": "/chat",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "localhost"},
        "requestContext": {"http": http, "requestId": "r", "domainName": "localhost", "stage": "$default"},
        "body": body,
        "isBase64Encoded": False,
    }
    return json.dumps(event).encode()


class FakeRuntimeApi(asyncio.Protocol):
    """Serves on a free port while its context is entered.

    Args:
        arrived: Called with each piece of a response as it is read from the socket.
    """

    def __init__(self, arrived: Callable[[bytes], None] = lambda _: None) -> None:
        self._arrived = arrived
        self._asked = asyncio.Event()
        self._done: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: self, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def is_idle(self) -> None:
        """Wait until what is done after the end of a response is done as well: the next invocation is asked for."""
        await self._asked.wait()

    async def invoke(self, event: bytes) -> None:
        """Hand out one invocation and wait for the end of its response."""
        await self._asked.wait()
        self._asked.clear()
        self._done = asyncio.get_running_loop().create_future()
        self._last = b""
        head = (
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 600_000}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:bench\r\n"
            f"content-type: application/json\r\ncontent-length: {len(event)}\r\n\r\n"
        )
        self._transport.write(head.encode() + event)
        await self._done

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET "):
            self._asked.set()
            return
        assert b"/runtime/init/error" not in data, data
        self._arrived(data)
        self._last = (self._last + data)[-16:]
        if self._last.endswith(b"\r\n0\r\n\r\n") and self._done:
            self._transport.write(ACCEPTED)
            self._done.set_result(None)
