"""The chat endpoints: a request body in a wire format → a conversation → its frames.

Knows the order of things, nothing of formats, vendors and stores.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from winterbourne import Response, ResponseStream
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.conversation import Conversation, Tools
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.core.options import within_limits
from winterbourne.chat.core.supervisor import Outlet, pump
from winterbourne.chat.errors import StoreUnavailable
from winterbourne.chat.formats.base import Encoder, Frontend
from winterbourne.chat.http.service import Call
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers.base import Model
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import Conversations, Record
from winterbourne.chat.storage.rate_limits import Limits
from winterbourne.chat.storage.stop_signals import Stops

__all__ = ["Answer"]

BOOK_TIMEOUT_S: Final = 1.0
"""A store that is slow must not hold an answer that is over: the client waits for the end of the response."""

_LOGGER: Final = logging.getLogger(__name__)


class Answer:
    """Answers chats.

    Args:
        settings: Limits and times.
        model: Who answers.
        tools: What the model may use.
        conversations: Where they are kept.
        limits: What a caller may use.
        stops: Where requests to stop are heard.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        tools: Tools,
        conversations: Conversations,
        limits: Limits,
        stops: Stops,
    ) -> None:
        self._settings = settings
        self._model = model
        self._tools = tools
        self._conversations = conversations
        self._limits = limits
        self._stops = stops

    async def chat(self, frontend: Frontend, call: Call) -> None:
        """Answer one chat in one wire format.

        Raises:
            RequestRejected: The body cannot be answered, the caller has used what they may, or another request runs in
                this conversation; the model was not asked.

        Cancellation:
            Says that the stream was stopped; what was said is still written and what was used still booked.
        """
        read, encoder = frontend.read(call.request, self._settings)
        takes_urls = self._model.takes_image_urls
        asked = _named(within_limits(read, self._settings, self._tools.schemas, takes_image_urls=takes_urls))
        await self._limits.check(call.caller)
        telemetry.note(conversation_id=asked.conversation_id, model=self._model.name, model_id=asked.model_id or "")
        async with self._booked(call.caller) as spent, self._conversations.open(call.caller, asked) as record:
            outlet = Outlet(encoder, _begin_and_write(encoder, call.stream), encoder.heartbeat)
            await self._converse(asked, self._overheard(record), outlet, call, spent)

    # Private methods

    async def _converse(
        self, asked: ChatRequest, record: Record, outlet: Outlet, call: Call, spent: list[Usage]
    ) -> None:
        """Hold the conversation; what each turn used of the model goes into `spent`, also where it broke."""
        time_s = call.context.get_remaining_time_in_millis() / 1000 - self._settings.deadline_margin
        deadline = asyncio.get_running_loop().time() + time_s
        talk = Conversation(
            request=msgspec.structs.replace(asked, messages=record.messages),
            model=self._model,
            tools=self._tools,
            emit=outlet.emit,
            keep=record.append,
            spend=spent.append,
            max_turns=self._settings.max_turns,
            deadline=deadline,
            request_id=call.context.aws_request_id,
            caller=call.caller.id,
        )
        stopped = partial(self._stops.wait, call.caller, asked.conversation_id, call.request.received_ms)
        beat_s = self._settings.heartbeat_interval
        try:
            await pump(talk.run(), outlet, stopped=stopped, deadline=deadline, heartbeat_interval_s=beat_s)
        finally:
            _tell(spent)

    def _overheard(self, record: Record) -> Record:
        """The same record; where LOG_MESSAGES says so, what is said goes into the log line too."""
        if not self._settings.log_messages:
            return record
        said = [msgspec.to_builtins(message) for message in record.messages[-1:]]
        telemetry.note(messages=said)

        def append(message: Message) -> None:
            said.append(msgspec.to_builtins(message))
            record.append(message)

        return msgspec.structs.replace(record, append=append)

    @contextlib.asynccontextmanager
    async def _booked(self, caller: Caller) -> AsyncIterator[list[Usage]]:
        """Count what the block used, however it is left: its last word is said by then."""
        spent: list[Usage] = []
        try:
            yield spent
        finally:
            await self._book(caller, sum(used.input + used.output for used in spent))

    async def _book(self, caller: Caller, tokens: int) -> None:
        try:
            async with asyncio.timeout(BOOK_TIMEOUT_S):
                await self._limits.spend(caller, tokens)
        except (StoreUnavailable, TimeoutError):
            _LOGGER.warning("%d tokens of %s were not counted", tokens, caller.name)


def _named(asked: ChatRequest) -> ChatRequest:
    """With ids where the caller gave none."""
    return msgspec.structs.replace(
        asked,
        conversation_id=asked.conversation_id or f"c_{uuid.uuid4().hex}",
        message_id=asked.message_id or f"m_{uuid.uuid4().hex}",
    )


def _tell(spent: list[Usage]) -> None:
    """The sum of all turns goes into the log and the metrics too."""
    used = sum(spent, Usage())
    telemetry.note(turns=len(spent), input_tokens=used.input, output_tokens=used.output)
    telemetry.measure("InputTokens", used.input)
    telemetry.measure("OutputTokens", used.output)


def _begin_and_write(encoder: Encoder, stream: ResponseStream) -> Callable[[bytes], Awaitable[None]]:
    """The response begins with its first bytes: an answer in one piece has its status only then."""

    async def write(data: bytes) -> None:
        if not stream.started:
            await stream.start(Response(encoder.status, dict(encoder.headers)))
        await stream.write(data)

    return write
