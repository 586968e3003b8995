"""UI messages, as the AI SDK keeps and sends them, → our messages.

An assistant's UI message holds a whole answer: turns are cut at its `step-start` parts, and a tool part holds both
the call and its result. What shows something to people only (`source-*`, `data-*`) is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from winterbourne.chat.core.history import Id
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.json_text import written
from winterbourne.chat.formats.media import file

__all__ = ["Metadata", "UIMessage", "history"]

DENIED = "The user did not allow this call."


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """What we put on a reasoning part under our name and want back unchanged."""

    signature: str = ""
    redacted: str = ""

    def wrapped(self) -> dict[str, Any]:
        """As `providerMetadata`."""
        return {"winterbourne": msgspec.to_builtins(self)}


class _ProviderMetadata(msgspec.Struct, frozen=True):
    winterbourne: Metadata = Metadata()


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Any part of any type; a field a part does not have is empty."""

    type: Annotated[str, Meta(min_length=1)]
    text: str = ""
    state: str | None = None
    media_type: str = ""
    url: str = ""
    tool_name: Id = ""
    tool_call_id: Id = ""
    input: Any = None
    raw_input: Any = None
    output: Any = None
    error_text: str | None = None
    preliminary: bool | None = None
    provider_metadata: _ProviderMetadata | None = None

    @property
    def tool(self) -> str:
        """The tool's name, empty for a part that is no call."""
        if self.type == "dynamic-tool":
            return self.tool_name
        return self.type.removeprefix("tool-") if self.type.startswith("tool-") else ""


class UIMessage(msgspec.Struct, frozen=True):
    """One message as the SDK keeps it."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]
    id: Id = ""


def history(messages: Iterable[UIMessage]) -> Iterator[Message]:
    """Our messages, results right behind their calls' turns; calls whose result never came have none."""
    for message in messages:
        match message.role:
            case "system":
                yield SystemMessage("".join(part.text for part in message.parts if part.type == "text"))
            case "user":
                yield UserMessage(tuple(_user_parts(message.parts)), message.id)
            case "assistant":
                for step in _steps(message.parts):
                    yield from _turn(step, message.id)


def _user_parts(parts: Iterable[Part]) -> Iterator[UserPart]:
    for part in parts:
        if part.type == "text" and part.text:
            yield Text(part.text)
        elif part.type == "file":
            yield file(part.url, part.media_type)


def _steps(parts: Iterable[Part]) -> list[list[Part]]:
    steps: list[list[Part]] = [[]]
    for part in parts:
        if part.type == "step-start":
            steps.append([])
        else:
            steps[-1].append(part)
    return [step for step in steps if step]


def _turn(step: Sequence[Part], message_id: str) -> Iterator[Message]:
    # A call whose arguments were still coming has none that could be sent anywhere: it is left out.
    kept = [part for part in step if not (part.tool and part.state == "input-streaming")]
    said = tuple(said for part in kept if (said := _assistant_part(part)) is not None)
    yield AssistantMessage(said, message_id, incomplete=any(part.state in _STREAMING for part in step))
    yield from (result for part in kept if part.tool and (result := _result(part)) is not None)


_STREAMING = frozenset({"streaming", "input-streaming"})


def _assistant_part(part: Part) -> AssistantPart | None:
    if part.tool:
        return ToolCall(part.tool_call_id, part.tool, _arguments(part))
    if part.type == "reasoning":
        ours = (part.provider_metadata or _ProviderMetadata()).winterbourne
        return Reasoning(part.text, ours.signature, ours.redacted)
    if part.type == "text" and part.text:
        return Text(part.text)
    return None


def _arguments(part: Part) -> str:
    """Arguments that were no JSON object went out as the text they were, and come back as such."""
    value = part.raw_input if part.input is None else part.input
    if value is None:
        return "{}"
    return value if isinstance(value, str) else written(value).decode()


def _result(part: Part) -> ToolMessage | None:
    if part.state == "output-available" and not part.preliminary:
        return ToolMessage(part.tool_call_id, part.tool, written(part.output).decode())
    if part.state == "output-error":
        return ToolMessage(part.tool_call_id, part.tool, part.error_text or "failed", is_error=True)
    if part.state == "output-denied":
        return ToolMessage(part.tool_call_id, part.tool, DENIED, is_error=True)
    return None
