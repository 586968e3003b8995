"""Reads a streamed answer as the clients of each format do, into what they send back with the next request."""

import itertools
from collections.abc import Iterator
from typing import Any

import orjson

__all__ = ["ag_ui", "ai_sdk", "openai"]


def _frames(stream: str) -> Iterator[dict[str, Any]]:
    for line in stream.split("\n"):
        if line.startswith("data: {"):
            yield orjson.loads(line.removeprefix("data: "))


def ai_sdk(stream: str) -> list[dict[str, Any]]:  # noqa: C901 - one case for each type
    """The assistant's UI message, as `useChat` builds it."""
    parts: list[dict[str, Any]] = []
    open_parts: dict[str, dict[str, Any]] = {}
    metadata: dict[str, Any] = {}
    message_id = ""
    for frame in _frames(stream):
        match frame["type"].split("-"):
            case ["start"]:
                message_id = frame["messageId"]
            case ["start", "step"]:
                parts.append({"type": "step-start"})
            case [("text" | "reasoning") as kind, "start"]:
                open_parts[frame["id"]] = {"type": kind, "text": "", "state": "streaming"}
                parts.append(open_parts[frame["id"]])
            case [("text" | "reasoning"), "delta"]:
                open_parts[frame["id"]]["text"] += frame["delta"]
            case [("text" | "reasoning"), "end"]:
                fields = {"providerMetadata": frame["providerMetadata"]} if "providerMetadata" in frame else {}
                open_parts.pop(frame["id"]).update(state="done", **fields)
            case ["tool", "input", "available"]:
                call = {"type": "dynamic-tool", "state": "input-available", "toolName": frame["toolName"]}
                fields = {"callProviderMetadata": frame["providerMetadata"]} if "providerMetadata" in frame else {}
                call |= {"toolCallId": frame["toolCallId"], "input": frame["input"], **fields}
                open_parts[frame["toolCallId"]] = call
                parts.append(call)
            case ["tool", "output", "available"]:
                open_parts[frame["toolCallId"]].update(state="output-available", output=frame["output"])
            case ["message", "metadata"]:
                _merge(metadata, frame["messageMetadata"])
            case ["finish"]:
                _merge(metadata, frame["messageMetadata"])
    return [{"id": message_id, "role": "assistant", "metadata": metadata, "parts": parts}]


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def ag_ui(stream: str) -> list[dict[str, Any]]:
    """The messages of a run, in the order in which `@ag-ui/client` has them."""
    messages: dict[str, dict[str, Any]] = {}
    calls: dict[str, dict[str, Any]] = {}
    for frame in _frames(stream):
        match frame["type"]:
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                fields = {"id": frame["messageId"], "role": frame["role"], "content": ""}
                messages.setdefault(frame["messageId"], {**fields})
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                message = messages[frame["messageId"]]
                message["content"] = message.get("content", "") + frame["delta"]
            case "TOOL_CALL_START":
                parent = {"id": frame["parentMessageId"], "role": "assistant"}
                parent = messages.setdefault(frame["parentMessageId"], parent)
                function = {"name": frame["toolCallName"], "arguments": ""}
                calls[frame["toolCallId"]] = {"id": frame["toolCallId"], "type": "function", "function": function}
                parent.setdefault("toolCalls", []).append(calls[frame["toolCallId"]])
            case "TOOL_CALL_ARGS":
                calls[frame["toolCallId"]]["function"]["arguments"] += frame["delta"]
            case "TOOL_CALL_RESULT":
                fields = {name: frame[name] for name in ("toolCallId", "content", "role", "metadata")}
                messages[frame["messageId"]] = {"id": frame["messageId"], **fields}
            case "REASONING_ENCRYPTED_VALUE":
                known = calls if frame["subtype"] == "tool-call" else messages
                known[frame["entityId"]]["encryptedValue"] = frame["encryptedValue"]
    return [*messages.values()]


def openai(stream: str) -> list[dict[str, Any]]:
    """The message that the SDK's accumulator makes of the chunks. It refuses to join lists without an index."""
    message: dict[str, Any] = {}
    for frame in _frames(stream):
        for choice in frame["choices"]:
            _accumulate(message, choice["delta"])
    return [message]


def _accumulate(into: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        known = into.get(name)
        if known is None or name in {"index", "type"}:
            into[name] = value
        elif isinstance(value, str):
            into[name] = known + value
        elif isinstance(value, dict):
            _accumulate(known, value)
        elif isinstance(value, list):
            for entry in value:
                at = entry["index"]
                known.extend({} for _ in itertools.repeat(None, at + 1 - len(known)))
                _accumulate(known[at], entry)
        else:
            into[name] = value
