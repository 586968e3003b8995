"""The `Provider` protocol: the only interface between the conversation and a model provider."""

import functools
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.core.messages import TOOL_CHOICE_AUTO, Message, ModelOptions, Retractable, ToolChoice, ToolSchema

__all__ = ["ModelRequest", "Provider", "capabilities_of", "model_name", "model_names"]


class ModelRequest(ModelOptions, frozen=True, kw_only=True):
    """The request for one model turn. Options that are None are left to the provider.

    Attributes:
        messages: The conversation, normalized: each assistant turn is followed by exactly one result for each of its
            calls, in order, and there are no other results.
        tools: What the model may call.
        tool_choice: `auto`, `none`, `required`, or the name of one tool.
        system: The system prompt; empty for none.
        model_id: The model that the request chose; empty for the provider's own choice.
        conversation_id: The same for all turns of a conversation, so that a provider can route them to one cache; empty
            if its client does not name it.
        cache: Whether later requests begin like this one, up to a `VolatilePart`, so that a prompt cache pays.
        compact_at: From how many tokens on the provider is to summarise what was said before; 0 for never.
        deadline: When the answer ends, in seconds on the event loop's clock; retries never go past it.
        retractable: What can be taken back of a turn that has begun.
        retries: Whether an attempt that fails is repeated; not while there is another model to ask.
        failed: The models that have failed in this answer, one set for all its turns: a provider that fails over adds
            to it, and asks others first.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: ToolChoice = TOOL_CHOICE_AUTO
    system: str = ""
    model_id: str = ""
    conversation_id: str = ""
    cache: bool = False
    compact_at: int = 0
    deadline: float = float("inf")
    retractable: Retractable = "nothing"
    retries: bool = True
    failed: set[str] = msgspec.field(default_factory=set)


@runtime_checkable
class Provider(Protocol):
    """A model provider: streams one model turn for each request. One object serves all conversations of the process.

    It may also have an async method `check_ready` without arguments, for `/readyz`: it raises anything if the model
    cannot be asked at the moment, and must cost no tokens.
    """

    name: str
    """The provider's name, as written in MODEL_PROVIDER."""

    takes_image_urls: bool
    """Whether an image may be sent as a URL, which the provider then fetches."""

    def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one model turn.

        Yields:
            Batches, never empty, of all events that one socket read completed. Adjacent text of one read is merged into
            one TextDelta. The last event of the last batch is a TurnEnded.

        Raises:
            ModelError: The turn failed; the subclass says how. Raised before the first batch, it has already been
                retried if that made sense. Raised later, the events so far stay valid, and a call without its
                ToolCallReady must not be run.

        Cancellation:
            `aclose()`, or cancelling the reading task, closes the upstream response at once.
        """


def capabilities_of(provider: Provider) -> Callable[[str], Capabilities]:
    """What the models of a provider take, by their ids as in `ModelRequest`: its `capabilities`, kept once it is known.

    A provider without such a function has the least.
    """

    def least(_: str) -> Capabilities:
        return Capabilities(image_urls=provider.takes_image_urls)

    return functools.cache(getattr(provider, "capabilities", least))


def model_name(provider: Provider, request: ModelRequest) -> str:
    """The model of a request, as `TurnEnded` names it: that of a provider's `model_of`, if it has such a function."""
    named: Callable[[ModelRequest], str] | None = getattr(provider, "model_of", None)
    return named(request) if named else f"{provider.name}:{request.model_id}"


def model_names(provider: Provider, request: ModelRequest) -> Sequence[str]:
    """All models that may be asked for it: those of a provider's `models_of`, if it has such a function."""
    named: Callable[[ModelRequest], Sequence[str]] | None = getattr(provider, "models_of", None)
    return named(request) if named else [model_name(provider, request)]
