"""What has been said so far, in no vendor's shape.

Frontends make these from their own history formats, models turn them into their providers' requests, the store
keeps them as JSON. They are msgspec structs: `msgspec.json` encodes and checks them without more code.
"""

from typing import Final, TypeAlias

import msgspec

__all__ = [
    "AssistantMessage",
    "AssistantPart",
    "ChatRequest",
    "Image",
    "Message",
    "Reasoning",
    "SystemMessage",
    "Text",
    "ToolCall",
    "ToolChoice",
    "ToolMessage",
    "ToolSchema",
    "UserMessage",
    "UserPart",
]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """An image from the user: exactly one of `data` (base64, without a data: prefix) and `url` is set."""

    media_type: str
    data: str = ""
    url: str = ""


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What a model thought aloud.

    `signature` and `redacted` are the provider's own opaque strings; a provider that sent them wants them back
    unchanged in the assistant turn that precedes the tool results, and no other provider understands them.
    """

    text: str
    signature: str = ""
    redacted: str = ""


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """One call of a tool.

    `arguments` is the JSON text exactly as the model wrote it, which may be broken; the runner judges it.
    An empty string means no arguments, `{}`.
    """

    id: str
    name: str
    arguments: str


UserPart: TypeAlias = Text | Image
AssistantPart: TypeAlias = Text | Reasoning | ToolCall


class SystemMessage(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """Instructions that stand above the conversation."""

    text: str


class UserMessage(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    """What the user said."""

    parts: tuple[UserPart, ...]
    id: str = ""


class AssistantMessage(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    """One model turn, its parts in the order the model gave them.

    `incomplete` marks what was streamed before a turn broke or was stopped.
    """

    parts: tuple[AssistantPart, ...]
    id: str = ""
    incomplete: bool = False

    @property
    def text(self) -> str:
        """The visible text, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of this turn, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class ToolMessage(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    """The one result of one tool call. `content` is JSON text or a sentence; `is_error` says which it means."""

    tool_call_id: str
    name: str
    content: str
    is_error: bool = False


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage


class ToolSchema(msgspec.Struct, frozen=True):
    """A tool as a model is told of it. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, object]
    strict: bool = False


ToolChoice: TypeAlias = str
"""`auto`, `none`, `required`, or the name of one tool."""

TOOL_CHOICE_AUTO: Final[ToolChoice] = "auto"


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend understood of a request body, whatever its format.

    Unset options (None) fall back to the settings. `client_tools` are the caller's own tools: the model may call
    them, nobody here runs them, and the conversation ends so that the caller can.
    `conversation_id` is empty where the caller did not name one; a new id is made then.
    `store` says whether `messages` are only what is new (the store has the rest) or, False, the whole history.
    """

    messages: tuple[Message, ...]
    conversation_id: str = ""
    message_id: str = ""
    store: bool = False
    system: str | None = None
    model_id: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    tool_choice: ToolChoice = TOOL_CHOICE_AUTO
    client_tools: tuple[ToolSchema, ...] = ()
