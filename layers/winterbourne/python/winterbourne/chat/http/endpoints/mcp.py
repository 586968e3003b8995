"""MCP endpoint: offers the chat's own tools to MCP clients (Model Context Protocol, streamable HTTP), without sessions.

Both eras of the protocol are served: since 2026-07-28 each request is complete in itself; before that a client begins
with `initialize`, which is answered and opens nothing.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import asyncio
import base64
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import orjson

from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStopped,
    EventBatch,
    ToolApprovalRequested,
    ToolFinished,
    ToolProgressed,
    Usage,
)
from winterbourne.chat.core.messages import Decision, ToolCall, ToolSchema
from winterbourne.chat.core.supervisor import EventWriter, supervise
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.http.request import NOT_AN_OBJECT
from winterbourne.chat.http.service import JSON_HEADERS, RequestContext, reply, reply_json
from winterbourne.chat.infra import http_pool
from winterbourne.chat.settings import AuthSettings, RequestSettings, StreamSettings

__all__ = ["McpEndpoint", "describe_authorization", "encode_error"]

MODERN_VERSION: Final = "2026-07-28"
HANDSHAKE_VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
VERSIONS: Final = (MODERN_VERSION, *HANDSHAKE_VERSIONS)

LIST_TTL_MS: Final = 300_000
"""How long clients may keep the list of tools, which changes with a deployment only."""

_META: Final = "io.modelcontextprotocol/"
_APPROVAL: Final = "approval"
_REQUIRED_META: Final = (f"{_META}protocolVersion", f"{_META}clientCapabilities")
_STREAM_HEADERS: Final = JSON_HEADERS | {"content-type": "text/event-stream", "x-accel-buffering": "no"}
_ENCODED_HEADER: Final = r"=\?base64\?(.*)\?="

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022


class _Refused(Exception):
    """A request that is answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, status: int = 400, **data: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = code, message, data


class McpEndpoint(msgspec.Struct, frozen=True):
    """Answers MCP requests.

    Attributes:
        request_settings: The limits of a request.
        stream_settings: Heartbeats, and the margin before the deadline.
        tools: Runs the calls.
        offered: The tools that may be called.
        name: What the server is called.
    """

    request_settings: RequestSettings
    stream_settings: StreamSettings
    tools: Tools
    offered: Sequence[ToolSchema]
    name: str

    async def handle(self, context: RequestContext) -> None:
        """Answer one message: a request, or a notification, which changes nothing here.

        Raises:
            RequestRejected: The body is not a JSON object, or too large; batches are no part of the protocol any more.

        Cancellation:
            Cancels the tool.
        """
        message = await context.request.json_object(self.request_settings)
        context.record.fields["mcp_method"] = str(message.get("method"))[:64]
        if "id" not in message:
            await reply(context.stream, 202, b"", {})
            return
        try:
            await self._answer(message, context)
        except _Refused as refused:
            error = _error(*refused.error, context.request.request_id)
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "error": error})
            await reply(context.stream, refused.status, body, JSON_HEADERS)

    async def _answer(self, message: Mapping[str, Any], context: RequestContext) -> None:
        method, params = message.get("method"), message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            raise _Refused(INVALID_REQUEST, "a request has a method, and its params are an object")
        is_modern = _is_modern(method, params, context.request.headers)
        extras = {"resultType": "complete", "_meta": {f"{_META}serverInfo": self._server_info()}} if is_modern else {}
        if method == "tools/call":
            await self._call(message["id"], extras, params, context)
            return
        if (result := self._results(params, is_modern=is_modern).get(method)) is None:
            raise _Refused(METHOD_NOT_FOUND, f"there is no method {method[:64]}", 404 if is_modern else 200)
        body = {"jsonrpc": "2.0", "id": message["id"], "result": extras | result}
        await reply(context.stream, 200, msgspec.json.encode(body), JSON_HEADERS)

    def _server_info(self) -> dict[str, str]:
        return {"name": self.name, "version": http_pool.USER_AGENT.partition("/")[2]}

    def _results(self, params: Mapping[str, Any], *, is_modern: bool) -> dict[str, dict[str, Any]]:
        """What each method is answered with."""
        fields = ((one.name, one.description, one.parameters) for one in self.offered)
        tools = {"tools": [dict(zip(("name", "description", "inputSchema"), each, strict=True)) for each in fields]}
        can: dict[str, Any] = {"capabilities": {"tools": {}}}
        if is_modern:
            cached = {"ttlMs": LIST_TTL_MS, "cacheScope": "private"}  # the endpoint has callers
            return {"server/discover": {"supportedVersions": VERSIONS, **can, **cached}, "tools/list": tools | cached}
        asked = params.get("protocolVersion")
        version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]
        opened = {"protocolVersion": version, "serverInfo": self._server_info(), **can}
        return {"initialize": opened, "ping": {}, "tools/list": tools}

    async def _call(
        self, id_: Any, extras: Mapping[str, Any], params: Mapping[str, Any], context: RequestContext
    ) -> None:
        name, arguments, meta = params.get("name"), params.get("arguments") or {}, params.get("_meta") or {}
        status = 400 if extras else 200  # of which clients with sessions read the errors
        if not isinstance(name, str) or name not in {tool.name for tool in self.offered}:
            raise _Refused(INVALID_PARAMS, f"there is no tool {str(name)[:64]}", status)
        if not isinstance(arguments, dict) or not isinstance(meta, dict):
            raise _Refused(INVALID_PARAMS, "arguments and _meta are objects", status)
        context.record.tools.append(name)
        call = ToolCall("mcp", name, orjson.dumps(arguments).decode())
        takes_events = "text/event-stream" in context.request.headers.get("accept", "")
        token = meta.get("progressToken") if takes_events else None
        stopped = _error(INTERNAL_ERROR, "The call was stopped before it was done.", {}, context.request.request_id)
        await self._run(call, params, _AnswerEncoder(id_, extras, call.arguments, token, stopped), context)

    async def _run(
        self, call: ToolCall, params: Mapping[str, Any], encoder: "_AnswerEncoder", context: RequestContext
    ) -> None:
        """Run a call under supervision, as the answers of the chat are."""
        decisions, can_ask = _decisions(params), encoder.is_modern and _takes_forms(params["_meta"])
        request_id, loop = context.request.request_id, asyncio.get_running_loop()
        deadline = context.request.deadline - self.stream_settings.deadline_margin
        stream = context.stream
        writer = EventWriter(encoder.encode, stream.put, encoder.heartbeat, request_id, lock=stream.lock)

        async def run() -> None:
            async with self.tools.turn(
                writer.emit,
                deadline=deadline,
                request_id=request_id,
                caller_id=context.caller.id,
                conversation_id="mcp",
                question=request_id,  # a client that calls twice means it
                approvals="yes_or_no" if can_ask else "none",
            ) as calls:
                calls.start(call, decisions or None)
                await calls.results()
            await writer.emit((ConversationEnded("stop", Usage(), 0),))

        stream.start_on_write(encoder, writer.last_words)
        never, interval_s = loop.create_future, self.stream_settings.heartbeat_interval
        # Nobody sends a stop: the client closes the connection.
        await supervise(run(), writer, wait_for_stop=never, deadline=deadline, heartbeat_interval_s=interval_s)


