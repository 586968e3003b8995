"""Clients of each wire format that can lose their stream and resume it, and what each then shows.

A client is shown what its format says: these readers raise where a part comes twice, or is added to before it begins.
"""

import http.client
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol
from urllib.parse import urlsplit

__all__ = [
    "FORMATS",
    "RESUMABLE",
    "Connection",
    "Wire",
    "ag_ui_messages",
    "events",
    "get",
    "post",
    "same_bytes",
    "without_partial_frame",
]

OWN_TOOL = {"type": "object", "properties": {"seed": {"type": "integer"}, "why": {"type": "string"}}}
REQUEST_ID = re.compile(r" \(request [^)]*\)")


@dataclass
class Connection:
    """One response, read byte by byte as far as its reader likes."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse

    @property
    def status(self) -> int:
        """The status; 204 says that there is nothing to resume."""
        return self.response.status

    def read(self, count: int | None = None) -> bytes:
        """So many bytes, or fewer at the end of the body; or all, and then it is closed."""
        try:
            return self.response.read(count)
        except http.client.IncompleteRead as cut:
            return cut.partial
        finally:
            if count is None:
                self.close()

    def read_some(self) -> bytes:
        """What is there; b"" at the end."""
        try:
            return self.response.read1(65536)
        except (http.client.IncompleteRead, ConnectionError):
            return b""

    def close(self) -> None:
        """Go away, in mid-stream as well."""
        self.response.close()
        self.connection.close()


class _Body(Protocol):
    def __call__(
        self, conversation: str, question: str, *, kept: bool = False, own_tool: bool = False
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Wire:
    """A wire format, as its clients use it.

    Attributes:
        path: Of the POST.
        body: Makes a request from the conversation's id, the question, whether it is kept, and whether the client has
            a tool of its own.
        show: What a client shows of the data of the frames it got.
        can_keep: Whether a request can say that its conversation is to be kept.
        has_own_tools: Whether a client can have tools of its own.
    """

    path: str
    body: _Body
    show: Callable[[Iterable[Any]], Any]
    can_keep: bool = False
    has_own_tools: bool = True


def post(url: str, wire: Wire, body: dict[str, Any]) -> Connection:
    """Ask; returns when the head of the response is there."""
    return _request(url, "POST", wire.path, json.dumps(body).encode(), {"content-type": "application/json"})


def get(url: str, path: str, **headers: str) -> Connection:
    """GET a path."""
    return _request(url, "GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})


def _request(url: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Connection:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(method, path, body, headers)
    return Connection(connection, connection.getresponse())


def without_partial_frame(data: bytes) -> bytes:
    """What an SSE client has of a stream that was cut: its whole frames."""
    return data[: data.rfind(b"\n\n") + 2] if b"\n\n" in data else b""


def same_bytes(data: bytes) -> bytes:
    """A stream without what a replay may have more or fewer of: comments, and the fields of numbered frames."""
    kept = [frame for frame in data.split(b"\n\n") if not frame.startswith((b":", b"retry:"))]
    return b"\n\n".join(re.sub(rb"^id: \d+\n", b"", frame) for frame in kept)


def events(data: bytes) -> Iterator[tuple[str, Any]]:
    """The id and the data of each whole frame that has data."""
    for frame in without_partial_frame(data).decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":") and ": " in line)
        if text := lines.get("data"):
            yield lines.get("id", ""), text if text == "[DONE]" else json.loads(text)


@dataclass
class _Shown:
    """Parts by their keys, in the order in which they began."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    end: list[Any] = field(default_factory=list)

    def begin(self, key: str, **part: Any) -> dict[str, Any]:
        if key in self.parts:
            raise AssertionError(f"{key} comes twice")
        self.parts[key] = part
        return part

    def ended(self, *end: Any) -> None:
        if self.end:
            raise AssertionError(f"{end} follows {self.end}")
        self.end = [*end]

    def result(self) -> Any:
        parts = [*self.parts.values()]
        return json.loads(REQUEST_ID.sub("", json.dumps([parts, self.end])))  # which also joins halves of an emoji


def _native_body(conversation: str, question: str, *, kept: bool = False, own_tool: bool = False) -> dict[str, Any]:
    return {"conversation_id": conversation, "store": kept, "messages": [{"role": "user", "content": question}]}


def _show_native(frames: Iterable[Any]) -> Any:
    shown, open_part = _Shown(), ""
    for frame in frames:
        match frame["type"]:
            case "start":
                shown.begin("start", conversation=bool(frame["conversation_id"]))
            case "content" | "reasoning" as kind:
                if shown.parts.get(open_part, {}).get("type") != kind:
                    open_part = str(len(shown.parts))
                    shown.begin(open_part, type=kind, text="")
                shown.parts[open_part]["text"] += frame["delta"]
            case "tool_call":
                _show_native_call(shown, frame)
            case "done":
                shown.ended("done", frame["stop_reason"], frame["usage"], frame["turns"])
            case kind:
                shown.ended(kind, frame.get("code"), frame.get("message"), frame.get("reason"))
    return shown.result()


