"""One text that a model writes for the server itself, such as a title or a summary: without tools, sent to nobody."""

import sys
from collections.abc import Callable
from contextlib import aclosing

from winterbourne.chat.core.events import ModelEvent, ReasoningDelta, StopReason, TextDelta, TurnEnded, Usage
from winterbourne.chat.core.provider import ModelRequest, Provider, model_name
from winterbourne.chat.core.usage import complete_usage
from winterbourne.chat.errors import ModelError
from winterbourne.chat.infra.tracing import NO_SPAN, SPAN

__all__ = ["complete"]


async def complete(
    provider: Provider,
    request: ModelRequest,
    on_usage: Callable[[Usage], None],
    price: Callable[[str, Usage], Usage],
) -> tuple[str, StopReason]:
    """The text that the model writes, and why it stopped.

    Args:
        provider: Asks the model.
        request: What it is asked.
        on_usage: Called with the tokens used, also if that fails; an estimate of what the provider did not report.
        price: Gives a usage its cost; the model is named as in `TurnEnded`.

    Raises:
        ModelError: The provider failed.
    """
    events: list[ModelEvent] = []
    span = SPAN.get()
    turn = span.model(model_name(provider, request), request.options()) if span else None
    try:
        with turn or NO_SPAN:
            async with aclosing(provider.stream(request)) as batches:
                async for batch in batches:
                    events += batch
    finally:
        ended = next((event for event in events if isinstance(event, TurnEnded)), TurnEnded("pause"))
        output = (event.text for event in events if isinstance(event, TextDelta | ReasoningDelta))
        if events or not isinstance(sys.exception(), ModelError):  # else it failed before it sent anything
            usage = complete_usage(ended.usage, request, output)
            on_usage(usage := price(ended.model or model_name(provider, request), usage))
            if turn:
                turn.note_usage(usage, ended.model, ended.stop_reason)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    # What a model thought aloud comes first; half an emoji is no text.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").rpartition("</think>")[2]
    return text, ended.stop_reason
