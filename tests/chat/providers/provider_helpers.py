"""Helpers of the provider tests: a history with every kind of message, a provider, and its collected events."""

import base64
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
import pytest

from tests import transcripts
from tests.upstream import Upstream
from winterbourne.chat.core.events import ModelEvent, TextDelta
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest, Provider
from winterbourne.chat.errors import ChatError
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.http_provider import fold_system_messages
from winterbourne.chat.settings import ModelSettings, Settings

__all__ = [
    "DELTA",
    "HELLO",
    "HISTORY",
    "KEY",
    "PNG",
    "SCHEMA",
    "SETTINGS",
    "TEXT",
    "TOOLS",
    "body_of",
    "collect_events",
    "encoded",
    "failure",
    "folded",
    "openai_provider",
    "request",
    "text",
]

KEY = "sk-very-secret-0123456789"
HELLO = ModelRequest(messages=(UserMessage((Text("hello"),)),))
TEXT = transcripts.wire("openai", "text")
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


def openai_provider(server: Upstream, **settings: object) -> Provider:
    options = {"openai_base_url": f"{server.url}/v1", "openai_api_key": KEY, **settings}
    return make_provider(Settings.of(model_provider="openai", **options).model)


async def collect_events(provider: Provider, request: ModelRequest = HELLO) -> list[ModelEvent]:
    async with aclosing(provider.stream(request)) as batches:
        return [event async for batch in batches for event in batch]


async def failure(provider: Provider, request: ModelRequest = HELLO) -> tuple[list[ModelEvent], ChatError]:
    events: list[ModelEvent] = []

    async def consume() -> None:
        async for batch in provider.stream(request):
            events.extend(batch)

    with pytest.raises(ChatError) as raised:
        await consume()
    assert KEY not in str(raised.value)
    return events, raised.value


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


SETTINGS = ModelSettings(model_id="m", model_max_tokens=100, openai_base_url="http://localhost:8000/v1")
SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (ToolSchema("get_weather", "The weather.", SCHEMA),)
PNG = base64.b64encode(b"png").decode()
HISTORY: tuple[Message, ...] = (
    SystemMessage("Be kind."),
    UserMessage((Text("Weather in Paris and Lima?"), Image("image/png", data=PNG))),
    AssistantMessage(
        (
            Reasoning("Two cities.", signature="sig"),
            Reasoning("", redacted="b3BhcXVl"),
            Text("Let me see."),
            ToolCall("a", "get_weather", '{"city":"Paris"}'),
            ToolCall("b", "get_weather", ""),
        )
    ),
    ToolMessage("a", "get_weather", '{"c":21}'),
    ToolMessage("b", "get_weather", "no city", is_error=True),
    UserMessage((Text("And tomorrow?"),)),
)


def request(*messages: Message, **options: Any) -> ModelRequest:
    return ModelRequest(messages=messages or HISTORY, **options)


def encoded(module: Any, request: ModelRequest, settings: ModelSettings = SETTINGS, **options: Any) -> bytes:
    """The JSON text of a request's body; `extra_body` and `learned` are options."""
    extra_body = msgspec.json.encode(options.pop("extra_body", {})).decode()
    settings = msgspec.structs.replace(
        settings, model_extra_body=extra_body, openai_api_key=KEY, anthropic_api_key=KEY, bedrock_region="us-east-1"
    )
    body: bytes = module.make(settings).encode(request, **options)[1]
    return body


def body_of(module: Any, request: ModelRequest, settings: ModelSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(encoded(module, request, settings, **options))
    return body


def folded(*messages: Message, **options: Any) -> ModelRequest:
    """The request as it reaches a provider's encoder."""
    return fold_system_messages(request(*messages, **options))
