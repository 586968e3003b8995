"""Checks a decoded request against the settings: its history, its limits, its options and its choice of model. Pure."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.documents import document_text, document_type, is_too_large, takes_document
from winterbourne.chat.core.history import check_decisions, is_blank, normalize_history, with_usable_parts
from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Document,
    Image,
    Message,
    ModelOptions,
    ReasoningEffort,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UnusablePart,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.output import check_schema, with_instructions
from winterbourne.chat.core.tool_schemas import portable_tools
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import ModelSettings, RequestSettings

__all__ = [
    "OLDER_FILES",
    "available_models",
    "check_request",
    "count_chars",
    "limit_older_media",
    "resolve_model",
    "with_limited_media",
]


_ALWAYS_TAKEN: Final = frozenset({"reasoning", "output", "parallel_tool_calls"})
"""Options that no capability's `options` decides: the last one is kept by the conversation if the model does not."""
_NEUTRAL: Final[Mapping[str, float]] = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
"""What is passed over where the model does not have the option: it is what the model does anyway."""
OLDER_FILES: Final[Mapping[type, str]] = {
    Image: "[an older image that is not shown any more]",
    Document: "[an older document that is not shown any more]",
}
"""The lines that stand for files which are one too many."""


def check_request(
    request: ChatRequest,
    limits: RequestSettings,
    model: ModelSettings,
    tools: Iterable[ToolSchema],
    capabilities_of: Callable[[str], Capabilities],
    *,
    field_of: Callable[[str], str] = str,
    limits_tokens: bool = False,
) -> ChatRequest:
    """The request as the conversation takes it: with a normalized history, and no option left out.

    The messages of a stored conversation are only the new ones, which are normalized together with the stored ones.
    The user's newest message has to be right; older ones are repaired, because the client cannot mend them.

    Args:
        request: As decoded by the wire format.
        limits: How much one request may hold.
        model: The models on offer; limits and defaults of the options. SYSTEM_PROMPT is put before the request's own.
        tools: The server's tools; `tool_choice` may name one of these or one of the request's own.
        capabilities_of: What the model takes, by its id in a `ModelRequest`.
        field_of: The field of an option in the request's format.
        limits_tokens: Whether `max_tokens` above the limit becomes the limit, instead of being rejected.

    Raises:
        RequestRejected: 400 for no messages, an option beyond its limit or that the model does not have, an invalid
            schema, an unknown tool, a tool name that is used twice or a system prompt that the settings do not allow;
            if the newest message is blank, or has a part that no model can use, a document that this one does not take
            or an image URL that the provider does not accept. 404 for a model that is not offered. 409 for decisions
            on calls that do not wait. 413 for more or longer messages, more images, documents or tools than the limits
            allow, and for a document that is too large.
    """
    model_id = resolve_model(request.model_id, model)
    capabilities = capabilities_of(model_id or "")
    level = _reasoning(request, model, capabilities, field_of)
    request = _with_known_options(request, capabilities, level, field_of)
    newest = _newest_question(request.messages)
    if newest:
        _check_question(newest, capabilities)
    if request.store:
        messages = tuple(with_usable_parts(message) for message in request.messages if not is_blank(message))
    else:
        messages = normalize_history(request.messages)
        check_decisions(messages, request.decisions)
    messages = with_limited_media(messages, limits, capabilities)
    if not messages and not (request.store and (request.regenerate or request.decisions)):  # they are in the store
        raise RequestRejected(400, "no_messages", "messages: at least one is needed")
    _check_messages(messages, (request.system or "", request.context), limits)
    _require_at_most(limits.max_client_tools, len(request.client_tools), "too_many_tools", "tools")
    _require_at_most(limits.max_messages, len(request.decisions), "too_many_decisions", "decisions")
    _require_unique("tools: the name", [tool.name for tool in request.client_tools])
    _require_known_tool(request.tool_choice, (*tools, *request.client_tools) if capabilities.tools else ())
    checked = msgspec.structs.replace(
        request,
        messages=messages,
        model_id=model_id,
        system=_system_prompt(request, model),
        temperature=_temperature(request, model, capabilities, field_of),
        max_tokens=_max_tokens(request.max_tokens, model.model_max_tokens, field_of, limits_tokens=limits_tokens),
        reasoning=level,
        client_tools=tuple(portable_tools(request.client_tools)) if request.client_tools else (),
    )
    return with_instructions(checked) if request.output and not capabilities.schema else checked


def available_models(model: ModelSettings) -> tuple[str, ...]:
    """The models that a caller may choose, because models cost money: MODEL_ID first, then MODEL_CHOICES.

    Without MODEL_ID, the default has its provider's name.
    """
    choices = (choice.strip() for choice in model.model_choices.split(","))
    return tuple(dict.fromkeys([model.model_id or model.model_provider, *filter(None, choices)]))


