"""The clients of the wire formats, as far as a conversation goes: each sends its history back in its own way.

`Talk` is one conversation of a client with a chat whose model provider is a strict fake.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import msgspec

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.contract.providers.fake import Answer, StrictProvider
from winterbourne.chat.app import build
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.override import override

__all__ = ["CLIENTS", "AgUiClient", "AiSdkClient", "Client", "Reply", "Talk"]

MEASURE = {"type": "object", "properties": {"what": {"type": "string"}}}
"""The parameters of `measure`, a tool that the client runs."""


File: TypeAlias = tuple[str, str, str]
"""A document's name, media type and base64."""


@dataclass
class Reply:
    """One answer: its status and text, its calls of the client's own tools, and whether it ended well."""

    status: int
    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    is_whole: bool = False
    error: str = ""


class Client:
    """The base: a history that is sent whole with every question.

    Attributes:
        path: The endpoint.
        history: The messages in the client's own form.
    """

    path = ""
    runs_tools = True
    options: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.history: list[Any] = []
        self._ids = 0

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"

    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        raise NotImplementedError

    def wants(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The options that ask for an answer by a schema."""
        return {"schema": schema}

    def user(self, text: str, *images: str) -> None:
        """Add a message of the user; images are base64 of a PNG."""
        raise NotImplementedError

    def attach(self, text: str, *files: File) -> None:
        """Add a message of the user with documents."""
        raise NotImplementedError

    def system(self, text: str) -> None:
        self.history.append({"role": "system", "content": text})

    def assistant(self, text: str, *calls: tuple[str, str, str]) -> None:
        """Add an answer of another time or another provider: its text, and (id, name, arguments) of its calls."""
        raise NotImplementedError

    def result(self, call_id: str, content: str) -> None:
        """Add a result of a call."""
        raise NotImplementedError

    def read(self, response: RecordedResponse) -> Reply:
        """Read an answer and add it to the history."""
        raise NotImplementedError


class NativeClient(Client):
    """The chat page: keeps the text of answers."""

    path = "/chat"
    runs_tools = False

    @override
    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        return {"messages": self.history, **options}

    @override
    def user(self, text: str, *images: str) -> None:
        parts = [{"type": "text", "text": text}] if text else []
        pictures = [{"type": "image", "media_type": "image/png", "data": image} for image in images]
        self.history.append({"role": "user", "content": [*parts, *pictures] if images else text})

    @override
    def attach(self, text: str, *files: File) -> None:
        parts = [{"type": "text", "text": text}] if text else []
        documents = [{"type": "document", "name": n, "media_type": kind, "data": data} for n, kind, data in files]
        self.history.append({"role": "user", "content": [*documents, *parts]})

    @override
    def assistant(self, text: str, *calls: tuple[str, str, str]) -> None:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        parts += [{"type": "tool_call", "id": i, "name": name, "arguments": args} for i, name, args in calls]
        self.history.append({"role": "assistant", "content": parts})

    @override
    def result(self, call_id: str, content: str) -> None:
        self.history.append({"role": "tool", "tool_call_id": call_id, "name": "", "content": content})

    @override
    def read(self, response: RecordedResponse) -> Reply:
        frames = response.frames
        turns = [""]
        for frame in frames:
            if frame["type"] in {"turn", "retract"}:
                turns = [*turns[: -1 if frame["type"] == "retract" else None], ""]
            turns[-1] += frame["delta"] if frame["type"] == "content" else ""
        text, last = "".join(turns), frames[-1]
        if text:
            self.history.append({"role": "assistant", "content": text})
        return Reply(200, text, is_whole=last["type"] == "done", error=last.get("message", ""))


class StoredClient(NativeClient):
    """A native client of a stored conversation: sends what is new."""

    @override
    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        new, self.history = self.history, []
        return {"messages": new, "conversation_id": "c-1", "store": True, **options}

    @override
    def read(self, response: RecordedResponse) -> Reply:
        reply = super().read(response)
        self.history = []
        return reply


class AiSdkClient(Client):
    """useChat of the AI SDK: one UI message for an answer, with a part for each step, text and call."""

    path = "/api/chat"

    @override
    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        offered = {name: {"parameters": schema} for name, schema in tools}
        fields: dict[str, Any] = {"tools": offered} if offered else {}
        options.pop("tool_choice", None)
        if "max_tokens" in options:
            options["maxTokens"] = options.pop("max_tokens")
        return {"id": "c-1", "trigger": "submit-message", "messages": self.history, **fields, **options}

    @override
    def system(self, text: str) -> None:
        self._add("system", [{"type": "text", "text": text}])

    @override
    def user(self, text: str, *images: str) -> None:
        files = [{"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{i}"} for i in images]
        self._add("user", [*files, {"type": "text", "text": text}])

    @override
    def attach(self, text: str, *files: File) -> None:
        urls = [(name, kind, f"data:{kind};base64,{data}") for name, kind, data in files]
        parts = [{"type": "file", "mediaType": kind, "filename": name, "url": url} for name, kind, url in urls]
        self._add("user", [*parts, {"type": "text", "text": text}])

    @override
    def assistant(self, text: str, *calls: tuple[str, str, str]) -> None:
        parts: list[dict[str, Any]] = [{"type": "step-start"}]
        if text:
            parts.append({"type": "text", "text": text, "state": "done"})
        for call_id, name, arguments in calls:
            head = {"type": "dynamic-tool", "toolName": name, "toolCallId": call_id, "state": "input-available"}
            parts.append({**head, "input": _json(arguments)})
        self._add("assistant", parts)

    @override
    def result(self, call_id: str, content: str) -> None:
        """A call holds its result, so a second one takes the place of the first, and none comes without its call."""
        for part in self._parts():
            if part.get("toolCallId") == call_id:
                part.update(state="output-available", output=content)

    @override
    def read(self, response: RecordedResponse) -> Reply:
        reply = Reply(200)
        chunks = response.frames
        message_id = next((chunk["messageId"] for chunk in chunks if chunk["type"] == "start"), "")
        if not (self.history and self.history[-1]["role"] == "assistant" and self.history[-1]["id"] == message_id):
            self.history.append({"id": message_id, "role": "assistant", "parts": []})
        parts = self.history[-1]["parts"]
        open_parts: dict[str, dict[str, Any]] = {}
        for chunk in chunks:
            self._read_chunk(chunk, parts, open_parts, reply)
        reply.text = "".join(part["text"] for part in parts if part["type"] == "text")
        if not parts:
            self.history.pop()
        return reply

    def _read_chunk(  # noqa: C901, PLR0912 - one case for each chunk
        self, chunk: Any, parts: list[Any], open_parts: dict[str, Any], reply: Reply
    ) -> None:
        match chunk["type"].split("-"):
            case ["start", "step"]:
                parts.append({"type": "step-start"})
            case ["reset", "step"]:
                del parts[max(at for at, part in enumerate(parts) if part["type"] == "step-start") + 1 :]
            case ["text" | "reasoning" as kind, "start"]:
                open_parts[chunk["id"]] = part = {"type": kind, "text": "", "state": "streaming"}
                parts.append(part)
            case ["text" | "reasoning", "delta"]:
                open_parts[chunk["id"]]["text"] += chunk["delta"]
            case ["text" | "reasoning", "end"]:
                open_parts[chunk["id"]]["state"] = "done"
            case ["tool", "input", "start"]:
                parts.append(_tool_part(chunk, "input-streaming"))
            case ["tool", "input", "available" | "error" as state]:
                part = _tool_part(chunk, "input-available" if state == "available" else "output-error")
                parts[:] = [each for each in parts if each.get("toolCallId") != chunk["toolCallId"]] + [part]
                if not chunk.get("dynamic"):
                    reply.calls.append((chunk["toolCallId"], chunk["toolName"]))
            case ["tool", "output", "available"] if not chunk.get("preliminary"):
                _part_of(parts, chunk).update(state="output-available", output=chunk["output"])
            case ["tool", "output", "error"]:
                _part_of(parts, chunk).update(state="output-error", errorText=chunk["errorText"])
            case ["finish"]:
                reply.is_whole = True
            case ["error"]:
                reply.error = chunk["errorText"]
        if chunk.get("providerMetadata") and chunk.get("id") in open_parts:
            open_parts[chunk["id"]]["providerMetadata"] = chunk["providerMetadata"]

    def _add(self, role: str, parts: list[dict[str, Any]]) -> None:
        self.history.append({"id": self.new_id(role), "role": role, "parts": parts})

    def _parts(self) -> list[Any]:
        return [part for message in self.history for part in message["parts"]]


def _tool_part(chunk: Any, state: str) -> dict[str, Any]:
    name = chunk["toolName"]
    kind = {"type": "dynamic-tool", "toolName": name} if chunk.get("dynamic") else {"type": f"tool-{name}"}
    part = {**kind, "toolCallId": chunk["toolCallId"], "state": state, "input": chunk.get("input")}
    metadata = chunk.get("providerMetadata")
    return {**part, "callProviderMetadata": metadata} if metadata else part


def _part_of(parts: Sequence[Any], chunk: Any) -> Any:
    return next(part for part in reversed(parts) if part.get("toolCallId") == chunk["toolCallId"])


class AgUiClient(Client):
    """HttpAgent of AG-UI: messages are made of the events; reasoning is a message of its own."""

    path = "/agui"

    @override
    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        offered = [{"name": name, "description": name, "parameters": schema} for name, schema in tools]
        ids = {"threadId": "t-1", "runId": self.new_id("run"), "protocolVersion": "1.0"}
        props = options.get("forwardedProps", {})
        self._asked = len(self.history)
        return {**ids, "messages": self.history, "tools": offered, "context": [], "state": {}, "forwardedProps": props}

    @override
    def wants(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"forwardedProps": {"schema": schema}}

    @override
    def system(self, text: str) -> None:
        self.history.append({"id": self.new_id("system"), "role": "system", "content": text})

    @override
    def user(self, text: str, *images: str) -> None:
        sources = [{"type": "data", "value": image, "mimeType": "image/png"} for image in images]
        parts = [{"type": "text", "text": text}, *({"type": "image", "source": source} for source in sources)]
        self.history.append({"id": self.new_id("user"), "role": "user", "content": parts if images else text})

    @override
    def attach(self, text: str, *files: File) -> None:
        sources = [(name, {"type": "data", "value": data, "mimeType": kind}) for name, kind, data in files]
        parts = [{"type": "document", "source": source, "metadata": {"filename": name}} for name, source in sources]
        content = [{"type": "text", "text": text}, *parts]
        self.history.append({"id": self.new_id("user"), "role": "user", "content": content})

    @override
    def assistant(self, text: str, *calls: tuple[str, str, str]) -> None:
        message: dict[str, Any] = {"id": self.new_id("answer"), "role": "assistant", "content": text}
        if calls:
            message["toolCalls"] = [_function_call(*call) for call in calls]
        self.history.append(message)

    @override
    def result(self, call_id: str, content: str) -> None:
        self.history.append({"id": self.new_id("result"), "role": "tool", "toolCallId": call_id, "content": content})

    @override
    def read(self, response: RecordedResponse) -> Reply:
        reply, messages, answered = Reply(200), dict[str, Any](), set[str]()
        for one in response.frames:
            self._read_event(one, messages, answered, reply)
        reply.calls = [call for call in reply.calls if call[0] not in answered]
        return reply

    def _read_event(  # noqa: C901 - one case for each event
        self, one: Any, messages: dict[str, Any], answered: set[str], reply: Reply
    ) -> None:
        match one["type"]:
            case "MESSAGES_SNAPSHOT":
                self.history[:] = one["messages"]
                messages.clear()
                said = [each for each in self.history[self._asked :] if each["role"] == "assistant"]
                reply.text = "".join(each.get("content") or "" for each in said)
            case "TEXT_MESSAGE_START":
                self._message(messages, one["messageId"], "assistant")
            case "TEXT_MESSAGE_CONTENT":
                messages[one["messageId"]]["content"] += one["delta"]
                reply.text += one["delta"]
            case "REASONING_MESSAGE_START":
                self._message(messages, one["messageId"], "reasoning")
            case "REASONING_MESSAGE_CONTENT":
                messages[one["messageId"]]["content"] += one["delta"]
            case "REASONING_ENCRYPTED_VALUE":
                target = messages.get(one["entityId"]) or _call_in(self.history, one["entityId"])
                target["encryptedValue"] = one["encryptedValue"]
            case "TOOL_CALL_START":
                message = self._message(messages, one["parentMessageId"], "assistant")
                call = _function_call(one["toolCallId"], one["toolCallName"], "")
                message.setdefault("toolCalls", []).append(call)
                reply.calls.append((one["toolCallId"], one["toolCallName"]))
            case "TOOL_CALL_ARGS":
                _call_in(self.history, one["toolCallId"])["function"]["arguments"] += one["delta"]
            case "TOOL_CALL_RESULT":
                fields = {"id": one["messageId"], "role": "tool", "metadata": one.get("metadata")}
                self.history.append({**fields, "toolCallId": one["toolCallId"], "content": one["content"]})
                answered.add(one["toolCallId"])
            case "RUN_FINISHED":
                reply.is_whole = True
            case "RUN_ERROR":
                reply.error = one["message"]

    def _message(self, messages: dict[str, Any], message_id: str, role: str) -> dict[str, Any]:
        if message_id not in messages:
            messages[message_id] = {"id": message_id, "role": role, "content": ""}
            self.history.append(messages[message_id])
        return cast("dict[str, Any]", messages[message_id])


def _call_in(history: Sequence[Any], call_id: str) -> Any:
    calls = (call for message in reversed(history) for call in message.get("toolCalls") or ())
    return next(call for call in calls if call["id"] == call_id)


def _function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class OpenAiClient(Client):
    """A client of /v1 that streams and keeps what the API documents: the text and the calls."""

    path = "/v1/chat/completions"
    streams = True

    @override
    def body(self, tools: Sequence[tuple[str, Any]], **options: Any) -> dict[str, Any]:
        functions = [{"name": name, "description": name, "parameters": schema} for name, schema in tools]
        offered = [{"type": "function", "function": function} for function in functions]
        fields: dict[str, Any] = {"tools": offered} if offered else {}
        return {"messages": self.history, "stream": self.streams, **fields, **options}

    @override
    def wants(self, schema: dict[str, Any]) -> dict[str, Any]:
        described = {"name": "depth", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": described}}

    @override
    def user(self, text: str, *images: str) -> None:
        urls = [{"url": f"data:image/png;base64,{image}"} for image in images]
        parts = [{"type": "text", "text": text}, *({"type": "image_url", "image_url": url} for url in urls)]
        self.history.append({"role": "user", "content": parts if images else text})

    @override
    def attach(self, text: str, *files: File) -> None:
        urls = [{"filename": name, "file_data": f"data:{kind};base64,{data}"} for name, kind, data in files]
        parts = [{"type": "text", "text": text}, *({"type": "file", "file": url} for url in urls)]
        self.history.append({"role": "user", "content": parts})

    @override
    def assistant(self, text: str, *calls: tuple[str, str, str]) -> None:
        fields: dict[str, Any] = {"tool_calls": [_function_call(*call) for call in calls]} if calls else {}
        self.history.append({"role": "assistant", "content": text, **fields})

    @override
    def result(self, call_id: str, content: str) -> None:
        self.history.append({"role": "tool", "tool_call_id": call_id, "content": content})

    @override
    def read(self, response: RecordedResponse) -> Reply:
        reply, calls = Reply(200), dict[int, Any]()
        for chunk in response.frames:
            if "error" in chunk:
                reply.error = chunk["error"]["message"]
                break
            for choice in chunk["choices"]:
                reply.text += choice["delta"].get("content") or ""
                _merge_calls(calls, choice["delta"].get("tool_calls") or ())
                reply.is_whole |= choice["finish_reason"] is not None
        self._keep(reply, {"role": "assistant", "content": reply.text or None}, list(calls.values()))
        return reply

    def _keep(self, reply: Reply, message: dict[str, Any], calls: list[Any]) -> None:
        reply.calls = [(call["id"], call["function"]["name"]) for call in calls]
        if calls:
            message["tool_calls"] = calls
        if reply.text or calls:
            self.history.append(message)


def _merge_calls(calls: dict[int, Any], fragments: Sequence[Any]) -> None:
    for fragment in fragments:
        call = calls.setdefault(fragment["index"], _function_call(fragment.get("id", ""), "", ""))
        function = fragment.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


class WholeOpenAiClient(OpenAiClient):
    """A client of /v1 that does not stream, and appends the message as it came, with all its fields."""

    streams = False

    @override
    def read(self, response: RecordedResponse) -> Reply:
        (choice,) = response.json["choices"]
        message = {name: value for name, value in choice["message"].items() if value is not None}
        reply = Reply(response.status, message.get("content") or "", is_whole=True)
        self._keep(reply, message, message.get("tool_calls", []))
        return reply


CLIENTS: Mapping[str, Callable[[], Client]] = {
    "native": NativeClient,
    "stored": StoredClient,
    "ai-sdk": AiSdkClient,
    "ag-ui": AgUiClient,
    "openai": OpenAiClient,
    "openai-whole": WholeOpenAiClient,
}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def count_ships(harbour: str) -> str:
    """Count the ships in a harbour."""
    return f"3 in {harbour}"


@tool
def say_nothing() -> str:
    """Return nothing."""
    return ""


ODD_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"$top": {"type": "integer"}, "page id": {"type": "string"}, "title": {"type": "string"}},
    "anyOf": [{"required": ["title"]}, {"required": ["$top"]}],
}


def odd_tool() -> Tool:
    """A tool as MCP servers list them: `anyOf` at the top, and names of properties that not every provider takes."""
    return msgspec.structs.replace(add, name="notion_query", parameters=ODD_SCHEMA)


@dataclass
class Talk:
    """A conversation: a client, the chat, and the model's strict provider."""

    client: Client
    provider: StrictProvider
    service: Service

    @classmethod
    def begin(cls, client: str, provider: StrictProvider, *tools: Tool, **settings: object) -> "Talk":
        """A new conversation; without tools the chat has the three above."""
        values = {"auth": "none", "title_model": "off", **provider.family.settings(provider.port), **settings}
        service = build(Settings.of(**values), tools or (add, count_ships, say_nothing), telemetry.make_logger())
        return cls(CLIENTS[client](), provider, service)

    def model(self, *answers: Answer) -> None:
        """Set what the model does next."""
        self.provider.script += answers

    async def ask(self, text: str = "", *images: str, tools: Sequence[tuple[str, Any]] = (), **options: Any) -> Reply:
        """Ask, and demand a whole answer. Without text, what is in the history is sent."""
        reply = await self.try_to_ask(text, *images, tools=tools, **options)
        assert reply.status == 200, reply.error
        assert reply.is_whole, reply.error
        return reply

    async def try_to_ask(
        self, text: str = "", *images: str, tools: Sequence[tuple[str, Any]] = (), **options: Any
    ) -> Reply:
        """Ask; the answer may end in any way."""
        if text or images:
            self.client.user(text, *images)
        response = RecordedResponse()
        body = self.client.body(tools, **options)
        context = FakeLambdaContext()
        await handle(self.service, event("POST", self.client.path, body), response, context)
        if response.status != 200:
            return Reply(response.status, error=response.body.decode())
        return self.client.read(response)
