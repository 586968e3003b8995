"""What the conversation knows of a model, and all it knows."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.core.messages import TOOL_CHOICE_AUTO, Message, ToolChoice, ToolSchema

__all__ = ["ModelRequest", "Provider"]


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One turn to be taken. Options that are None are left to the provider.

    `deadline` is on the event loop's clock, in seconds; retries never go past it.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: ToolChoice = TOOL_CHOICE_AUTO
    system: str = ""
    model_id: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    deadline: float = float("inf")


class Provider(Protocol):
    """A provider's model behind the shared HTTP pool."""

    name: str
    """The provider's name as MODEL_PROVIDER spells it."""

    takes_image_urls: bool
    """Whether an image may be given by its URL, which the provider fetches."""

    def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Take one turn.

        Yields:
            Batches: the events of everything that one read brought, never empty. Neighbouring text of one read is
            one TextDelta. The last event of the last batch is a TurnEnded.

        Raises:
            ModelError: One of its kinds. Before the first batch, retries are over; after it, what came stays valid
                and a call without its ToolCallReady must not be run.

        Cancellation:
            `aclose()` or cancelling the reader closes the upstream response at once.
        """
        ...