def count_chars(message: Message) -> int:
    """The characters of its text, reasoning, arguments or result; images and documents have none."""
    match message:
        case SystemMessage(text) | ToolMessage(content=text):
            return len(text)
        case UserMessage(parts) | AssistantMessage(parts):
            texts = (part for part in parts if not isinstance(part, Image | Document | Source))
            return sum(len(part.arguments if isinstance(part, ToolCall) else part.text) for part in texts)


def _media_of(messages: Iterable[Message | None]) -> list[Image | Document]:
    """The images and documents of all messages."""
    users = (message for message in messages if isinstance(message, UserMessage))
    return [part for message in users for part in message.parts if isinstance(part, Image | Document)]


def resolve_model(requested: str | None, model: ModelSettings) -> str | None:
    """The model to request from the provider, or None for the default.

    Raises:
        RequestRejected: 404 for a model that is not on offer.
    """
    default, *others = models = available_models(model)
    if not requested or requested == default:
        return None
    if requested in others:
        return requested
    raise RequestRejected(404, "model_not_found", f"model: {requested[:64]!r} is not one of {', '.join(models)}")


def _newest_question(messages: Sequence[Message]) -> UserMessage | None:
    """The user's last message, unless the model has begun to answer it."""
    for message in reversed(messages):
        if isinstance(message, UserMessage | AssistantMessage):
            return message if isinstance(message, UserMessage) else None
    return None


def _check_question(message: UserMessage, capabilities: Capabilities) -> None:
    """Reject what the caller can still mend: the user's newest message has not been answered yet."""
    if not any(isinstance(part, Image | Document) or part.text.strip() for part in message.parts):
        raise RequestRejected(400, "empty_message", "messages: a user's message may not be empty")
    for part in message.parts:
        if isinstance(part, UnusablePart):
            raise RequestRejected(400, "unsupported_media", part.refusal)
        if isinstance(part, Document):
            _check_document(part, capabilities)
        if isinstance(part, Image) and not capabilities.images:
            raise RequestRejected(400, "unsupported_media", "messages: this model takes no images")
        if isinstance(part, Image) and part.url and not capabilities.image_urls:
            raise RequestRejected(400, "image_url_not_allowed", "messages: this model takes images as data, not by URL")


def _check_document(document: Document, capabilities: Capabilities) -> None:
    if takes_document(capabilities, document) or document_text(document) is not None:
        return
    if document.url and takes_document(capabilities, msgspec.structs.replace(document, url="")):
        raise RequestRejected(400, "document_url_not_allowed", "messages: this model takes documents as data only")
    if is_too_large(capabilities, document):
        limit = f"messages: this model takes documents of {capabilities.document_bytes} bytes at most"
        raise RequestRejected(413, "document_too_large", limit)
    kind = document_type(document.media_type, document.name)
    raise RequestRejected(400, "unsupported_media", f"messages: this model takes no documents of type {kind}")


def with_limited_media(
    messages: Sequence[Message], limits: RequestSettings, capabilities: Capabilities
) -> tuple[Message, ...]:
    """The messages with as many images and documents as one request may have, and none that the model cannot fetch."""
    most = {"images": limits.max_images if capabilities.images else 0, "documents": limits.max_documents}
    return limit_older_media(messages, **most, takes_image_urls=capabilities.image_urls)


def limit_older_media(
    messages: Sequence[Message],
    *,
    images: int = sys.maxsize,
    documents: int = sys.maxsize,
    takes_image_urls: bool = True,
) -> tuple[Message, ...]:
    """The messages, with a line of text for each file that is one too many or cannot be sent; the newest ones stay.

    Several go at once, half as many as there may be: what changes old messages costs the prompt cache what follows.

    Args:
        messages: The history.
        images: How many may stay.
        documents: Likewise.
        takes_image_urls: Whether the model takes images by URL.
    """
    if not _media_of(messages):
        return tuple(messages)
    newest = _newest_question(messages)
    count = Counter(type(part) for part in _media_of(messages) if takes_image_urls or not _is_linked(part))
    asked = Counter(map(type, _media_of([newest])))
    limits: dict[type, int] = {Image: images, Document: documents}
    free = {kind: _staying(count[kind], most) - asked[kind] for kind, most in limits.items()}

    def fitting(part: UserPart) -> UserPart:
        if not takes_image_urls and _is_linked(part):
            return Text("[an image that cannot be shown to this model]")
        if (kind := type(part)) not in free:
            return part
        free[kind] -= 1
        return part if free[kind] >= 0 else Text(OLDER_FILES[kind])

    limited: list[Message] = []
    for message in reversed(messages):
        if isinstance(message, UserMessage) and message is not newest and _media_of([message]):
            parts = tuple(fitting(part) for part in reversed(message.parts))[::-1]
            limited.append(msgspec.structs.replace(message, parts=parts))
        else:
            limited.append(message)
    return tuple(reversed(limited))


def _is_linked(part: UserPart) -> bool:
    return isinstance(part, Image) and bool(part.url)


