"""Keeps a conversation within its model's window: has its oldest turns summarised before a turn would be too long.

What is summarised, and what is sent instead, is decided in `core.compaction`. Both are imported with the first
conversation that may be long.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.compaction import (
    LEFT_OUT,
    MAX_SUMMARY_TOKENS,
    choose_cut,
    compact,
    prefix_digests,
    summarise,
    summary_request,
)
from winterbourne.chat.core.completion import complete
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.history import native_start
from winterbourne.chat.core.messages import Message, Summary
from winterbourne.chat.core.provider import ModelRequest, Provider
from winterbourne.chat.core.usage import estimate_input, estimate_tokens
from winterbourne.chat.errors import ChatError, ModelInputTooLong
from winterbourne.chat.storage.conversations import OpenConversation

__all__ = ["Compaction", "Compactor", "Reserve"]

_LOGGER: Final = logging.getLogger(__name__)

FULL: Final = 0.8
"""The part of a model's window from which on a conversation is compacted."""

ROOMY: Final = 0.4
"""The part that it takes after that: compacted rarely and much, as a provider caches only what stays the same."""

Reserve: TypeAlias = Callable[[ModelRequest], Awaitable[None]]
"""Reserves the tokens for a request to a model."""

MAX_SUMMARIES: Final = 256
MAX_SUMMARY_S: Final = 120.0
SUMMARY_EXCESS: Final = 2
"""How many times the tokens that it was asked for a summary may have: some servers do not know such a limit."""

MAX_SCALE: Final = 2.0
"""The most that an estimate is multiplied by, however oddly a provider counts."""


