"""The messages of a conversation, independent of any vendor's format.

Wire formats build them from their own history formats, providers turn them into API requests, and the store keeps them
as JSON. They are msgspec structs, so `msgspec.json` encodes and validates them without further code.
"""

import contextlib
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "Approval",
    "ApprovalKind",
    "AssistantMessage",
    "AssistantPart",
    "ChatRequest",
    "Decision",
    "DecisionReason",
    "Document",
    "Image",
    "Message",
    "ModelOptions",
    "Opaque",
    "OutputSchema",
    "Reasoning",
    "ReasoningEffort",
    "Retractable",
    "Source",
    "Summary",
    "SystemMessage",
    "Text",
    "ToolCall",
    "ToolChoice",
    "ToolMessage",
    "ToolSchema",
    "UnusablePart",
    "Usage",
    "UserMessage",
    "UserPart",
    "VolatilePart",
    "without_opaque_data",
]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class UnusablePart(Text, frozen=True, tag="text"):
    """A part of the user's that no model can be shown, for example a PDF that is none.

    `text` stands in its place in an older message; in the newest one it is rejected, and `refusal` says why.
    """

    refusal: str


class VolatilePart(Text, frozen=True, tag="text"):
    """What is said of this request alone, such as the time: the end of its newest question, which is not kept.

    A provider caches the prompt up to here.
    """


class Image(msgspec.Struct, frozen=True, tag="image"):
    """An image from the user: exactly one of `data` (base64, without a data: prefix) and `url` is set."""

    media_type: str
    data: str = ""
    url: str = ""


class Document(msgspec.Struct, frozen=True, tag="document"):
    """A document from the user, such as a PDF: exactly one of `data` (base64) and `url` is set; `name` may be empty."""

    media_type: str
    name: str = ""
    data: str = ""
    url: str = ""


class Opaque(msgspec.Struct, frozen=True, omit_defaults=True):
    """What only the provider that made a part understands, and wants back with it.

    Attributes:
        origin: Which server and model made it; empty if the client that sent it back cannot say so. Another server or
            model never gets it.
        field: The field in which an OpenAI-compatible server sent the reasoning's text.
        fields: JSON text: an object with the other fields that such a server sent, by name. Empty for none.
    """

    origin: str = ""
    field: str = ""
    fields: str = ""

    def decoded(self) -> dict[str, Any]:
        """The fields; none if a client has sent back what is no such object."""
        with contextlib.suppress(ValueError, RecursionError):
            return msgspec.json.decode(self.fields or "{}", type=dict[str, Any])
        return {}


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Token counts, as reported or estimated. As JSON it always has the first three; of the others, what there is.

    Attributes:
        input: All that was sent, from a cache or not.
        output: All that the model has written, its reasoning included.
        cached: The part of `input` that was read from the provider's cache.
        cache_write: The part of `input` that was written to it.
        reasoning: The part of `output` that was reasoning, where the provider tells.
        cost: What it cost, in dollars; None if the model's prices are not known.
    """

    input: int = msgspec.field(default_factory=int)  # unlike a default, never omitted
    output: int = msgspec.field(default_factory=int)
    cached: int = msgspec.field(default_factory=int)
    cache_write: int = 0
    reasoning: int = 0
    cost: float | None = None


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """A block of a model's reasoning.

    `signature` and `redacted` are opaque strings of the provider: it requires them back unchanged in the assistant turn
    that precedes the tool results, and no other provider understands them. Without text, the part only carries what is
    opaque in the turn as a whole.
    """

    text: str
    signature: str = ""
    redacted: str = ""
    opaque: Opaque | UnsetType = UNSET


class Source(msgspec.Struct, frozen=True, tag="source", omit_defaults=True):
    """A source that the model cites for what it has just said: a page on the web, or a document of the user's.

    Attributes:
        id: The same for each citation of one source in an answer.
        url: Of a page; empty for a document.
        title: Of the page or the document; may be empty.
        media_type: Of a document.
        cited_text: The words of the source, if the provider quotes them.
    """

    id: str
    url: str = ""
    title: str = ""
    media_type: str = ""
    cited_text: str = ""


class Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person is asked before a call is run, or goes on.

    Attributes:
        id: Names the question in a `Decision`. It is signed, so that nobody can make one up.
        expires_at_s: Until when it can be decided, in epoch seconds.
        message: Why a person is asked, in words for that person; may be empty.
        allows_edits: Whether the decision may have other arguments.
        schema: JSON schema of what the person fills in, for an MCP server that asks for input; None for a yes or no.
    """

    id: str
    expires_at_s: int
    message: str = ""
    allows_edits: bool = False
    schema: dict[str, Any] | None = None


