"""Writes a history as the clients of each format store and send it: the inverse of what the formats decode."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.formats.ag_ui.history import EncryptedValue, encode_encrypted_value

__all__ = ["WRITERS", "ag_ui", "ai_sdk", "native", "openai"]


def native(messages: tuple[Message, ...]) -> dict[str, Any]:
    """A history as a client of this format sends it."""
    return {"messages": [_native_message(message) for message in messages]}


def _native_message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(parts, id_) | AssistantMessage(parts, id_):
            role = "user" if isinstance(message, UserMessage) else "assistant"
            return {
                "role": role,
                "id": id_,
                "content": orjson.loads(orjson.dumps([_native_part(part) for part in parts])),
            }
        case ToolMessage():
            return dict(msgspec.to_builtins(message))


def _native_part(part: object) -> Any:
    return msgspec.to_builtins(part)


def ai_sdk(messages: tuple[Message, ...]) -> dict[str, Any]:
    """A history as the SDK stores it: each turn is a message with one step."""
    results = {message.tool_call_id: message for message in messages if isinstance(message, ToolMessage)}
    body: list[dict[str, Any]] = []
    for message in messages:
        match message:
            case SystemMessage(text):
                body.append({"id": "s", "role": "system", "parts": [{"type": "text", "text": text}]})
            case UserMessage(parts, id_):
                body.append({"id": id_, "role": "user", "parts": [_ui_part(part, results) for part in parts]})
            case AssistantMessage(parts, id_):
                steps = [{"type": "step-start"}, *[_ui_part(part, results) for part in parts]]
                body.append({"id": id_, "role": "assistant", "parts": steps})
    return {"id": "chat", "trigger": "submit-message", "messages": body}


def _ui_part(part: object, results: dict[str, ToolMessage]) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text, "state": "done"}
        case Image(media_type, data, url) | Document(media_type, _, data, url):
            name = {"filename": part.name} if isinstance(part, Document) else {}
            source = url or f"data:{media_type};base64,{data}"
            return {"type": "file", "mediaType": media_type, "url": source, **name}
        case Reasoning(text, signature):
            metadata = {"providerMetadata": {"winterbourne": {"signature": signature}}} if signature else {}
            return {"type": "reasoning", "text": text, "state": "done", **metadata}
        case ToolCall(id_, name, arguments):
            head = {"type": "dynamic-tool", "toolName": name, "toolCallId": id_, "input": orjson.loads(arguments)}
            result = results.get(id_)
            if result is None:
                return {**head, "state": "input-available"}
            if result.is_error:
                return {**head, "state": "output-error", "errorText": result.content}
            return {**head, "state": "output-available", "output": orjson.loads(result.content)}
    raise AssertionError(part)


def ag_ui(messages: tuple[Message, ...]) -> dict[str, Any]:
    """A history as the client stores it."""
    body: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        match message:
            case SystemMessage(text):
                body.append({"id": "s", "role": "system", "content": text})
            case UserMessage(parts, id_):
                body.append({"id": id_, "role": "user", "content": [_ag_ui_part(part) for part in parts]})
            case AssistantMessage():
                body.extend(_ag_ui_assistant(message, number))
            case ToolMessage(id_, _, content, is_error):
                status = "failed" if is_error else "completed"
                body.append(
                    {
                        "id": f"result-{id_}",
                        "role": "tool",
                        "toolCallId": id_,
                        "content": orjson.dumps({"error": content}).decode() if is_error else content,
                        "metadata": {"winterbourne": {"status": status, "durationMs": 1}},
                    }
                )
    return {"threadId": "t1", "runId": "r1", "state": None, "messages": body, "tools": [], "context": []}


def _ag_ui_assistant(message: AssistantMessage, number: int) -> list[dict[str, Any]]:
    reasoning_parts = [part for part in message.parts if isinstance(part, Reasoning)]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return [
        *[
            {
                "id": f"thought-{number}",
                "role": "reasoning",
                "content": reasoning.text,
                **(
                    {"encryptedValue": encode_encrypted_value(EncryptedValue(reasoning.signature))}
                    if reasoning.signature
                    else {}
                ),
            }
            for reasoning in reasoning_parts
        ],
        {"id": message.id, "role": "assistant", "content": message.text, "toolCalls": calls},
    ]


def _ag_ui_part(part: object) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data) if data:
            return {"type": "image", "source": {"type": "data", "value": data, "mimeType": media_type}}
        case Image(url=url):
            return {"type": "image", "source": {"type": "url", "value": url}}
        case Document(media_type, name, data, url):
            source = {"type": "data", "value": data} if data else {"type": "url", "value": url}
            return {"type": "document", "source": source | {"mimeType": media_type}, "metadata": {"filename": name}}
    raise AssertionError(part)


def openai(messages: tuple[Message, ...]) -> dict[str, Any]:
    """A history as the SDKs send it."""
    return {"model": "scripted", "messages": [_openai_message(message) for message in messages]}


def _openai_message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(parts):
            return {"role": "user", "content": [_openai_part(part) for part in parts]}
        case AssistantMessage():
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
            return {"role": "assistant", "content": message.text, **({"tool_calls": calls} if calls else {})}
        case ToolMessage(id_, _, content):
            return {"role": "tool", "tool_call_id": id_, "content": content}


def _openai_part(part: object) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data, url):
            return {"type": "image_url", "image_url": {"url": url or f"data:{media_type};base64,{data}"}}
        case Document(media_type, name, data, url):
            file = {"file_data": url or f"data:{media_type};base64,{data}"}
            return {"type": "file", "file": {**file, "filename": name}}
    raise AssertionError(part)


WRITERS: Mapping[str, Callable[[tuple[Message, ...]], dict[str, Any]]] = {
    "/chat": native,
    "/api/chat": ai_sdk,
    "/agui": ag_ui,
    "/v1/chat/completions": openai,
}
"""By path."""
