"""Names kept conversations: asks a model for a title once the first answer has been sent and saved."""

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec

from winterbourne.chat.core.messages import AssistantMessage, Message
from winterbourne.chat.core.provider import ModelRequest, Provider
from winterbourne.chat.core.title import ask_for_title, title_request
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import RateLimitExceeded
from winterbourne.chat.http.usage_meter import TOKEN_METRICS, UsageMeter
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.storage.conversation_items import derive_title
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.rate_limits import RateLimiter

__all__ = ["Titles", "is_answer"]


class Titles(msgspec.Struct, frozen=True):
    """Names conversations, whose titles are the beginnings of their first questions until then.

    Attributes:
        provider: Asks the model.
        conversations: Stores the conversations.
        rate_limiter: Enforces each caller's limits.
        prices: What models cost.
        model_id: The model; empty for the provider's own choice.
        max_tokens: The most that it may be asked for.
    """

    provider: Provider
    conversations: ConversationStore
    rate_limiter: RateLimiter
    prices: Prices
    model_id: str
    max_tokens: int

    async def name(self, answer: Mapping[str, object], caller_id: str, conversation_id: str, until: float) -> None:
        """Name a conversation after its first answer, if that ended well and the user has not named it.

        Args:
            answer: The log fields of the request that was answered; what was said has been saved.
            caller_id: Whose conversation it is.
            conversation_id: Which one.
            until: When to give up, on the event loop's clock.

        Raises:
            ChatError: The model or the store failed. The title stays, as it does where the caller's limit is used up.
            TimeoutError: It took too long.
        """
        if answer.get("stop_reason") != "stop":
            return
        with contextlib.suppress(RateLimitExceeded):
            async with asyncio.timeout_at(until):
                summary, messages = await self.conversations.get(caller_id, conversation_id)
                asked = title_request(messages, self.model_id, self.max_tokens, until)
                if summary.title == derive_title(messages) and (title := await self._ask(asked, caller_id)):
                    await self.conversations.set_title(caller_id, conversation_id, title, if_title=summary.title)

    async def _ask(self, request: ModelRequest, caller_id: str) -> str:
        """The title. What it uses counts as the request's and its caller's, also if the model fails."""
        meter = UsageMeter(self.provider, self.prices, self.rate_limiter.reservation(caller_id))
        try:
            await meter.reserve(request)
            return await ask_for_title(self.provider, request, meter.usages.append, self.prices.priced)
        finally:
            for metric, name in TOKEN_METRICS:
                measure(metric, sum(getattr(used, name) for used in meter.usages))
            await meter.settle()


def is_answer(message: Message) -> bool:
    """Whether the message ends an answer: a turn that calls a tool does not."""
    return isinstance(message, AssistantMessage) and not (message.incomplete or message.tool_calls)
