"""The chat endpoints: a request body in a wire format → a conversation → its frames.

Knows the order of things, nothing of formats, vendors and stores.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from chat import telemetry
from chat.auth import Caller
from chat.conversation import Conversation, Tools
from chat.errors import StoreUnavailable
from chat.events import Usage
from chat.frontends.base import Encoder, Frontend
from chat.messages import ChatRequest, Message
from chat.models.base import Model
from chat.options import within_limits
from chat.pump import Outlet, pump
from chat.service import Call
from chat.settings import Settings
from chat.store.conversations import Conversations, Record
from chat.store.limits import Limits
from chat.store.stops import Stops
from winterbourne import Response, ResponseStream

__all__ = ["Answer"]

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
        """
        read, encoder = frontend.read(call.request, self._settings)
        takes_urls = self._model.takes_image_urls
        asked = _named(within_limits(read, self._settings, self._tools.schemas, takes_image_urls=takes_urls))
        await self._limits.check(call.caller)
        telemetry.note(conversation_id=asked.conversation_id, model=self._model.name, model_id=asked.model_id or "")
        async with self._conversations.open(call.caller, asked) as record:
            outlet = Outlet(encoder, _begin_and_write(encoder, call.stream), encoder.heartbeat)
            used = await self._converse(asked, self._overheard(record), outlet, call)
        await self._book(call.caller, used)

    # Private methods

    async def _converse(self, asked: ChatRequest, record: Record, outlet: Outlet, call: Call) -> Usage:
        """Hold the conversation; what it used of the model, also where it broke."""
        time_s = call.context.get_remaining_time_in_millis() / 1000 - self._settings.deadline_margin
        deadline = asyncio.get_running_loop().time() + time_s
        spent: list[Usage] = []
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
        await pump(
            talk.run(),
            outlet,
            stopped=partial(self._stops.wait, call.caller, asked.conversation_id, call.request.received_ms),
            deadline=deadline,
            heartbeat_interval_s=self._settings.heartbeat_interval,
        )
        return _told(spent)

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

    async def _book(self, caller: Caller, used: Usage) -> None:
        try:
            await self._limits.spend(caller, used.input + used.output)
        except StoreUnavailable:
            _LOGGER.warning("%d tokens of %s were not counted", used.input + used.output, caller.name)


def _named(asked: ChatRequest) -> ChatRequest:
    """With ids where the caller gave none."""
    return msgspec.structs.replace(
        asked,
        conversation_id=asked.conversation_id or f"c_{uuid.uuid4().hex}",
        message_id=asked.message_id or f"m_{uuid.uuid4().hex}",
    )


def _told(spent: list[Usage]) -> Usage:
    """The sum of all turns, which goes into the log and the metrics too."""
    used = sum(spent, Usage())
    telemetry.note(turns=len(spent), input_tokens=used.input, output_tokens=used.output)
    telemetry.measure("InputTokens", used.input)
    telemetry.measure("OutputTokens", used.output)
    return used


def _begin_and_write(encoder: Encoder, stream: ResponseStream) -> Callable[[bytes], Awaitable[None]]:
    """The response begins with its first bytes: an answer in one piece has its status only then."""

    async def write(data: bytes) -> None:
        if not stream.started:
            await stream.start(Response(encoder.status, dict(encoder.headers)))
        await stream.write(data)

    return write
