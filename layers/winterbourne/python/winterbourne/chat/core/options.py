"""Validates a request's options against the settings' limits and fills in the defaults. Pure.

The choice of model is validated by the wire formats (`formats.model_choices`).
"""

from collections.abc import Iterable

import msgspec

from winterbourne.chat.core.messages import ChatRequest, Image, Message, SystemMessage, ToolSchema, UserMessage
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

__all__ = ["validate_options"]


def validate_options(
    request: ChatRequest, settings: Settings, tools: Iterable[ToolSchema], *, takes_image_urls: bool = True
) -> ChatRequest:
    """The request with missing options filled in from the settings, and SYSTEM_PROMPT put before its own system prompt.

    Args:
        request: As decoded by the wire format.
        settings: Limits and defaults.
        tools: The server's tools; `tool_choice` may name one of these or one of the request's own.
        takes_image_urls: Whether the provider accepts images by URL.

    Raises:
        RequestRejected: 400 for an option beyond its limit, an unknown tool, a system prompt that the settings do not
            allow or an image URL that the provider does not accept; the message names the field.
    """
    if not takes_image_urls:
        _require_no_image_url(request.messages)
    _require_known_tool(request.tool_choice, (*tools, *request.client_tools))
    return msgspec.structs.replace(
        request,
        system=_system_prompt(request, settings),
        temperature=_temperature(request.temperature, settings),
        max_tokens=_max_tokens(request.max_tokens, settings.model.model_max_tokens),
    )


def _require_known_tool(choice: str, tools: Iterable[ToolSchema]) -> None:
    if choice not in {"auto", "none", "required", *(tool.name for tool in tools)}:
        raise RequestRejected(400, "unknown_tool", f"tool_choice: there is no tool named {choice[:64]!r}")


def _require_no_image_url(messages: Iterable[Message]) -> None:
    parts = (part for message in messages if isinstance(message, UserMessage) for part in message.parts)
    if any(isinstance(part, Image) and part.url for part in parts):
        raise RequestRejected(400, "image_url_not_allowed", "messages: this model takes images as data, not by URL")


def _system_prompt(request: ChatRequest, settings: Settings) -> str:
    has_system = bool(request.system) or any(isinstance(message, SystemMessage) for message in request.messages)
    if has_system and not settings.model.system_prompt_from_request:
        raise RequestRejected(400, "system_not_allowed", "system: this server accepts no instructions from clients")
    return "\n\n".join(filter(None, (settings.model.system_prompt, request.system)))


def _temperature(requested: float | None, settings: Settings) -> float | None:
    if requested is None:
        return settings.model.model_temperature
    if not 0 <= requested <= settings.model.model_temperature_max:
        limit = f"temperature: from 0 to {settings.model.model_temperature_max:g}"
        raise RequestRejected(400, "temperature_not_allowed", limit)
    return requested


def _max_tokens(requested: int | None, limit: int) -> int:
    if requested is None:
        return limit
    if not 1 <= requested <= limit:
        raise RequestRejected(400, "max_tokens_not_allowed", f"max_tokens: from 1 to {limit}")
    return requested
