"""A request to a provider as its fake reads it: one view of Messages, Converse, Chat Completions and Responses."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "Document", "Given", "Image", "Request", "Result", "Tool", "Turn", "read_request"]


@dataclass(frozen=True)
class Call:
    """A tool call in the history. `arguments` is an object, or what could not be read as one."""

    id: str
    name: str
    arguments: Any
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A tool's result in the history; `text` is None if it has no content at all."""

    id: str
    text: str | None
    is_error: bool = False


@dataclass(frozen=True)
class Image:
    """An image in the history: base64 data, or a URL."""

    media_type: str
    data: str = ""
    url: str = ""


@dataclass(frozen=True)
class Document:
    """A document in the history: base64 data, text, or a URL; `kind` is its media type, or its format at Bedrock."""

    kind: str
    name: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    cites: bool = False


@dataclass
class Turn:
    """One message. `kinds` are the kinds of its blocks in order; `thinking` has those of reasoning, as they came."""

    role: str
    raw: Mapping[str, Any]
    texts: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    thinking: list[Any] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tool:
    """A tool on offer."""

    name: str
    description: str | None
    schema: Any


@dataclass
class Given:
    """What the fake has given out in its answers and demands back."""

    thinking: list[Any] = field(default_factory=list)
    """Blocks of thinking, as sent."""
    details: dict[str, Any] = field(default_factory=dict)
    """What belongs to a call, by the call's id: a thought signature, reasoning details."""
    ids: set[str] = field(default_factory=set)
    """The ids of all calls."""


@dataclass
class Request:
    """A request, and what the provider knows of earlier ones."""

    family: str
    body: Mapping[str, Any]
    turns: list[Turn]
    tools: list[Tool]
    system: list[str]
    choice: str
    """auto, none, required, the name of a tool, or empty if none was sent."""
    thinks: bool
    given: Given
    window: int = 0
    """How many tokens the model takes; 0 for as many as there are."""

    @property
    def tokens(self) -> int:
        """What a tokenizer makes of all that is said and called since the last summary, and of the tools, roughly."""
        summaries = [at for at, turn in enumerate(self.turns) if "compaction" in turn.kinds]
        turns = self.turns[summaries[-1] if summaries else 0 :]
        said = [text for turn in turns for text in turn.texts]
        said += [str(call.arguments) for turn in turns for call in turn.calls]
        said += [result.text or "" for turn in turns for result in turn.results]
        thought = [json.dumps(block) for turn in turns for block in turn.thinking]
        tools = [f"{tool.name} {tool.description} {json.dumps(tool.schema)}" for tool in self.tools]
        words = re.findall(r"\w{1,5}|[^\w\s]", " ".join((*self.system, *said, *thought, *tools)))
        return len(words) + 4 * len(turns)

    @property
    def last_question(self) -> int:
        """The index of the user's last message that is no result; -1 if there is none."""
        asked = [
            at
            for at, turn in enumerate(self.turns)
            if turn.role == "user" and (turn.texts or turn.images or turn.documents)
        ]
        return asked[-1] if asked else -1

    def results_after(self, at: int) -> list[Result]:
        """The results directly after the turn: of the next message, or of the tool messages that follow."""
        results: list[Result] = []
        for turn in self.turns[at + 1 :]:
            results += turn.results
            if turn.role != "tool":
                break
        return results


def read_request(
    family: str, dialect: str, body: Mapping[str, Any], given: Given, *, thinks: bool, window: int = 0
) -> Request:
    """Read a body. A shape that cannot be read at all is an error of the test, not a refusal."""
    if dialect == "responses":
        turns = _response_turns(body.get("input") or ())
    else:
        turns = [READERS[dialect](message) for message in body.get("messages") or ()]
    return Request(
        family=family,
        body=body,
        turns=[turn for turn in turns if turn.role not in {"system", "developer"}],
        tools=[_tool(dialect, tool) for tool in _tools(dialect, body)],
        system=_system(dialect, body, turns),
        choice=_choice(dialect, body),
        thinks=thinks,
        given=given,
        window=window,
    )


def _anthropic_turn(message: Mapping[str, Any]) -> Turn:
    turn = Turn(message["role"], message)
    content: Any = message["content"]
    blocks: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        turn.kinds.append(block["type"])
        match block["type"]:
            case "text":
                turn.texts.append(block["text"])
            case "image":
                source = block["source"]
                image = Image(source.get("media_type", ""), source.get("data", ""), source.get("url", ""))
                turn.images.append(image)
            case "document":
                turn.documents.append(_anthropic_document(block))
            case "tool_use":
                turn.calls.append(Call(block["id"], block["name"], block["input"], block))
            case "tool_result":
                turn.results.append(_anthropic_result(block))
            case "thinking" | "redacted_thinking":
                turn.thinking.append({name: value for name, value in block.items() if name != "cache_control"})
    return turn


def _anthropic_document(block: Mapping[str, Any]) -> Document:
    source = block["source"]
    content = {{"base64": "data", "text": "text", "url": "url"}[source["type"]]: source.get("data", source.get("url"))}
    kind = source.get("media_type", "application/pdf")
    cites = bool((block.get("citations") or {}).get("enabled"))
    return Document(kind, block.get("title", "-"), cites=cites, **content)


def _anthropic_result(block: Mapping[str, Any]) -> Result:
    content: Any = block.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content) if content else None
    return Result(block["tool_use_id"], content, bool(block.get("is_error")))