class _AnswerEncoder:
    """Encodes the answer to one call: a JSON body, or an event stream with progress, for a client that asks for it.

    Args:
        request_id: Of any JSON type; it is sent back.
        extras: What every result has since 2026-07-28; nothing before.
        arguments: Those of the call, for a person who is asked.
        progress_token: Names the call in its progress; None if there is to be none.
        stopped: The error of a call that ends without a result.

    Attributes:
        is_modern: Whether the client speaks 2026-07-28.
    """

    status: ClassVar[int] = 200

    def __init__(
        self, request_id: Any, extras: Mapping[str, Any], arguments: str, progress_token: Any, stopped: object
    ) -> None:
        self.heartbeat = b"" if progress_token is None else b": keep-alive\n\n"
        self.headers: Mapping[str, str] = _STREAM_HEADERS if self.heartbeat else JSON_HEADERS
        self._request_id, self._extras, self.is_modern = request_id, extras, bool(extras)
        self._arguments, self._progress_token, self._stopped = arguments, progress_token, stopped
        self._steps, self._is_answered = itertools.count(1), False

    def encode(self, batch: EventBatch) -> bytes:
        """The messages for a batch."""
        return b"".join(map(self._frame, itertools.chain.from_iterable(map(self._messages, batch))))

    def _messages(self, event: ChatEvent) -> Iterator[dict[str, Any]]:
        if self._is_answered:
            return
        match event:
            case ToolProgressed() if self._progress_token is not None:
                yield {"method": "notifications/progress", "params": self._progress(event.data)}
            case ToolFinished():
                yield self._answer(result={**self._extras, **_tool_result(event)})
            case ToolApprovalRequested():
                yield self._answer(result={**self._extras, **_input_required(event, self._arguments)})
            case ConversationFailed(_, message, request_id):
                yield self._answer(error=_error(INTERNAL_ERROR, message, {}, request_id))
            case ConversationStopped() | ConversationEnded():
                yield self._answer(error=self._stopped)

    def _answer(self, **outcome: Any) -> dict[str, Any]:
        self._is_answered = True
        return {"id": self._request_id, **outcome}

    def _progress(self, data: bytes) -> dict[str, Any]:
        """Progress has to be a number that grows; what the tool says is the message."""
        return {"progressToken": self._progress_token, "progress": next(self._steps), "message": _text(data)}

    def _frame(self, message: Mapping[str, Any]) -> bytes:
        body = msgspec.json.encode({"jsonrpc": "2.0", **message})
        return b"event: message\ndata: %b\n\n" % body if self.heartbeat else body


