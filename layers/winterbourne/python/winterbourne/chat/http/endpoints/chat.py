"""Chat endpoint: decodes a request in a wire format, runs the conversation and streams its frames.

Orchestrates only: independent of the wire format, the model's vendor and the storage backend.
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
from winterbourne.chat.core.request_checks import check_request
from winterbourne.chat.core.supervisor import EventWriter, supervise
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.http.service import RequestContext
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers.base import Provider
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals

__all__ = ["ChatEndpoint"]

USAGE_WRITE_TIMEOUT_S: Final = 1.0
"""A slow store must not hold back a finished answer: the client waits for the end of the response."""

_LOGGER: Final = logging.getLogger(__name__)


class ChatEndpoint:
    """Answers chat requests.

    Args:
        settings: Limits and timeouts.
        provider: The model provider.
        tools: The tools the model may call.
        conversations: Stores the conversations.
        rate_limiter: Enforces each caller's limits.
        stop_signals: Delivers stop requests.
    """

    def __init__(
        self,
        settings: Settings,
        provider: Provider,
        tools: Tools,
        conversations: ConversationStore,
        rate_limiter: RateLimiter,
        stop_signals: StopSignals,
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._tools = tools
        self._conversations = conversations
        self._rate_limiter = rate_limiter
        self._stop_signals = stop_signals

    async def handle(self, wire_format: Format, context: RequestContext) -> None:
        """Answer one chat request in the given wire format.

        Raises:
            RequestRejected: The body is invalid, the caller's limit is exceeded, or another request is running in
                this conversation; the model was not called.

        Cancellation:
            Emits ConversationStopped; messages so far are still saved and usage is still recorded.
        """
        settings = self._settings
        decoded, encoder = wire_format.decode(context.request.json_object(settings.request))
        takes_image_urls = self._provider.takes_image_urls
        request = _with_ids(
            check_request(
                decoded, settings.request, settings.model, self._tools.schemas, takes_image_urls=takes_image_urls
            )
        )
        await self._rate_limiter.check(context.caller)
        telemetry.note(
            conversation_id=request.conversation_id, model=self._provider.name, model_id=request.model_id or ""
        )
        async with (
            self._recording_usage(context.caller) as usages,
            self._conversations.open(context.caller, request) as open_conversation,
        ):
            writer = EventWriter(encoder, _start_on_first_write(encoder, context.stream), encoder.heartbeat)
            await self._run_conversation(
                request, self._with_message_logging(open_conversation), writer, context, usages
            )

    async def _run_conversation(
        self,
        request: ChatRequest,
        open_conversation: OpenConversation,
        writer: EventWriter,
        context: RequestContext,
        usages: list[Usage],
    ) -> None:
        """Run the conversation under supervision; append each turn's usage to `usages`, even if a later turn fails."""
        remaining_s = (
            context.lambda_context.get_remaining_time_in_millis() / 1000 - self._settings.stream.deadline_margin
        )
        deadline = asyncio.get_running_loop().time() + remaining_s
        conversation = Conversation(
            request=msgspec.structs.replace(request, messages=open_conversation.messages),
            provider=self._provider,
            tools=self._tools,
            emit=writer.emit,
            on_message=open_conversation.append,
            on_usage=usages.append,
            max_turns=self._settings.stream.max_turns,
            deadline=deadline,
            request_id=context.lambda_context.aws_request_id,
            caller_id=context.caller.id,
        )
        wait_for_stop = partial(
            self._stop_signals.wait, context.caller, request.conversation_id, context.request.received_ms
        )
        heartbeat_interval_s = self._settings.stream.heartbeat_interval
        try:
            await supervise(
                conversation.run(),
                writer,
                wait_for_stop=wait_for_stop,
                deadline=deadline,
                heartbeat_interval_s=heartbeat_interval_s,
            )
        finally:
            _report_usage(usages)

    def _with_message_logging(self, open_conversation: OpenConversation) -> OpenConversation:
        """With LOG_MESSAGES set, a copy that also adds the new messages to the request's log line."""
        if not self._settings.log.log_messages:
            return open_conversation
        logged_messages = [msgspec.to_builtins(message) for message in open_conversation.messages[-1:]]
        telemetry.note(messages=logged_messages)

        def append(message: Message) -> None:
            logged_messages.append(msgspec.to_builtins(message))
            open_conversation.append(message)

        return msgspec.structs.replace(open_conversation, append=append)

    @contextlib.asynccontextmanager
    async def _recording_usage(self, caller: Caller) -> AsyncIterator[list[Usage]]:
        """Record the block's usage however it ends; by then the terminal event has been sent."""
        usages: list[Usage] = []
        try:
            yield usages
        finally:
            await self._record_usage(caller, sum(used.input + used.output for used in usages))

    async def _record_usage(self, caller: Caller, tokens: int) -> None:
        try:
            async with asyncio.timeout(USAGE_WRITE_TIMEOUT_S):
                await self._rate_limiter.record_usage(caller, tokens)
        except (StorageUnavailable, TimeoutError):
            _LOGGER.warning("%d tokens used by %s were not counted", tokens, caller.name)


def _with_ids(request: ChatRequest) -> ChatRequest:
    """Generate the conversation and message ids that the caller left out."""
    return msgspec.structs.replace(
        request,
        conversation_id=request.conversation_id or f"c_{uuid.uuid4().hex}",
        message_id=request.message_id or f"m_{uuid.uuid4().hex}",
    )


def _report_usage(usages: list[Usage]) -> None:
    """Add the sum of all turns to the log line and the metrics."""
    total = sum(usages, Usage())
    telemetry.note(turns=len(usages), input_tokens=total.input, output_tokens=total.output)
    telemetry.measure("InputTokens", total.input)
    telemetry.measure("OutputTokens", total.output)


def _start_on_first_write(encoder: Encoder, stream: ResponseStream) -> Callable[[bytes], Awaitable[None]]:
    """Start the response with its first bytes: the status of a non-streaming response is only known then."""

    async def write(data: bytes) -> None:
        if not stream.started:
            await stream.start(Response(encoder.status, dict(encoder.headers)))
        await stream.write(data)

    return write