def _bedrock_turn(message: Mapping[str, Any]) -> Turn:
    turn = Turn(message["role"], message)
    for block in message["content"]:
        (kind, value), *_ = block.items()
        turn.kinds.append(kind)
        match kind:
            case "text":
                turn.texts.append(value)
            case "image":
                turn.images.append(Image(f"image/{value['format']}", value["source"]["bytes"]))
            case "document":
                cites = bool((value.get("citations") or {}).get("enabled"))
                document = Document(value["format"], value["name"], value["source"]["bytes"], cites=cites)
                turn.documents.append(document)
            case "toolUse":
                turn.calls.append(Call(value["toolUseId"], value["name"], value["input"], value))
            case "toolResult":
                parts = [part.get("text", json.dumps(part.get("json"))) for part in value["content"]]
                text = "".join(parts) if parts else None
                turn.results.append(Result(value["toolUseId"], text, value.get("status") == "error"))
            case "reasoningContent":
                turn.thinking.append(value)
    return turn


def _chat_turn(message: Mapping[str, Any]) -> Turn:
    turn = Turn(message["role"], message)
    content: Any = message.get("content")
    if turn.role == "tool":
        turn.results.append(Result(message["tool_call_id"], _chat_text(content)))
        return turn
    parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    for part in parts:
        turn.kinds.append(part["type"])
        if part["type"] == "text":
            turn.texts.append(part["text"])
        elif part["type"] == "image_url":
            turn.images.append(_chat_image(part["image_url"]["url"]))
        elif part["type"] == "file":
            image = _chat_image(part["file"]["file_data"])
            turn.documents.append(Document(image.media_type, part["file"].get("filename", ""), image.data))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        turn.calls.append(Call(call["id"], function["name"], _json(function["arguments"]), call))
    turn.thinking += message.get("thinking_blocks") or ()
    return turn


def _chat_text(content: Any) -> str | None:
    return "".join(part["text"] for part in content) if isinstance(content, list) else content


def _chat_image(url: str) -> Image:
    if not url.startswith("data:"):
        return Image("", url=url)
    head, _, data = url.partition(",")
    return Image(head.removeprefix("data:").removesuffix(";base64"), data)


def _response_turns(items: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The turns that the items of Responses make up: adjacent ones of the model are one."""
    turns: list[Turn] = []
    for item in items:
        kind = item.get("type", "message")
        role = "tool" if kind == "function_call_output" else item.get("role", "assistant")
        if role != "assistant" or not turns or turns[-1].role != "assistant":
            turns.append(Turn(role, item))
        _read_item(turns[-1], kind, item)
    return turns


def _read_item(turn: Turn, kind: str, item: Mapping[str, Any]) -> None:
    turn.kinds.append(kind)
    match kind:
        case "function_call":
            turn.calls.append(Call(item["call_id"], item["name"], _json(item["arguments"]), item))
        case "function_call_output":
            turn.results.append(Result(item["call_id"], item.get("output")))
        case "reasoning":
            turn.thinking.append(item.get("encrypted_content"))
        case "message":
            content: Any = item["content"]
            for part in [{"text": content}] if isinstance(content, str) else content:
                if "image_url" in part:
                    turn.images.append(_chat_image(part["image_url"]))
                elif part.get("type") == "input_file":
                    file = _chat_image(part.get("file_data") or part["file_url"])
                    name = part.get("filename", "") if file.data else "-"
                    turn.documents.append(Document(file.media_type, name, file.data, url=file.url))
                else:
                    turn.texts.append(part.get("text", ""))


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


SCHEMA_FIELDS: Mapping[str, str] = {
    "anthropic": "input_schema",
    "chat": "parameters",
    "responses": "parameters",
}
READERS: Mapping[str, Any] = {"anthropic": _anthropic_turn, "bedrock": _bedrock_turn, "chat": _chat_turn}


def _tools(dialect: str, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if dialect == "bedrock":
        # What is no tool is a cache point.
        tools = (body.get("toolConfig") or {}).get("tools", ())
        return [tool["toolSpec"] for tool in tools if "toolSpec" in tool]
    tools = body.get("tools") or ()
    return [tool["function"] for tool in tools] if dialect == "chat" else tools


def _tool(dialect: str, tool: Mapping[str, Any]) -> Tool:
    schema = tool["inputSchema"].get("json") if dialect == "bedrock" else tool.get(SCHEMA_FIELDS[dialect])
    return Tool(tool.get("name", ""), tool.get("description"), schema)


def _system(dialect: str, body: Mapping[str, Any], turns: Sequence[Turn]) -> list[str]:
    if dialect == "responses":
        return [body["instructions"]] if "instructions" in body else []
    if dialect == "chat":
        return [text for turn in turns if turn.role in {"system", "developer"} for text in turn.texts or [""]]
    system: Any = body.get("system") or ()
    blocks: Any = [{"text": system}] if isinstance(system, str) else system
    return [block["text"] for block in blocks if "text" in block]


def _choice(dialect: str, body: Mapping[str, Any]) -> str:
    if dialect == "anthropic":
        choice = body.get("tool_choice") or {}
        kind = str(choice.get("type", ""))
        return {"any": "required", "tool": str(choice.get("name"))}.get(kind, kind)
    if dialect == "bedrock":
        choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
        kind = next(iter(choice), "")
        return {"any": "required", "tool": str(choice.get("tool", {}).get("name"))}.get(kind, kind)
    choice = body.get("tool_choice") or ""
    return str((choice.get("function") or choice)["name"]) if isinstance(choice, Mapping) else str(choice)
