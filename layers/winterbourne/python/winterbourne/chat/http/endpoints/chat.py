"""Chat endpoint: decodes a request in a wire format, runs the conversation and streams its frames.

Orchestrates only: independent of the wire format, the model's vendor and the storage backend.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from functools import cache, partial, reduce
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

import msgspec

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.conversation import Conversation, add_usage
from winterbourne.chat.core.documents import fit_documents
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    ChatRequest,
    Document,
    Message,
    ReasoningEffort,
    UserMessage,
    without_opaque_data,
)
from winterbourne.chat.core.provider import ModelRequest, Provider, model_name
from winterbourne.chat.core.request_checks import check_request, with_limited_media
from winterbourne.chat.core.supervisor import EventWriter, supervise
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.http.endpoints.streams import StreamEndpoint
from winterbourne.chat.http.request import invalid_shape
from winterbourne.chat.http.service import RequestContext
from winterbourne.chat.http.titles import Titles, is_answer
from winterbourne.chat.http.usage_meter import TOKEN_METRICS, UsageMeter
from winterbourne.chat.infra import telemetry
from winterbourne.chat.infra.tracing import NO_SPAN, SPAN
from winterbourne.chat.settings import ModelSettings, RequestSettings, StreamSettings
from winterbourne.chat.storage.base import WAIT_TIMEOUT_S, time_limit
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals
from winterbourne.chat.storage.stream_log import LoggedAnswer
from winterbourne.errors import ErrorReport, RuntimeFault

if TYPE_CHECKING:
    from winterbourne.chat.http.compaction import Compaction

__all__ = ["ChatEndpoint"]

Save: TypeAlias = Callable[[Message], None]
"""Saves a message of the conversation."""

Log: TypeAlias = OpenConversation | LoggedAnswer
"""Where an answer is logged."""

_LOGGER: Final = logging.getLogger(__name__)


class ChatEndpoint(msgspec.Struct, frozen=True):
    """Answers chat requests.

    Attributes:
        request_settings: The limits of a request.
        model_settings: Which models and options may be chosen.
        stream_settings: Timeouts, and how many turns the model may take.
        log_messages: Whether the log may contain what is said.
        provider: The model provider.
        capabilities_of: What its models take, by their ids.
        tools: The tools the model may call.
        conversations: Stores the conversations.
        rate_limiter: Enforces each caller's limits.
        prices: What models cost.
        stop_signals: Delivers stop requests.
        streams: Sends an answer again to a client that reconnects.
        compaction: What keeps conversations within their models' windows, made on first use; None for nothing.
        titles: Names the conversations; None if their titles are the beginnings of their first questions.
        context: What the model is told in each request, after all that is cached; a function of the caller's id.
    """

    request_settings: RequestSettings
    model_settings: ModelSettings
    stream_settings: StreamSettings
    log_messages: bool
    provider: Provider
    capabilities_of: Callable[[str], Capabilities]
    tools: Tools
    conversations: ConversationStore
    rate_limiter: RateLimiter
    prices: Prices
    stop_signals: StopSignals
    streams: StreamEndpoint
    compaction: "Callable[[], Compaction] | None" = None
    titles: Titles | None = None
    context: Callable[[str], str] | None = None

    async def handle(self, wire_format: Format, context: RequestContext) -> None:
        """Answer one chat request in the given wire format.

        Raises:
            RequestRejected: The body is invalid, the caller's limit is exceeded, or another request is running in
                this conversation; the model was not called.

        Cancellation:
            Emits ConversationStopped; messages so far are still saved and usage is still recorded.
        """
        request, encoder = await self._read(wire_format, context)
        if request.reconnects:
            context.record.is_chat = False
            async with time_limit():
                await self.rate_limiter.count_request(context.caller.id, is_chat=False)
            await self.streams.reconnect(wire_format, encoder, request.conversation_id, context)
            return
        is_logged = request.store or bool(request.conversation_id)
        conversation_id = request.conversation_id or f"c_{uuid.uuid4().hex}"
        message_id = request.message_id or f"m_{uuid.uuid4().hex}"
        told = "\n\n".join(filter(None, (self.context and self.context(context.caller.id), request.context)))
        request = msgspec.structs.replace(request, conversation_id=conversation_id, message_id=message_id, context=told)
        log = self._open_log(request, context) if is_logged else None
        is_durable = isinstance(log, OpenConversation) or (is_logged and self.conversations.is_shared)
        on_disconnect = self.stream_settings.on_disconnect
        context.stream.outlives_reader = {"run": True, "cancel": False}.get(on_disconnect, is_durable)
        limiter = self.rate_limiter
        reservation = limiter.reservation(context.caller.id) if limiter.is_needed else None
        meter = UsageMeter(self.provider, self.prices, reservation)
        if meter.reservation:
            context.after_response.append(partial(_settle, meter, context.caller))
        model = {"model": self.provider.name, "model_id": request.model_id or ""}
        context.record.fields.update(conversation_id=conversation_id, **model)
        if limiter.is_needed or isinstance(log, OpenConversation):
            request = await self._admit(request, log, meter, context)
        await self._run_conversation(request, log, encoder, context, meter)

    async def _read(self, wire_format: Format, context: RequestContext) -> tuple[ChatRequest, Encoder]:
        """The request, decoded and checked, and what encodes its answer."""
        limits = self.request_settings
        body = await context.request.json_object(limits)
        try:
            decoded, encoder = wire_format.decode(body)
        except msgspec.ValidationError as error:
            raise invalid_shape(error, get_args(ReasoningEffort)) from None
        if decoded.reconnects:
            return decoded, encoder
        request = check_request(
            decoded,
            limits,
            self.model_settings,
            self.tools.schemas,
            self.capabilities_of,
            field_of=wire_format.field_of,
            limits_tokens=wire_format.limits_tokens,
        )
        return request, encoder

    def _open_log(self, request: ChatRequest, context: RequestContext) -> Log:
        """The log of the answer: its conversation if that is kept."""
        is_kept = request.store or self.conversations.keeps_all
        log = (self.conversations if is_kept else self.conversations.logs).open(context.caller.id, request)
        context.after_response.append(log.close)
        return log

    async def _admit(
        self, request: ChatRequest, log: Log | None, meter: UsageMeter, context: RequestContext
    ) -> ChatRequest:
        """All of the store that the first byte waits for: limits, and the messages of a kept conversation."""
        remaining_s = self._deadline(context) - asyncio.get_running_loop().time()
        async with time_limit(min(WAIT_TIMEOUT_S, remaining_s)):
            await self.rate_limiter.count_request(context.caller.id)
            await meter.reserve(self._first_turn(request))
            if not isinstance(log, OpenConversation):
                return request
            await log.start()
            capabilities = self.capabilities_of(request.model_id or "")
            messages = with_limited_media(log.messages, self.request_settings, capabilities)
            return msgspec.structs.replace(request, messages=messages)

    def _with_fitting_documents(self, request: ChatRequest) -> ChatRequest:
        """A provider need not know documents; they are kept as they are."""
        users = (message.parts for message in request.messages if isinstance(message, UserMessage))
        if not any(isinstance(part, Document) for parts in users for part in parts):
            return request
        messages = fit_documents(request.messages, self.capabilities_of(request.model_id or ""))
        return msgspec.structs.replace(request, messages=messages)

    def _first_turn(self, request: ChatRequest) -> ModelRequest:
        """What the model is sent first, without the messages of a stored conversation."""
        tools, limit = (*self.tools.schemas, *request.client_tools), request.max_tokens
        system, model_id = request.system or "", request.model_id or ""
        return ModelRequest(messages=request.messages, tools=tools, system=system, model_id=model_id, max_tokens=limit)

    def _deadline(self, context: RequestContext) -> float:
        """When the terminal event must be sent, on the event loop's clock."""
        return context.request.deadline - self.stream_settings.deadline_margin

    async def _run_conversation(
        self, request: ChatRequest, log: Log | None, encoder: Encoder, context: RequestContext, meter: UsageMeter
    ) -> None:
        """Run the conversation under supervision; the meter has each turn's usage, even if a later turn fails."""
        asked = self._with_fitting_documents(request)
        settings, caller_id, request_id = self.stream_settings, context.caller.id, context.request.request_id
        kept = log if isinstance(log, OpenConversation) else None
        append = kept.append if kept else lambda _: None
        if self.titles and kept and not any(map(is_answer, request.messages)):
            named = context.record.fields, caller_id, request.conversation_id
            context.background.append(partial(self.titles.name, *named))
        deadline = self._deadline(context)
        log_events = log.log if log else None
        lock, put = context.stream.lock, context.stream.put
        writer = EventWriter(encoder.encode, put, encoder.heartbeat, request_id, log_events, lock)
        # The status of a non-streaming answer is only known then.
        context.stream.start_on_write(encoder, writer.last_words)
        reserve = partial(_reserve, meter) if meter.reservation else None
        make = self.compaction
        compactor = cache(lambda: make().of_request(meter.usages, kept, reserve)) if make else None
        conversation = Conversation(
            request=asked,
            provider=self.provider,
            tools=self.tools,
            emit=writer.emit,
            on_usage=meter.usages.append,
            compact=(lambda *turn: compactor().fit(*turn)) if compactor else None,
            price=self.prices.priced,
            before_turn=reserve,
            on_message=_log_messages(request, append, context.record) if self.log_messages else append,
            max_turns=settings.max_turns,
            deadline=deadline,
            request_id=request_id,
            caller_id=caller_id,
            is_named=log is not None,
            log_fields=context.record.fields,
            called_tools=context.record.tools,
        )
        stopped = partial(self.stop_signals.wait, caller_id, request.conversation_id, context.request.received_ms)
        interval_s, span = settings.heartbeat_interval, SPAN.get()
        agent = (
            span.agent(model_name(self.provider, self._first_turn(request)), request.conversation_id) if span else None
        )
        try:
            with agent or NO_SPAN:
                run = conversation.run()
                watched = supervise(
                    run, writer, wait_for_stop=stopped, deadline=deadline, heartbeat_interval_s=interval_s
                )
                context.record.is_answered = await watched
            if settings.error_trailers and context.record.is_chat and (failure := writer.failure):
                # Of it no more than the client is told: Lambda tells whoever invokes.
                fault = RuntimeFault(f"Function.{failure.code}", failure.message)
                context.stream.failure = ErrorReport(fault, request_id)
        finally:
            if agent:
                agent.note_answer(reduce(add_usage, meter.usages, Usage(cost=0.0)), context.record.fields)
            if compactor and compactor.cache_info().currsize:  # one was needed
                compactor().learn_scale()
            for metric, name in TOKEN_METRICS:
                context.record.measurements.append((metric, sum(getattr(used, name) for used in meter.usages), ""))


async def _reserve(meter: UsageMeter, request: ModelRequest) -> None:
    """Reserve for the next turn. An answer that has begun is not broken off because the store is unavailable."""
    try:
        async with time_limit():
            await meter.reserve(request)
    except StorageUnavailable:
        _LOGGER.warning("no tokens could be reserved for the next turn")


async def _settle(meter: UsageMeter, caller: Caller, until: float) -> None:
    try:
        async with asyncio.timeout_at(until):
            await meter.settle()
    except (StorageUnavailable, TimeoutError):
        _LOGGER.warning("%d tokens used by %s were not counted", meter.used.tokens, caller.name)


def _log_messages(request: ChatRequest, append: Save, record: telemetry.RequestRecord) -> Save:
    """Add the request's own message to its log line; the result does so with each new one, and saves it."""
    last = map(without_opaque_data, request.messages[-1:])
    logged = record.fields["messages"] = [msgspec.to_builtins(message) for message in last]

    def on_message(message: Message) -> None:
        logged.append(msgspec.to_builtins(without_opaque_data(message)))
        append(message)

    return on_message
