"""What a request may ask of the model, within the limits that the settings draw. Pure.

Which models may be asked for is the frontends' matter: each says in its own format which there are.
"""

import msgspec

from chat.errors import RequestRejected
from chat.messages import ChatRequest, SystemMessage
from chat.settings import Settings

__all__ = ["within_limits"]


def within_limits(request: ChatRequest, settings: Settings) -> ChatRequest:
    """The request with every option it left out filled in from the settings, SYSTEM_PROMPT above its own.

    Raises:
        RequestRejected: 400 for an option beyond its limit; the message names the limit.
    """
    return msgspec.structs.replace(
        request,
        system=_system(request, settings),
        temperature=_temperature(request.temperature, settings),
        max_tokens=_max_tokens(request.max_tokens, settings.model_max_tokens),
    )


def _system(request: ChatRequest, settings: Settings) -> str:
    asked = bool(request.system) or any(isinstance(message, SystemMessage) for message in request.messages)
    if asked and not settings.system_prompt_from_request:
        raise RequestRejected(400, "system_not_allowed", "system: instructions come from this server alone")
    return "\n\n".join(filter(None, (settings.system_prompt, request.system)))


def _temperature(asked: float | None, settings: Settings) -> float | None:
    if asked is None:
        return settings.model_temperature
    if not 0 <= asked <= settings.model_temperature_max:
        limit = f"temperature: from 0 to {settings.model_temperature_max:g}"
        raise RequestRejected(400, "temperature_not_allowed", limit)
    return asked


def _max_tokens(asked: int | None, limit: int) -> int:
    if asked is None:
        return limit
    if not 1 <= asked <= limit:
        raise RequestRejected(400, "max_tokens_not_allowed", f"max_tokens: from 1 to {limit}")
    return asked
