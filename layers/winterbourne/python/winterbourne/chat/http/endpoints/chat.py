"""Chat endpoint: decodes a request in a wire format, runs the conversation and streams its frames.

Orchestrates only: independent of the wire format, the model's vendor and the storage backend.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.conversation import Conversation, Tools
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.core.provider import Provider
from winterbourne.chat.core.request_checks import check_request
from winterbourne.chat.core.supervisor import EventWriter, supervise
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.http.request import invalid_shape
from winterbourne.chat.http.service import RequestContext
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals

__all__ = ["ChatEndpoint"]

USAGE_WRITE_TIMEOUT_S: Final = 1.0
"""A slow store must not hold back a finished answer: the client waits for the end of the response."""

Save: TypeAlias = Callable[[Message], None]
"""Saves a message of the conversation."""

_LOGGER: Final = logging.getLogger(__name__)


class ChatEndpoint(msgspec.Struct, frozen=True):
    """Answers chat requests.

    Attributes:
        settings: Limits and timeouts.
        provider: The model provider.
        tools: The tools the model may call.
        conversations: Stores the conversations.
        rate_limiter: Enforces each caller's limits.
        stop_signals: Delivers stop requests.
    """

    settings: Settings
    provider: Provider
    tools: Tools
    conversations: ConversationStore
    rate_limiter: RateLimiter
    stop_signals: StopSignals

    async def handle(self, wire_format: Format, context: RequestContext) -> None:
        """Answer one chat request in the given wire format.

        Raises:
            RequestRejected: The body is invalid, the caller's limit is exceeded, or another request is running in
                this conversation; the model was not called.

        Cancellation:
            Emits ConversationStopped; messages so far are still saved and usage is still recorded.
        """
        settings, provider = self.settings, self.provider
        body = context.request.json_object(settings.request)
        try:
            decoded, encoder = wire_format.decode(body)
        except msgspec.ValidationError as error:
            raise invalid_shape(error) from None
        request = check_request(
            decoded, settings.request, settings.model, self.tools.schemas, takes_image_urls=provider.takes_image_urls
        )
        conversation_id = request.conversation_id or f"c_{uuid.uuid4().hex}"
        message_id = request.message_id or f"m_{uuid.uuid4().hex}"
        request = msgspec.structs.replace(request, conversation_id=conversation_id, message_id=message_id)
        if settings.limits.limit_requests_per_minute or settings.limits.limit_tokens_per_day:
            await self.rate_limiter.check(context.caller.id)
        fields = context.record.fields
        fields.update(conversation_id=conversation_id, model=provider.name, model_id=request.model_id or "")
        usages: list[Usage] = []
        try:
            if request.store:
                async with self.conversations.open(context.caller.id, request) as stored:
                    request = msgspec.structs.replace(request, messages=stored.messages)
                    await self._run_conversation(request, stored.append, encoder, context, usages)
            else:
                await self._run_conversation(request, None, encoder, context, usages)
        finally:  # by now the terminal event has been sent
            if settings.limits.limit_tokens_per_day:
                await self._record_usage(context.caller, sum(used.input + used.output for used in usages))

    async def _run_conversation(
        self, request: ChatRequest, append: Save | None, encoder: Encoder, context: RequestContext, usages: list[Usage]
    ) -> None:
        """Run the conversation under supervision; append each turn's usage to `usages`, even if a later turn fails."""
        settings, caller_id, invocation = self.settings.stream, context.caller.id, context.lambda_context
        remaining_s = invocation.get_remaining_time_in_millis() / 1000 - settings.deadline_margin
        deadline = asyncio.get_running_loop().time() + remaining_s
        context.stream.start_on_write(encoder)  # the status of a non-streaming answer is only known then
        writer = EventWriter(encoder.encode, context.stream.write, encoder.heartbeat)
        conversation = Conversation(
            request=request,
            provider=self.provider,
            tools=self.tools,
            emit=writer.emit,
            on_usage=usages.append,
            on_message=_log_messages(request, append, context.record) if self.settings.log.log_messages else append,
            max_turns=settings.max_turns,
            deadline=deadline,
            request_id=invocation.aws_request_id,
            caller_id=caller_id,
            log_fields=context.record.fields,
            called_tools=context.record.tools,
        )
        received_ms = context.request.received_ms
        stopped = partial(self.stop_signals.wait, caller_id, request.conversation_id, received_ms)
        interval_s = settings.heartbeat_interval
        try:
            await supervise(
                conversation.run(), writer, wait_for_stop=stopped, deadline=deadline, heartbeat_interval_s=interval_s
            )
        finally:  # the sum of all turns
            input_tokens, output_tokens = sum(used.input for used in usages), sum(used.output for used in usages)
            context.record.fields.update(turns=len(usages), input_tokens=input_tokens, output_tokens=output_tokens)
            context.record.measurements += [("InputTokens", input_tokens, ""), ("OutputTokens", output_tokens, "")]

    async def _record_usage(self, caller: Caller, tokens: int) -> None:
        try:
            async with asyncio.timeout(USAGE_WRITE_TIMEOUT_S):
                await self.rate_limiter.record_usage(caller.id, tokens)
        except (StorageUnavailable, TimeoutError):
            _LOGGER.warning("%d tokens used by %s were not counted", tokens, caller.name)


def _log_messages(request: ChatRequest, append: Save | None, record: telemetry.RequestRecord) -> Save:
    """Add the request's own message to its log line; the result does so with each new one, and saves it."""
    logged = record.fields["messages"] = [msgspec.to_builtins(message) for message in request.messages[-1:]]

    def on_message(message: Message) -> None:
        logged.append(msgspec.to_builtins(message))
        if append:
            append(message)

    return on_message