async def describe_authorization(settings: AuthSettings, context: RequestContext) -> None:
    """Tell clients where to get a token, with AUTH=jwt: OAuth 2.0 protected resource metadata (RFC 9728)."""
    headers, root_path = context.request.headers, context.request.root_path
    url = f"{headers.get('x-forwarded-proto', 'https')}://{headers.get('host', '')}{root_path}/mcp"
    scopes = {"scopes_supported": [settings.jwt_scope]} if settings.jwt_scope else {}
    await reply_json(context.stream, {"resource": url, "authorization_servers": [settings.jwt_issuer], **scopes})


def _error(code: int, message: str, data: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """An error, with the id of its log line beside what else there is to know."""
    return {"code": code, "message": message, "data": {**data, "request_id": request_id}}


def encode_error(status: int, code: str, message: str, request_id: str) -> tuple[str, bytes]:
    """The body of an error response: a JSON-RPC error without an id."""
    is_unreadable = code.startswith("invalid_") and message != NOT_AN_OBJECT  # as a batch is, which can be read
    number = PARSE_ERROR if is_unreadable else INTERNAL_ERROR if status >= 500 else INVALID_REQUEST
    error = _error(number, message, {}, request_id)
    return "application/json", msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": error})


def _is_modern(method: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request is one of 2026-07-28, which must say the same in its headers and in its body.

    Raises:
        _Refused: It contradicts itself, lacks something, or has a version that is not served.
    """
    meta = params.get("_meta")
    said, version = meta if isinstance(meta, dict) else {}, headers.get("mcp-protocol-version", "")
    claimed = said.get(_REQUIRED_META[0], version)
    if claimed == version and version in {"", *HANDSHAKE_VERSIONS}:
        return False
    if claimed == version != MODERN_VERSION:
        text = "this version of the protocol is not supported"
        raise _Refused(UNSUPPORTED_VERSION, text, supported=VERSIONS, requested=version)
    if missing := [key for key in _REQUIRED_META if key not in said]:
        raise _Refused(INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}")
    sent = version, headers.get("mcp-method"), _decode_header(headers.get("mcp-name", ""))
    name = str(params.get("name")) if method == "tools/call" else sent[2]
    if sent != (claimed, method, name):
        raise _Refused(HEADER_MISMATCH, "MCP-Protocol-Version, Mcp-Method and Mcp-Name must say what the body says")
    return True


def _decode_header(value: str) -> str | None:
    """A header's text; None if it is encoded and cannot be decoded."""
    if not (encoded := re.fullmatch(_ENCODED_HEADER, value)):
        return value
    try:
        return base64.b64decode(encoded[1], validate=True).decode()
    except ValueError:
        return None


def _takes_forms(meta: Mapping[str, Any]) -> bool:
    """Whether a client of 2026-07-28 can ask its user with a form; one that does not say how it asks can."""
    capabilities = meta[_REQUIRED_META[1]]
    kinds = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    return isinstance(kinds, dict) and (not kinds or "form" in kinds)


def _input_required(event: ToolApprovalRequested, arguments: str) -> dict[str, Any]:
    """The question to a person whether the tool may run; the question's id comes back as the state."""
    message = f"{event.approval.message or 'May this be run?'}\n{event.name} {arguments}"
    form = {"mode": "form", "message": message, "requestedSchema": {"type": "object", "properties": {}}}
    asked = {_APPROVAL: {"method": "elicitation/create", "params": form}}
    return {"resultType": "input_required", "inputRequests": asked, "requestState": event.approval.id}


def _decisions(params: Mapping[str, Any]) -> list[Decision]:
    """What a person has decided, of a call that is made again with the answer; without one it is asked again."""
    state, responses = params.get("requestState"), params.get("inputResponses")
    answer = responses.get(_APPROVAL) if isinstance(responses, dict) else None
    if not isinstance(state, str) or not isinstance(answer, dict):
        return []
    return [Decision(approval_id=state, approved=answer.get("action") == "accept")]


def _tool_result(event: ToolFinished) -> dict[str, Any]:
    """The result of a tool as text and, if it is an object, as structured content."""
    content = [{"type": "text", "text": event.error or _text(event.result)}]
    if event.status != "completed":
        return {"content": content, "isError": True}
    structured = {"structuredContent": msgspec.Raw(event.result)} if event.result.startswith(b"{") else {}
    return {"content": content, **structured, "isError": False}


def _text(encoded: bytes) -> str:
    """JSON text, or the text that it holds."""
    return str(orjson.loads(encoded)) if encoded.startswith(b'"') else encoded.decode()