def _staying(count: int, most: int) -> int:
    step = max(most // 2, 1)
    return count - math.ceil(max(count - most, 0) / step) * step


def _check_messages(messages: Sequence[Message], texts: Iterable[str], limits: RequestSettings) -> None:
    if len(messages) > limits.max_messages:
        raise RequestRejected(413, "too_many_messages", f"messages: {limits.max_messages} at most")
    longest = max([*map(len, texts), *map(count_chars, messages)])
    _require_at_most(limits.max_message_chars, longest, "message_too_long", "characters in one message")
    count = Counter(map(type, _media_of(messages)))
    _require_at_most(limits.max_images, count[Image], "too_many_images", "images")
    _require_at_most(limits.max_documents, count[Document], "too_many_documents", "documents")


def _require_unique(what: str, ids: Sequence[str]) -> None:
    for one, count in Counter(ids).items():
        if count > 1:
            raise RequestRejected(400, "duplicate_id", f"{what} {one[:64]!r} is used twice")


def _require_at_most(limit: int, count: int, code: str, what: str) -> None:
    if count > limit:
        raise RequestRejected(413, code, f"{count} {what}, {limit} at most")


def _require_known_tool(choice: str, tools: Collection[ToolSchema]) -> None:
    if choice == "required" and not tools:
        raise RequestRejected(400, "unknown_tool", "tool_choice: there is no tool to call")
    if choice not in {"auto", "none", "required", *(tool.name for tool in tools)}:
        raise RequestRejected(400, "unknown_tool", f"tool_choice: there is no tool named {choice[:64]!r}")


def _system_prompt(request: ChatRequest, model: ModelSettings) -> str:
    has_system = bool(request.system) or any(isinstance(message, SystemMessage) for message in request.messages)
    if has_system and not model.system_prompt_from_request:
        raise RequestRejected(400, "system_not_allowed", "system: this server accepts no instructions from clients")
    return "\n\n".join(filter(None, (model.system_prompt, request.system)))


def _reasoning(
    request: ChatRequest, model: ModelSettings, capabilities: Capabilities, field_of: Callable[[str], str]
) -> ReasoningEffort | None:
    """The level to ask for; a setting that the model cannot follow counts for nothing."""
    if request.reasoning not in {None, "none"} and capabilities.reasoning == ():
        raise _unsupported(f"{field_of('reasoning')}: this model does not think; only none is supported")
    return request.reasoning or model.model_reasoning or None


def _with_known_options(
    request: ChatRequest, capabilities: Capabilities, level: ReasoningEffort | None, field_of: Callable[[str], str]
) -> ChatRequest:
    thinks = capabilities.reasoning != () and (level != "none" if level else capabilities.thinks)
    refused = capabilities.not_while_thinking if thinks else frozenset[str]()
    asked = {name for name in ModelOptions.__struct_fields__ if getattr(request, name) is not None}
    unknown = asked - (capabilities.options - refused | _ALWAYS_TAKEN)
    for name in sorted(unknown):
        if getattr(request, name) != _NEUTRAL.get(name):
            lacks = "takes none while it thinks (reasoning)" if name in refused else "does not have it"
            raise _unsupported(f"{field_of(name)}: this model {lacks}")
    if capabilities.one_sampler and {"temperature", "top_p"} <= asked:
        unknown.add("temperature" if request.temperature == 1 else "top_p")
        if request.temperature != 1 and request.top_p != 1:
            raise _unsupported(f"{field_of('top_p')}: this model takes it or {field_of('temperature')}, not both")
    if not (capabilities.blank_stop or all(map(str.strip, request.stop or ()))):
        raise _unsupported(f"{field_of('stop')}: this model takes none that is blank")
    if request.output:
        check_schema(request.output, field_of("output"))
    return msgspec.structs.replace(request, **dict.fromkeys(unknown)) if unknown else request


def _unsupported(message: str) -> RequestRejected:
    return RequestRejected(400, "unsupported_parameter", message)


def _temperature(
    request: ChatRequest, model: ModelSettings, capabilities: Capabilities, field_of: Callable[[str], str]
) -> float | None:
    if request.temperature is None:
        has_other = capabilities.one_sampler and request.top_p is not None
        return None if has_other or "temperature" not in capabilities.options else model.model_temperature
    most = min(model.model_temperature_max, capabilities.max_temperature)
    if not 0 <= request.temperature <= most:
        raise RequestRejected(400, "temperature_not_allowed", f"{field_of('temperature')}: from 0 to {most:g}")
    return request.temperature


def _max_tokens(requested: int | None, limit: int, field_of: Callable[[str], str], *, limits_tokens: bool) -> int:
    if requested is None or (limits_tokens and requested > limit):
        return limit
    if not 1 <= requested <= limit:
        raise RequestRejected(400, "max_tokens_not_allowed", f"{field_of('max_tokens')}: from 1 to {limit}")
    return requested