def _show_native_call(shown: _Shown, frame: dict[str, Any]) -> None:
    key, status = frame["id"], frame["status"]
    if status == "started":
        shown.begin(key, name=frame["name"], arguments=frame["arguments"], progress=[], status=[])
    call = shown.parts[key]
    call["status"].append(status)
    if status == "progress":
        call["progress"].append(frame["data"])
    elif status != "started":
        call.update(result=frame.get("result"), error=frame.get("error"))
    if call["status"].count(status) > 1 and status != "progress":
        raise AssertionError(f"{key} is {status} twice")


def _ai_sdk_body(conversation: str, question: str, *, kept: bool = False, own_tool: bool = False) -> dict[str, Any]:
    message = {"id": f"u-{conversation}", "role": "user", "parts": [{"type": "text", "text": question}]}
    tools = {"tools": {"page_map": {"parameters": OWN_TOOL}}} if own_tool else {}
    return {"id": conversation, "messages": [message], "store": kept, **tools}


def _show_ai_sdk(frames: Iterable[Any]) -> Any:  # noqa: C901, PLR0912 - one case for each kind of chunk
    shown, steps = _Shown(), 0
    for chunk in frames:
        if chunk == "[DONE]":
            shown.end.append("[DONE]")
            continue
        key = chunk.get("toolCallId") or chunk.get("id", "")
        match chunk["type"]:
            case "start":
                shown.begin("start", has_id=bool(chunk["messageId"]))
            case "start-step":
                steps += 1
                shown.begin(f"step {steps}", type="step-start")
            case "text-start" | "reasoning-start" as kind:
                shown.begin(key, type=kind.partition("-")[0], text="", state="streaming")
            case "text-delta" | "reasoning-delta":
                if shown.parts[key]["state"] != "streaming":
                    raise AssertionError(f"{key} is over")
                shown.parts[key]["text"] += chunk["delta"]
            case "text-end" | "reasoning-end":
                shown.parts[key].update(state="done", metadata=chunk.get("providerMetadata"))
            case "tool-input-start":
                shown.begin(key, name=chunk["toolName"], dynamic=chunk.get("dynamic"), text="")
            case "tool-input-delta":
                shown.parts[key]["text"] += chunk["inputTextDelta"]
            case "tool-input-available":
                shown.parts[key].update(input=chunk["input"], metadata=chunk.get("providerMetadata"))
            case "tool-output-available":
                outputs = shown.parts[key].setdefault("outputs", [])
                outputs.append([chunk["output"], chunk.get("preliminary")])
            case "tool-output-error":
                shown.parts[key]["error"] = chunk["errorText"]
            case "finish-step":
                shown.parts[f"step {steps}"]["over"] = True
            case "message-metadata":
                shown.parts["start"]["metadata"] = chunk["messageMetadata"]
            case "finish" | "error" | "abort" as kind:
                shown.ended(kind, {name: value for name, value in chunk.items() if name != "type"})
            case other:
                raise AssertionError(f"there is no {other}")
    return shown.result()


def _ag_ui_body(conversation: str, question: str, *, kept: bool = False, own_tool: bool = False) -> dict[str, Any]:
    message = {"id": f"u-{conversation}", "role": "user", "content": question}
    tools = [{"name": "page_map", "description": "A map", "parameters": OWN_TOOL}] if own_tool else []
    rest: dict[str, Any] = {"state": {}, "context": [], "forwardedProps": {}, "protocolVersion": "1.0"}
    return {"threadId": conversation, "runId": f"r-{conversation}", "messages": [message], "tools": tools, **rest}


def _show_ag_ui(frames: Iterable[Any]) -> Any:  # noqa: C901, PLR0912 - one case for each kind of event
    shown, steps = _Shown(), 0
    for event in frames:
        key = event.get("toolCallId") or event.get("messageId", "")
        match event["type"]:
            case "RUN_STARTED":
                shown.begin("run", thread=bool(event["threadId"]))
            case "STEP_STARTED":
                steps += 1
                shown.begin(f"step {steps}", name=event["stepName"])
            case "STEP_FINISHED":
                shown.parts[f"step {steps}"]["over"] = True
            case "TEXT_MESSAGE_START":  # may go on: one message for all text of a turn
                if shown.parts.setdefault(key, {"role": "assistant", "text": "", "open": False})["open"]:
                    raise AssertionError(f"{key} is open")
                shown.parts[key]["open"] = True
            case "REASONING_START":
                shown.begin(key, role="reasoning", text="", open=True)
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                if not shown.parts[key]["open"]:
                    raise AssertionError(f"{key} is not open")
                shown.parts[key]["text"] += event["delta"]
            case "TEXT_MESSAGE_END" | "REASONING_END":
                shown.parts[key]["open"] = False
            case "REASONING_ENCRYPTED_VALUE":
                shown.parts.get(event["entityId"], shown.parts["run"])["encrypted"] = event["encryptedValue"]
            case "TOOL_CALL_START":
                shown.begin(key, name=event["toolCallName"], text="", progress=[])
            case "TOOL_CALL_ARGS":
                shown.parts[key]["text"] += event["delta"]
            case "TOOL_CALL_END":
                shown.parts[key]["over"] = True
            case "CUSTOM":
                shown.parts[event["value"]["toolCallId"]]["progress"].append(event["value"]["data"])
            case "TOOL_CALL_RESULT":
                if "content" in shown.parts[key]:
                    raise AssertionError(f"{key} has two results")
                shown.parts[key]["content"] = event["content"]
            case "RUN_FINISHED" | "RUN_ERROR" as kind:
                end = {name: value for name, value in event.items() if name not in {"type", "runId", "threadId"}}
                shown.ended(kind, end)
            case "REASONING_MESSAGE_START" | "REASONING_MESSAGE_END":
                pass
            case "MESSAGES_SNAPSHOT":
                pass
            case other:
                raise AssertionError(f"there is no {other}")
    return shown.result()