class Compaction(msgspec.Struct, frozen=True):
    """What the process knows of all conversations.

    Attributes:
        provider: Asks the models.
        capabilities_of: What its models take, by their ids.
        price: Gives a usage its cost, by the model's name as in `TurnEnded`.
        model_id: The model that summarises; empty for the conversation's own.
        max_tokens: The most tokens that a model may be asked for.
        summaries: The latest summaries by their digests, since not every conversation is kept.
        windows: By model, the windows that refusals have told.
        scales: By model, how many tokens its provider counts for one that is estimated.
    """

    provider: Provider
    capabilities_of: Callable[[str], Capabilities]
    price: Callable[[str, Usage], Usage]
    model_id: str
    max_tokens: int
    summaries: dict[str, Summary] = {}
    windows: dict[str, int] = {}
    scales: dict[str, float] = {}

    def of_request(self, usages: list[Usage], log: OpenConversation | None, reserve: Reserve | None) -> "Compactor":
        """What keeps the turns of one request within the window: see `Compactor`."""
        return Compactor(self, usages, log, reserve)

    def room(self, model_id: str, answer_tokens: int, told: int = 0) -> int:
        """How many tokens a model can be sent, if it may answer with so many; one with a window of `told`, if known."""
        window = self.windows.get(model_id) or self.capabilities_of(model_id).window
        window = min(window, told or window)
        return max(window - answer_tokens, window // 2)

    def remember(self, summary: Summary) -> None:
        """Keep a summary, and not too many of them."""
        self.summaries[summary.digest] = summary
        if len(self.summaries) > MAX_SUMMARIES:
            del self.summaries[next(iter(self.summaries))]

    def learn_window(self, model_id: str, refusal: ModelInputTooLong) -> None:
        """Keep the model's window if it is smaller than was thought."""
        if not refusal.is_fallbacks and 0 < refusal.window < self.room(model_id, 0):
            self.windows[model_id] = refusal.window
            text = "the model's window has %d tokens only: conversations are compacted for that"
            _LOGGER.warning(text, refusal.window)


class Compactor(msgspec.Struct):
    """Keeps the turns of one request within the model's window.

    Attributes:
        chat: What is known of all conversations.
        usages: Those of the request's turns; summaries add theirs.
        log: The conversation, if it is kept; it keeps the summary.
        reserve: None without a limit.
        estimate: The tokens of the latest turn, until they have been compared with what the provider counts.
    """

    chat: Compaction
    usages: list[Usage]
    log: OpenConversation | None = None
    reserve: Reserve | None = None
    estimate: int = 0
    _model_id: str = ""
    _turn: int = 0  # how many usages there were before the latest turn
    _has_failed: bool = False

    async def fit(
        self, request: ModelRequest, refusal: ModelInputTooLong | None = None
    ) -> tuple[ModelRequest, Sequence[Usage]]:
        """The request for a turn as it can be sent, and the usages of the summaries that were needed for it.

        A provider that summarises by itself is told when, if its summary can be kept with the conversation. A summary
        that fails is replaced by a note.

        Args:
            request: With the whole history, normalized.
            refusal: Why the provider has refused it as it was sent first; None if it was not.

        Raises:
            ModelInputTooLong: The refusal, if there is nothing to summarise.

        Cancellation:
            The model is asked no more.
        """
        chat, model_id = self.chat, request.model_id
        self.learn_scale()
        self._model_id, before = model_id, len(self.usages)
        if refusal:
            chat.learn_window(model_id, refusal)
        told = refusal.window if refusal else 0
        room = chat.room(model_id, request.max_tokens or chat.max_tokens, told)
        is_native = bool(self.log and not refusal and chat.capabilities_of(model_id).compacts)
        cut, summary = self._known(request.messages)
        sent = _compacted(request, cut, summary)
        size = self._tokens(sent, sent.messages[native_start(sent.messages) :])  # what the model reads
        if refusal:  # which may not say what would fit
            room = min(room, int(size if 0 < told < size else size / 2))
        if refusal or size > (room if is_native else FULL * room):
            new = self._cut(request, ROOMY * room, cut)
            if refusal and new == cut:
                raise refusal
            if new > cut:
                summary = await self._summarise(request, cut, new, summary, room)
                sent = _compacted(request, new, summary)
        self._turn, self.estimate = len(self.usages), estimate_input(sent)
        sent = msgspec.structs.replace(sent, compact_at=int(FULL * room) if is_native else 0)
        return sent, self.usages[before:]

    def learn_scale(self) -> None:
        """Compare the estimate of the latest turn with what its provider has counted."""
        counted = self.usages[self._turn].input if len(self.usages) > self._turn else self.estimate
        if self.estimate and counted != self.estimate:  # else it is an estimate itself
            self.chat.scales[self._model_id] = min(max(1.0, counted / self.estimate), MAX_SCALE)
        self.estimate = 0

    def _known(self, messages: Sequence[Message]) -> tuple[int, Summary | None]:
        """How many messages a known summary stands for, and that; the longest that fits."""
        known = self.chat.summaries
        if self.log and self.log.summary:
            known = {**known, self.log.summary.digest: self.log.summary}
        digests = prefix_digests(messages[:-1]) if known else []  # the last one is what is to be answered
        return next(((at + 1, known[one]) for at, one in reversed([*enumerate(digests)]) if one in known), (0, None))

    def _cut(self, request: ModelRequest, room: float, start: int) -> int:
        overhead = self._tokens(request, ()) + self._summary_tokens(room / ROOMY)
        return choose_cut(request.messages, room - overhead, start, self._scale(request.model_id))

    def _tokens(self, request: ModelRequest, messages: Sequence[Message]) -> float:
        """Those of the request with these messages, as its provider counts them, as far as that is known."""
        estimate = estimate_input(msgspec.structs.replace(request, messages=tuple(messages)))
        return self._scale(request.model_id) * estimate

    def _scale(self, model_id: str) -> float:
        return self.chat.scales.get(model_id, 1.0)

    def _summary_tokens(self, room: float) -> int:
        return max(1, min(self.chat.max_tokens, MAX_SUMMARY_TOKENS, int(room / 8)))

    async def _summarise(
        self, request: ModelRequest, cut: int, new: int, before: Summary | None, room: float
    ) -> Summary:
        """The summary of the first `new` messages: from that of the first `cut`, and what has been said since."""
        earlier = before.text if before else ""
        model_id = self.chat.model_id or request.model_id
        tokens = self._summary_tokens(room)
        now = asyncio.get_running_loop().time()
        until = min(now + MAX_SUMMARY_S, (now + request.deadline) / 2)  # the answer needs time as well
        room = room if model_id == request.model_id else self.chat.room(model_id, tokens)
        room *= FULL / self._scale(model_id)
        asked = summary_request(request.messages[cut:new], earlier, model_id, tokens, room, until)
        if text := "" if self._has_failed else await self._ask(asked, until):
            made = summarise(request.messages, new, text)
            self.chat.remember(made)
            if self.log:
                self.log.keep_summary(made)
            return made
        self._has_failed = True
        return summarise(request.messages, new, "\n\n".join(filter(None, (earlier, LEFT_OUT))))

    async def _ask(self, asked: ModelRequest, until: float) -> str:
        """The text that the model writes; empty if it fails: the answer does not."""
        try:
            async with asyncio.timeout_at(until):
                if self.reserve:
                    await self.reserve(asked)
                text, reason = await complete(self.chat.provider, asked, self.usages.append, self.chat.price)
        except (ChatError, TimeoutError) as error:
            if isinstance(error, ModelInputTooLong):
                self.chat.learn_window(asked.model_id, error)
            _LOGGER.warning("a long conversation could not be summarised: %s", str(error) or "it took too long")
            return ""
        text = text.strip() if reason in {"stop", "max_tokens"} else ""
        return text[: int(len(text) * SUMMARY_EXCESS * (asked.max_tokens or 1) / max(1, estimate_tokens(text)))]


def _compacted(request: ModelRequest, cut: int, summary: Summary | None) -> ModelRequest:
    messages = compact(request.messages, cut, summary) if summary else request.messages
    return msgspec.structs.replace(request, messages=messages)
