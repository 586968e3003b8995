"""The chat endpoints: a request body in a wire format → a conversation → its frames.

Knows the order of things, nothing of formats, vendors and stores.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from chat import telemetry
from chat.conversation import Conversation, Tools
from chat.frontends.base import Encoder, Frontend
from chat.limits import Limits
from chat.messages import ChatRequest, Message
from chat.models.base import Model
from chat.options import within_limits
from chat.pump import Outlet, pump
from chat.service import Call, reply_json
from chat.settings import Settings
from chat.stops import Stops
from winterbourne import Response, ResponseStream

__all__ = ["Answer"]


class Answer:
    """Answers chats, and stops them.

    Args:
        settings: Limits and times.
        model: Who answers.
        tools: What the model may use.
        limits: What a caller may use.
        stops: Where requests to stop are heard.
    """

    def __init__(self, settings: Settings, model: Model, tools: Tools, limits: Limits, stops: Stops) -> None:
        self._settings = settings
        self._model = model
        self._tools = tools
        self._limits = limits
        self._stops = stops

    async def chat(self, frontend: Frontend, call: Call) -> None:
        """Answer one chat in one wire format.

        Raises:
            RequestRejected: The body cannot be answered, or the caller has used what they may; the model was not asked.
        """
        read, encoder = frontend.read(call.request, self._settings)
        asked = _named(within_limits(read, self._settings))
        await self._limits.check(call.caller)
        telemetry.note(conversation_id=asked.conversation_id, model=self._model.name)
        await self._converse(asked, encoder, call, lambda _: None)

    async def stop(self, call: Call) -> None:
        """Ask that the caller's conversation of this id stops; it ends within a second if it runs."""
        conversation_id = call.names["id"]
        await self._stops.request(call.caller, conversation_id)
        await reply_json(call.stream, {"conversation_id": conversation_id, "status": "stopping"}, status=202)

    # Private methods

    async def _converse(
        self, asked: ChatRequest, encoder: Encoder, call: Call, keep: Callable[[Message], None]
    ) -> None:
        outlet = Outlet(encoder, _begin_and_write(encoder, call.stream), encoder.heartbeat)
        time_s = call.context.get_remaining_time_in_millis() / 1000 - self._settings.deadline_margin
        deadline = asyncio.get_running_loop().time() + time_s
        talk = Conversation(
            request=asked,
            model=self._model,
            tools=self._tools,
            emit=outlet.emit,
            keep=keep,
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


def _named(asked: ChatRequest) -> ChatRequest:
    """With ids where the caller gave none."""
    return msgspec.structs.replace(
        asked,
        conversation_id=asked.conversation_id or f"c_{uuid.uuid4().hex}",
        message_id=asked.message_id or f"m_{uuid.uuid4().hex}",
    )


def _begin_and_write(encoder: Encoder, stream: ResponseStream) -> Callable[[bytes], Awaitable[None]]:
    """The response begins with its first bytes: an answer in one piece has its status only then."""

    async def write(data: bytes) -> None:
        if not stream.started:
            await stream.start(Response(encoder.status, dict(encoder.headers)))
        await stream.write(data)

    return write