DecisionReason: TypeAlias = Annotated[str, Meta(max_length=1000)]
"""Why a person has decided so, in that person's words; may be empty."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has decided.

    Attributes:
        approval_id: The id of the `Approval`.
        approved: Whether the call is run.
        reason: Why, for the model.
        arguments: Other arguments for the call, if its approval allows edits, or what was filled in; None for neither.
    """

    approval_id: str
    approved: bool
    reason: DecisionReason = ""
    arguments: dict[str, Any] | None = None


ApprovalKind: TypeAlias = Literal["none", "yes_or_no", "form"]
"""What a client can ask a person: nothing, a yes or no, or also to fill in a form."""


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """One call of a tool.

    `arguments` is the JSON text exactly as the model wrote it; it may be invalid, and the tool executor validates it.
    An empty string means no arguments, `{}`. `approval` is set if a person was asked before it was run.
    """

    id: str
    name: str
    arguments: str
    opaque: Opaque | UnsetType = UNSET
    approval: Approval | UnsetType = UNSET


UserPart: TypeAlias = Text | Image | Document
"""What a user's message consists of."""
AssistantPart: TypeAlias = Text | Reasoning | ToolCall | Source
"""What a model's turn consists of."""


class SystemMessage(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """Instructions for the whole conversation."""

    text: str


class UserMessage(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    """A message of the user."""

    parts: tuple[UserPart, ...]
    id: str = ""


class AssistantMessage(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    """One model turn, its parts in the order in which the model produced them.

    `incomplete` marks a turn that failed or was stopped while it was streaming. `usage` is that of the whole answer,
    all its turns together; only the last turn of an answer that has ended has it.
    """

    parts: tuple[AssistantPart, ...]
    id: str = ""
    incomplete: bool = False
    usage: Usage | UnsetType = UNSET

    @property
    def text(self) -> str:
        """The visible text, concatenated."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of this turn, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class ToolMessage(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    """The only result of a tool call. `content` is JSON or plain text; `is_error` says whether the call failed.

    `approval` is set if there is no result yet, because the call has asked a person once more.
    """

    tool_call_id: str
    name: str
    content: str
    is_error: bool = False
    approval: Approval | UnsetType = UNSET


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage
"""A message of any kind."""


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A summary of the beginning of a history that is too long for its model.

    Attributes:
        digest: Of the messages that it stands for (`core.compaction.prefix_digests`): it fits no history without them.
        text: What they said.
        bare: How many of the messages after them lose their reasoning: some models accept it only after what they had
            read when they wrote it.
    """

    digest: str
    text: str
    bare: int = 0


def without_opaque_data(message: Message) -> Message:
    """The message as it may be logged: without what only its provider understands, and without the data of files."""
    if isinstance(message, UserMessage):
        shown = (part if isinstance(part, Text) else msgspec.structs.replace(part, data="") for part in message.parts)
        return msgspec.structs.replace(message, parts=tuple(shown))
    if not isinstance(message, AssistantMessage):
        return message
    return msgspec.structs.replace(message, parts=tuple(map(_without_opaque_data, message.parts)))


def _without_opaque_data(part: AssistantPart) -> AssistantPart:
    if isinstance(part, Reasoning):
        return Reasoning(part.text)
    return msgspec.structs.replace(part, opaque=UNSET) if isinstance(part, ToolCall) else part


Retractable: TypeAlias = Literal["nothing", "calls", "everything", "by_frames", "by_chunks"]
"""What a client can have taken back of a turn that another model begins anew: nothing, calls that are not ready (it is
not shown those), or everything: by what its format has for that, or by frames of the native format or chunks of the AI
SDK that it has said it knows.
"""

RETRACTS_ALL: Final = frozenset({"everything", "by_frames", "by_chunks"})


class ToolSchema(msgspec.Struct, frozen=True):
    """A tool as it is described to a model. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, object]


ToolChoice: TypeAlias = str
"""`auto`, `none`, `required`, or the name of one tool."""

TOOL_CHOICE_AUTO: Final[ToolChoice] = "auto"

TOOL_CHOICES: Final = frozenset({"auto", "none", "required"})
"""Those that name no tool."""


ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "max"]
"""How much a model thinks before it answers."""


class OutputSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What the text of an answer has to be: JSON that is valid by this schema.

    Attributes:
        schema: A JSON schema; None for any JSON object.
        name: What it describes, for the model.
        description: More of that; may be empty.
        strict: Whether the caller wants a provider's strict mode, which takes fewer schemas.
    """

    schema: dict[str, Any] | None = None
    name: str = "response"
    description: str = ""
    strict: bool = False


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the model answers: what a request may choose. None leaves it to the settings, then to the provider.

    Attributes:
        temperature: From 0 to 2.
        max_tokens: Maximum number of output tokens of one model turn.
        reasoning: How much it thinks; a level that a model lacks is the nearest one that it has.
        top_p: From 0 to 1.
        stop: Texts at which the answer ends, without them.
        seed: For answers that can be repeated, as far as the provider can.
        presence_penalty: From -2 to 2.
        frequency_penalty: From -2 to 2.
        parallel_tool_calls: False for one call a turn at most.
        output: What the text of the answer has to be.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    reasoning: ReasoningEffort | None = None
    top_p: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    parallel_tool_calls: bool | None = None
    output: OutputSchema | None = None

    def options(self) -> dict[str, Any]:
        """Those that are set, by name."""
        values = {name: getattr(self, name) for name in ModelOptions.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


class ChatRequest(ModelOptions, frozen=True, kw_only=True):
    """A decoded chat request, the same for every wire format. Options that are None fall back to the settings.

    Attributes:
        messages: The whole history in the client's order, or with `store` only the new messages.
        conversation_id: Empty if the client sent none; a new id is then generated.
        message_id: The id of the answer; empty for a new one.
        store: Whether the conversation is kept, and the store has the messages before these.
        replace_from: The id of a kept message, which is dropped with all that follows it before these are added; empty
            for none. With `store` only.
        regenerate: Whether the last question is answered anew: what follows it in the store, or follows and includes
            `replace_from`, is dropped, and `messages` may be empty. With `store` only.
        reconnects: Whether the client asks for no new answer but for the one that the conversation has, from its start.
        system: The request's own system prompt.
        context: What changes from request to request, such as what the user looks at; it goes last, and is not kept.
        model_id: The model that the client named.
        tool_choice: `auto`, `none`, `required`, or the name of one tool.
        client_tools: The client's own tools: the model may call them, the server does not run them, and the
            conversation ends so that the client can.
        approvals: What the client can ask a person. A call that needs more is not run, and the model is told why.
        decisions: What a person has decided of the calls that the history ends with.
        retractable: What the client can have taken back.
    """

    messages: tuple[Message, ...]
    conversation_id: str = ""
    message_id: str = ""
    store: bool = False
    replace_from: str = ""
    regenerate: bool = False
    reconnects: bool = False
    system: str | None = None
    context: str = ""
    model_id: str | None = None
    tool_choice: ToolChoice = TOOL_CHOICE_AUTO
    client_tools: tuple[ToolSchema, ...] = ()
    approvals: ApprovalKind = "none"
    decisions: tuple[Decision, ...] = ()
    retractable: Retractable = "nothing"
