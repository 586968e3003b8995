"""The agent loop: ask the model, run the tools it calls, ask again with their results, until it has answered.

Events are pushed: `emit` puts them on the wire in the event loop iteration in which they arise. A tool starts as soon
as its call is complete, while the model is still streaming. Independent of wire formats, vendors and storage.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationStarted,
    Emit,
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    TurnEnded,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.messages import (
    TOOL_CHOICE_AUTO,
    AssistantMessage,
    AssistantPart,
    ChatRequest,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
)
from winterbourne.chat.core.usage import estimate_usage
from winterbourne.chat.errors import ModelError, ModelStreamTruncated
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers.base import ModelRequest, Provider

__all__ = ["Conversation", "Tools", "TurnToolCalls"]

TOOLS_DISABLED_MESSAGE: Final = "No tool is run for this request. Answer without tools."


class TurnToolCalls(Protocol):
    """The tool calls of one model turn. Leaving the block cancels the calls that still run and waits for them."""

    def start(self, call: ToolCall, /) -> None:
        """Start a call; it runs concurrently with the others."""

    def refuse(self, call: ToolCall, reason: str, /) -> None:
        """Do not run a call; its result is this error."""

    async def results(self) -> Sequence[ToolMessage]:
        """Wait for all calls: one result per call, in call order. Returns at once after the block has been left."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Tools(Protocol):
    """The conversation's interface to the tool runner."""

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """The tools as they are described to the model."""
        ...

    def turn(self, emit: Emit, /, *, deadline: float, request_id: str, caller_id: str) -> TurnToolCalls:
        """A group for the tool calls of one model turn; `deadline` is on the event loop's clock."""
        ...


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the agent loop: a chat request and what is needed to answer it. Not the stored conversation.

    Attributes:
        request: The caller's request; its options have been validated against the settings' limits.
        provider: Generates the model turns.
        tools: The tools the model may call.
        emit: Receives the events.
        on_message: Called with each complete message, and the incomplete one of a turn that failed. Must not block.
        on_usage: Called with the usage of each turn as soon as the provider reports it; with an estimate if the turn
            fails before that.
        max_turns: Maximum number of model turns.
        deadline: On the event loop's clock, in seconds; passed to the provider and the tools.
        request_id: The invocation's id, passed to the tools.
        caller_id: Who asks, passed to the tools.
    """

    request: ChatRequest
    provider: Provider
    tools: Tools
    emit: Emit
    on_message: Callable[[Message], None]
    on_usage: Callable[[Usage], None]
    max_turns: int
    deadline: float = float("inf")
    request_id: str = ""
    caller_id: str = ""

    async def run(self) -> None:
        """Answer the request.

        Emits every event from ConversationStarted to ConversationEnded.

        Raises:
            ModelError: The provider failed. What was emitted stays valid; emitting the terminal event is up to whoever
                called `run`.

        Cancellation:
            Closes the upstream response, cancels every running tool and waits for both.
        """
        started = ConversationStarted(self.request.conversation_id, self.request.message_id, self.provider.name)
        await self.emit((started,))
        history = list(self.request.messages)
        usage = Usage()
        for number in range(1, self.max_turns + 1):
            turn = _ModelTurn(self)
            ended = await turn.run(history, number)
            usage += ended.usage
            await self.emit((ended,))
            if reason := turn.final_stop_reason(ended.stop_reason):
                break
        else:
            reason = "max_turns"
        telemetry.note(stop_reason=reason)
        await self.emit((ConversationEnded(reason, usage, number),))


class _ModelTurn:
    """One model turn with its tool calls; builds the assistant message from the events while passing them on."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._parts: list[AssistantPart] = []
        self._text_buffer: list[str] = []
        self._reasoning_buffer: list[str] = []
        self._client_tool_names = {tool.name for tool in conversation.request.client_tools}
        self._turn_ended: TurnEnded | None = None
        self._has_server_tool_calls = False
        self._output_chars = 0

    async def run(self, history: list[Message], number: int) -> TurnEnded:
        """Ask the model, stream its events, run its tools; append the messages to `history`, even if the turn fails."""
        conversation = self._conversation
        await conversation.emit((TurnStarted(number),))
        tools = conversation.tools.turn(
            conversation.emit,
            deadline=conversation.deadline,
            request_id=conversation.request_id,
            caller_id=conversation.caller_id,
        )
        try:
            async with tools:
                ended = await self._consume_stream(self._build_request(history, number), tools)
                if self._has_server_tool_calls:
                    await tools.results()
        finally:
            self._flush_buffers()
            self._append_to_history(history, await tools.results())
        return ended

    def final_stop_reason(self, reason: StopReason) -> StopReason | None:
        """Why the conversation ends with this turn, or None if the model must be asked again."""
        calls = [part for part in self._parts if isinstance(part, ToolCall)]
        if any(call.name in self._client_tool_names for call in calls):
            return "tool_calls"
        if reason == "pause" or (calls and reason in {"tool_calls", "stop"}):
            return None
        return "stop" if reason == "tool_calls" else reason  # "tool_calls" without any call

    def _build_request(self, history: list[Message], number: int) -> ModelRequest:
        request, server_tools = self._conversation.request, self._conversation.tools.schemas
        return ModelRequest(
            messages=tuple(history),
            tools=(*(tool for tool in server_tools if tool.name not in self._client_tool_names), *request.client_tools),
            # Forcing a call in every turn would never let the model answer, so only the first turn is forced.
            tool_choice=request.tool_choice if number == 1 or request.tool_choice == "none" else TOOL_CHOICE_AUTO,
            system=request.system or "",
            model_id=request.model_id or "",
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            deadline=self._conversation.deadline,
        )

    async def _consume_stream(self, request: ModelRequest, tools: TurnToolCalls) -> TurnEnded:
        try:
            async with aclosing(self._conversation.provider.stream(request)) as batches:
                async for batch in batches:
                    await self._handle_batch(batch, tools)
        finally:
            self._record_estimated_usage(request, sys.exception())
        if self._turn_ended is None:
            raise ModelStreamTruncated("the model's stream ended before the model had finished")
        return self._turn_ended

    async def _handle_batch(self, batch: Sequence[ModelEvent], tools: TurnToolCalls) -> None:
        for event in batch:
            self._handle_event(event, tools)
        if self._turn_ended is None:
            await self._conversation.emit(batch)
        elif len(batch) > 1:  # TurnEnded is emitted once the turn's tools have finished
            await self._conversation.emit(batch[:-1])

    def _handle_event(self, event: ModelEvent, tools: TurnToolCalls) -> None:
        match event:
            case TextDelta(text):
                telemetry.note_first_token()
                self._output_chars += len(text)
                self._text_buffer.append(text)
            case ReasoningDelta(text):
                self._output_chars += len(text)
                self._reasoning_buffer.append(text)
            case ToolArgumentsDelta(_, json):
                self._output_chars += len(json)
            case ReasoningEnded(signature, redacted):
                self._flush_text()
                self._parts.append(Reasoning("".join(self._reasoning_buffer), signature, redacted))
                self._reasoning_buffer.clear()
            case ToolCallReady(id, name, arguments):
                self._flush_buffers()
                telemetry.note_tool_call(name)
                call = ToolCall(id, name, arguments)
                self._parts.append(call)
                if name not in self._client_tool_names:
                    self._has_server_tool_calls = True
                    self._start_tool_call(call, tools)
            case TurnEnded(_, usage):
                self._turn_ended = event
                self._conversation.on_usage(usage)  # at once: billed even if the tools are cancelled

    def _start_tool_call(self, call: ToolCall, tools: TurnToolCalls) -> None:
        """Start a call, or refuse it if `tool_choice` is `none`: some providers lack that, and models may ignore it."""
        if self._conversation.request.tool_choice == "none":
            tools.refuse(call, TOOLS_DISABLED_MESSAGE)
        else:
            tools.start(call)

    def _record_estimated_usage(self, request: ModelRequest, error: BaseException | None) -> None:
        """Record estimated usage for a turn that ended before the provider reported what it used.

        If the provider failed before sending anything, no usage is recorded.
        """
        if self._turn_ended is None and (self._output_chars or not isinstance(error, ModelError)):
            self._conversation.on_usage(estimate_usage(request, self._output_chars))

    def _flush_buffers(self) -> None:
        if self._reasoning_buffer:
            self._parts.append(Reasoning("".join(self._reasoning_buffer)))
            self._reasoning_buffer.clear()
        self._flush_text()

    def _flush_text(self) -> None:
        if self._text_buffer:
            self._parts.append(Text("".join(self._text_buffer)))
            self._text_buffer.clear()

    def _append_to_history(self, history: list[Message], results: Sequence[ToolMessage]) -> None:
        if not self._parts:
            return
        message = AssistantMessage(tuple(self._parts), self._conversation.request.message_id, self._turn_ended is None)
        messages: tuple[Message, ...] = (message, *results)
        for one in messages:
            history.append(one)
            self._conversation.on_message(one)
