"""The loop: ask the model, run the tools it asks for, ask again, until it has answered.

Events are pushed: `emit` puts them on the wire in the turn of the event loop in which they arose. A tool starts when
its call is complete, while the model goes on talking. Knows neither wire formats nor vendors nor stores.
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
    AUTO,
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
from winterbourne.chat.core.usage import estimated
from winterbourne.chat.errors import ModelError, ModelStreamTruncated
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers.base import Model, ModelRequest

__all__ = ["Conversation", "Tools", "ToolsOfTurn"]

FORBIDDEN: Final = "No tool is run for this request. Answer without tools."


class ToolsOfTurn(Protocol):
    """The calls of one model turn. Leaving the block cancels what still runs and waits for it."""

    def start(self, call: ToolCall, /) -> None:
        """Run a call from now on, beside the others."""

    def refuse(self, call: ToolCall, why: str, /) -> None:
        """Run nothing: the call's result is this error."""

    async def results(self) -> Sequence[ToolMessage]:
        """Wait for all; one result per call, in the order of the calls. After the block: at once."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Tools(Protocol):
    """What the conversation knows of the tool runner."""

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told of them."""
        ...

    def turn(self, emit: Emit, /, *, deadline: float, request_id: str, caller: str) -> ToolsOfTurn:
        """The runner of one model turn; `deadline` is on the event loop's clock."""
        ...


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One request to be answered.

    Args:
        request: What the caller wants; its options are already within the settings' limits.
        model: Who answers.
        tools: What the model may use.
        emit: Where events go.
        keep: Takes each message when it is whole, and an incomplete one when a turn broke. Must not wait.
        spend: Told what each turn has used, as soon as the model has said so; of a turn that broke before, what it
            has used by estimate.
        max_turns: Model turns at most.
        deadline: On the event loop's clock; handed to model and tools.
        request_id: The invocation's id, for the tools.
        caller: The id of who asks, for the tools.
    """

    request: ChatRequest
    model: Model
    tools: Tools
    emit: Emit
    keep: Callable[[Message], None]
    spend: Callable[[Usage], None]
    max_turns: int
    deadline: float = float("inf")
    request_id: str = ""
    caller: str = ""

    async def run(self) -> None:
        """Answer the request.

        Emits everything from ConversationStarted to ConversationEnded.

        Raises:
            ModelError: The provider failed; what was emitted stays valid. The last word is the caller's to say.

        Cancellation:
            Closes the upstream response, cancels every running tool and waits for both.
        """
        started = ConversationStarted(self.request.conversation_id, self.request.message_id, self.model.name)
        await self.emit((started,))
        history = list(self.request.messages)
        usage = Usage()
        for number in range(1, self.max_turns + 1):
            turn = _Turn(self)
            ended = await turn.take(history, number)
            usage += ended.usage
            await self.emit((ended,))
            if reason := turn.final(ended.stop_reason):
                break
        else:
            reason = "max_turns"
        telemetry.note(stop_reason=reason)
        await self.emit((ConversationEnded(reason, usage, number),))


class _Turn:
    """One model turn with its tools; gathers the message while its events pass by."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._parts: list[AssistantPart] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._clients = {tool.name for tool in conversation.request.client_tools}
        self._ended: TurnEnded | None = None
        self._runs_tools = False
        self._said_chars = 0

    async def take(self, history: list[Message], number: int) -> TurnEnded:
        """Ask, stream, run; append what was said and found to `history`, also when the turn breaks."""
        talk = self._conversation
        await talk.emit((TurnStarted(number),))
        tools = talk.tools.turn(talk.emit, deadline=talk.deadline, request_id=talk.request_id, caller=talk.caller)
        try:
            async with tools:
                ended = await self._listen(self._ask(history, number), tools)
                if self._runs_tools:
                    await tools.results()
        finally:
            self._flush()
            self._remember(history, await tools.results())
        return ended

    def final(self, reason: StopReason) -> StopReason | None:
        """Why the conversation ends with this turn, or None where the model is to be asked again."""
        calls = [part for part in self._parts if isinstance(part, ToolCall)]
        if any(call.name in self._clients for call in calls):
            return "tool_calls"
        if reason == "pause" or (calls and reason in {"tool_calls", "stop"}):
            return None
        return "stop" if reason == "tool_calls" else reason  # a provider that speaks of calls and makes none

    # Private methods

    def _ask(self, history: list[Message], number: int) -> ModelRequest:
        request, ours = self._conversation.request, self._conversation.tools.schemas
        return ModelRequest(
            messages=tuple(history),
            tools=(*(tool for tool in ours if tool.name not in self._clients), *request.client_tools),
            # A choice that forces a call would force one in every turn, and no answer would ever come.
            tool_choice=request.tool_choice if number == 1 or request.tool_choice == "none" else AUTO,
            system=request.system or "",
            model_id=request.model_id or "",
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            deadline=self._conversation.deadline,
        )

    async def _listen(self, request: ModelRequest, tools: ToolsOfTurn) -> TurnEnded:
        try:
            async with aclosing(self._conversation.model.stream(request)) as batches:
                async for batch in batches:
                    await self._pass_on(batch, tools)
        finally:
            self._account(request, sys.exception())
        if self._ended is None:
            raise ModelStreamTruncated("the model's stream ended before the model had finished")
        return self._ended

    async def _pass_on(self, batch: Sequence[ModelEvent], tools: ToolsOfTurn) -> None:
        for event in batch:
            self._note(event, tools)
        if self._ended is None:
            await self._conversation.emit(batch)
        elif len(batch) > 1:  # the turn's end is told when its tools are done
            await self._conversation.emit(batch[:-1])

    def _note(self, event: ModelEvent, tools: ToolsOfTurn) -> None:
        match event:
            case TextDelta(text):
                telemetry.first_token()
                self._said_chars += len(text)
                self._text.append(text)
            case ReasoningDelta(text):
                self._said_chars += len(text)
                self._reasoning.append(text)
            case ToolArgumentsDelta(_, json):
                self._said_chars += len(json)
            case ReasoningEnded(signature, redacted):
                self._flush_text()
                self._parts.append(Reasoning("".join(self._reasoning), signature, redacted))
                self._reasoning.clear()
            case ToolCallReady(id, name, arguments):
                self._flush()
                telemetry.used(name)
                call = ToolCall(id, name, arguments)
                self._parts.append(call)
                if name not in self._clients:
                    self._runs_tools = True
                    self._run(call, tools)
            case TurnEnded(_, usage):
                self._ended = event
                self._conversation.spend(usage)  # at once: it is paid for, also where the tools are stopped

    def _run(self, call: ToolCall, tools: ToolsOfTurn) -> None:
        """Not every provider has a word for `none`, and no model is bound by it."""
        if self._conversation.request.tool_choice == "none":
            tools.refuse(call, FORBIDDEN)
        else:
            tools.start(call)

    def _account(self, request: ModelRequest, broken: BaseException | None) -> None:
        """Spend an estimate for a turn whose model has not come to say what it used.

        A provider that failed without a word is owed nothing.
        """
        if self._ended is None and (self._said_chars or not isinstance(broken, ModelError)):
            self._conversation.spend(estimated(request, self._said_chars))

    def _flush(self) -> None:
        if self._reasoning:
            self._parts.append(Reasoning("".join(self._reasoning)))
            self._reasoning.clear()
        self._flush_text()

    def _flush_text(self) -> None:
        if self._text:
            self._parts.append(Text("".join(self._text)))
            self._text.clear()

    def _remember(self, history: list[Message], results: Sequence[ToolMessage]) -> None:
        if not self._parts:
            return
        message = AssistantMessage(tuple(self._parts), self._conversation.request.message_id, self._ended is None)
        said: tuple[Message, ...] = (message, *results)
        for one in said:
            history.append(one)
            self._conversation.keep(one)