def ag_ui_messages(frames: Iterable[Any]) -> list[dict[str, Any]]:
    """The messages after the user's last one, as an AG-UI client has them: from a snapshot, from events, or from both.

    Results are by their calls: one that came first stands first in a client's list, but not where the list is loaded.
    """
    messages, calls = dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()
    for event in frames:
        key = event.get("messageId", "")
        match event["type"]:
            case "MESSAGES_SNAPSHOT":
                messages = {message["id"]: _without_ids(message) for message in _latest(event["messages"])}
            case "TEXT_MESSAGE_START":
                messages.setdefault(key, {"role": "assistant"}).setdefault("content", "")
            case "REASONING_MESSAGE_START":
                messages[key] = {"role": "reasoning", "content": ""}
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                messages[key]["content"] += event["delta"]
            case "REASONING_ENCRYPTED_VALUE":
                messages[event["entityId"]]["encryptedValue"] = event["encryptedValue"]
            case "TOOL_CALL_START":
                calls[event["toolCallId"]] = function = {"name": event["toolCallName"], "arguments": ""}
                parent = messages.setdefault(event["parentMessageId"], {"role": "assistant"})
                parent.setdefault("toolCalls", []).append({"id": event["toolCallId"], "function": function})
            case "TOOL_CALL_ARGS":
                calls[event["toolCallId"]]["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                messages[key] = {"role": "tool", "toolCallId": event["toolCallId"], "content": event["content"]}
    joined: list[dict[str, Any]] = json.loads(json.dumps([*messages.values()]))  # halves of an emoji too
    groups = groupby(joined, key=lambda message: message["role"])
    return [one for _, group in groups for one in sorted(group, key=lambda message: message.get("toolCallId", ""))]


def _latest(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    at = max(number for number, message in enumerate(messages) if message["role"] == "user")
    return messages[at + 1 :]


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    names = "role", "content", "toolCallId", "encryptedValue", "toolCalls"
    kept = {name: message[name] for name in names if message.get(name) is not None}
    if "toolCalls" in kept:
        kept["toolCalls"] = [{"id": call["id"], "function": call["function"]} for call in kept["toolCalls"]]
    return kept


def _openai_body(conversation: str, question: str, *, kept: bool = False, own_tool: bool = False) -> dict[str, Any]:
    function = {"name": "page_map", "parameters": OWN_TOOL}
    tools = {"tools": [{"type": "function", "function": function}]} if own_tool else {}
    message = {"role": "user", "content": question}
    rest = {"stream": True, "metadata": {"conversation_id": conversation}, **tools}
    return {"model": "any", "messages": [message], **rest}


def _show_openai(frames: Iterable[Any]) -> Any:
    shown = _Shown()
    for chunk in frames:
        if chunk == "[DONE]":
            shown.end.append("[DONE]")
            continue
        if "error" in chunk:
            shown.ended("error", {**chunk["error"], "request_id": ""})
            continue
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                if text := delta.get(name):
                    part = shown.parts.setdefault(name, {"text": ""})
                    part["text"] += text
            for call in delta.get("tool_calls", ()):
                key = str(call["index"])
                if "id" in call:
                    shown.begin(key, id=call["id"], name=call["function"]["name"], text="")
                shown.parts[key]["text"] += call["function"]["arguments"]
            if choice["finish_reason"]:
                shown.ended(choice["finish_reason"])
    return shown.result()


NATIVE = Wire("/chat", _native_body, _show_native, can_keep=True, has_own_tools=False)
FORMATS = (
    NATIVE,
    Wire("/api/chat", _ai_sdk_body, _show_ai_sdk, can_keep=True),
    Wire("/agui", _ag_ui_body, _show_ag_ui),
    Wire("/v1/chat/completions", _openai_body, _show_openai),
)
RESUMABLE = FORMATS[:3]
"""OpenAI's chat completions cannot be resumed: who had one reads on in another format."""
