"""The agent loop: ask the model, run the tools it calls, ask again with their results, until it has answered.

Events are pushed: `emit` puts them on the wire in the event loop iteration in which they arise. A tool starts as soon
as its call is complete, while the model is still streaming. Independent of wire formats, vendors and storage.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, TypeAlias, assert_never, cast

import msgspec
from msgspec import UNSET

from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationStarted,
    Emit,
    EventBatch,
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    SourceCited,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallDropped,
    ToolCallReady,
    ToolCallSigned,
    ToolCallStarted,
    TurnEnded,
    TurnRetracted,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.history import (
    in_stored_order,
    is_placeholder,
    normalize_history,
    pending_calls,
    undecided_result,
)
from winterbourne.chat.core.messages import (
    TOOL_CHOICE_AUTO,
    AssistantMessage,
    AssistantPart,
    ChatRequest,
    Message,
    ModelOptions,
    OutputSchema,
    Reasoning,
    Text,
    ToolCall,
    ToolChoice,
    ToolMessage,
    ToolSchema,
    UserMessage,
    VolatilePart,
)
from winterbourne.chat.core.output import REPAIR_REQUEST, find_json
from winterbourne.chat.core.provider import ModelRequest, Provider, model_name
from winterbourne.chat.core.tools import Tools, TurnToolCalls
from winterbourne.chat.core.usage import complete_usage
from winterbourne.chat.errors import InvalidOutput, ModelError, ModelInputTooLong, ModelStreamTruncated
from winterbourne.chat.infra import telemetry
from winterbourne.chat.infra.tracing import NO_SPAN, SPAN

__all__ = ["Conversation", "TurnParts", "add_usage"]

CONTINUE_REQUEST: Final = "Continue."
"""What the user is taken to say if a history ends with an answer."""

_OPTIONS: Final = ModelOptions.__struct_fields__
_COUNTS: Final = ("input", "output", "cached", "cache_write", "reasoning")

_CALL_EVENTS: Final = (ToolCallStarted, ToolArgumentsDelta, ToolCallReady, ToolCallSigned, ToolCallDropped)
_NOT_FINAL: Final = frozenset({None, "tool_calls", "approval"})
"""How turns end whose text is not the answer."""

SHORT_HISTORY: Final = 3
"""Messages among which there is nothing that could be left out but what the newest question is about."""

TOOLS_DISABLED_MESSAGE: Final = "No tool is run for this request. Answer without tools."


Compact: TypeAlias = Callable[[ModelRequest, ModelInputTooLong | None], Awaitable[tuple[ModelRequest, Sequence[Usage]]]]
"""Makes a request fit into the model's window."""


class Conversation(msgspec.Struct, kw_only=True):
    """One run of the agent loop: a chat request and what is needed to answer it. Not the stored conversation.

    Attributes:
        request: The caller's request, checked against the settings; its history is normalized.
        provider: Generates the model turns.
        tools: The tools the model may call.
        emit: Receives the events.
        on_usage: Called with the usage of each turn as soon as the provider has ended it, or it has failed; an
            estimate of what the provider did not report.
        compact: Awaited with the request for each turn of a conversation that may be long, and why the provider has
            refused it, if it has: returns one that is not too long, and the usage of the summaries that it took; or
            raises the refusal. None if long conversations are left to the provider.
        price: Gives the usage of a turn its cost; the model is named as in `TurnEnded`.
        before_turn: Awaited with the request for each turn before it is sent; if it raises, the conversation fails.
        on_message: Called with each complete message, and the incomplete one of a turn that failed. Must not block.
        max_turns: Maximum number of model turns.
        deadline: On the event loop's clock, in seconds; passed to the provider and the tools.
        request_id: The invocation's id, passed to the tools.
        caller_id: Who asks, passed to the tools.
        is_named: Whether the client knows the conversation's id, and so will name it again.
        log_fields: Receives `turns`, `answered_by` and `stop_reason`, for the request's log line.
        called_tools: Receives the name of each tool that the model calls, for the request's log line.
        has_text: Whether the answer has begun.
        tools_s: For how many seconds tools alone were waited for: the model had said all that it had to say before.
    """

    request: ChatRequest
    provider: Provider
    tools: Tools
    emit: Emit
    on_usage: Callable[[Usage], None]
    compact: Compact | None = None
    price: Callable[[str, Usage], Usage] = lambda _, usage: usage
    before_turn: Callable[[ModelRequest], Awaitable[None]] | None = None
    on_message: Callable[[Message], None] = lambda _: None
    max_turns: int
    deadline: float = float("inf")
    request_id: str = ""
    caller_id: str = ""
    is_named: bool = True
    log_fields: dict[str, object] = {}
    called_tools: list[str] = []
    has_text: bool = False
    tools_s: float = 0.0
    _failed: set[str] = set()

    async def run(self) -> None:
        """Answer the request.

        Emits every event from ConversationStarted to ConversationEnded.

        Raises:
            ModelError: The provider failed, or the answer is not what `output` asks for. What was emitted stays valid;
                emitting the terminal event is up to whoever called `run`.

        Cancellation:
            Closes the upstream response, cancels every running tool and waits for both.
        """
        request, history, usage = self.request, list(self.request.messages), Usage(cost=0.0)
        if history and isinstance(history[-1], AssistantMessage):
            history.append(UserMessage((Text(CONTINUE_REQUEST),)))  # models reject a turn of their own as the last
        client_tools = frozenset(tool.name for tool in request.client_tools)
        tools = (*(tool for tool in self.tools.schemas if tool.name not in client_tools), *request.client_tools)
        tools = tuple(sorted(tools, key=lambda tool: tool.name))  # those of MCP servers come in any order
        before: EventBatch = (ConversationStarted(request.conversation_id, request.message_id, self.provider.name),)
        self.log_fields["turns"] = number = 0
        reason, problem = None, ""
        if request.decisions:
            await self.emit(before)
            calls = [call for call in pending_calls(history) if call.name not in client_tools]
            before, reason = (), await self._decide(calls, history)
        while not reason:
            self.log_fields["turns"] = number = number + 1
            await self.emit((*before, TurnStarted(number)))
            model_request = self._model_request(history, tools, number, mends=bool(problem))
            turn = _ModelTurn(self, client_tools, model_request, usage, is_last=number >= self.max_turns)
            ended = await self._take(turn, history)
            before = (TextDelta(turn.answer), ended) if turn.answer else (ended,)
            usage = add_usage(turn.usage_before, ended.usage)
            self.log_fields["answered_by"] = ended.model
            reason = turn.final_stop_reason
            if turn.problem:
                if problem or reason != "stop":
                    raise InvalidOutput(f"the answer, which ended with {reason}, is not valid", reason or "stop")
                reason, problem = None, turn.problem
                answered = AssistantMessage((Text(turn.text or " "),))  # only the model sees it, and what follows
                history += answered, UserMessage((Text(REPAIR_REQUEST.format(problem)),))
        self.log_fields["stop_reason"] = reason
        await self.emit((*before, ConversationEnded(reason, usage if number else Usage(), number)))

    async def _take(self, turn: "_ModelTurn", history: list[Message]) -> TurnEnded:
        """Take a turn; once more with a shorter history, if it is refused as too long while nothing of it is shown."""
        request = turn.request
        refusal: ModelInputTooLong | None = None
        while True:
            if self.compact and (refusal or len(request.messages) > SHORT_HISTORY):
                turn.request, spent = await self.compact(request, refusal)
                turn.usage_before = functools.reduce(add_usage, spent, turn.usage_before)
            if self.before_turn:
                await self.before_turn(turn.request)
            try:
                return await turn.run(history)
            except ModelInputTooLong as error:
                if turn.has_begun or refusal or not self.compact:
                    raise
                refusal = error

    async def _decide(self, calls: Sequence[ToolCall], history: list[Message]) -> StopReason | None:
        """Run the calls that a person has allowed, and put all their results into `history`.

        Returns:
            `approval` if a person is asked once more.
        """
        if not calls:  # the client asks again, and all have their results
            return None
        group = self.start_tool_calls()
        try:
            async with group:
                for call in calls:
                    group.start(call, self.request.decisions)
                await self.results_of(group)
        finally:  # also of calls that were cancelled
            asked_anew = ((call, group.pending[call.id]) for call in calls if call.id in group.pending)
            results = [*await group.results(), *(undecided_result(*each) for each in asked_anew)]
            history[:] = normalize_history(one for one in (*history, *results) if not is_placeholder(one))
            for message in in_stored_order(results):
                self.on_message(message)
        return "approval" if group.pending else None

    def start_tool_calls(self) -> TurnToolCalls:
        """A group for tool calls of this conversation."""
        questions = [message for message in self.request.messages if isinstance(message, UserMessage)]
        newest = "".join(part.text for part in questions[-1].parts if isinstance(part, Text)) if questions else ""
        return self.tools.turn(
            self.emit,
            deadline=self.deadline,
            request_id=self.request_id,
            caller_id=self.caller_id,
            conversation_id=self.request.conversation_id,
            question=f"{len(questions)} {newest}",
            approvals=self.request.approvals,
        )

    async def results_of(self, calls: TurnToolCalls) -> Sequence[ToolMessage]:
        """Wait for tool calls while the model says nothing."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await calls.results()
        finally:
            self.tools_s += clock() - began

    def _model_request(
        self, history: list[Message], tools: tuple[ToolSchema, ...], number: int, *, mends: bool
    ) -> ModelRequest:
        request = self.request
        return ModelRequest(
            messages=_with_context(history, request.context),
            tools=tools,
            tool_choice="none" if mends else self._tool_choice(number),
            system=request.system or "",
            model_id=request.model_id or "",
            conversation_id=request.conversation_id if self.is_named else "",
            cache=True,
            **{name: getattr(request, name) for name in _OPTIONS},
            deadline=self.deadline,
            retractable=request.retractable,
            failed=self._failed,
        )

    def _tool_choice(self, number: int) -> ToolChoice:
        """The choice in a turn. Forcing a call in every turn would never let the model answer.

        So only the first turn is forced, unless a call of a tool of the client's ends the conversation: for clients,
        `required` means one of those.
        """
        choice, theirs = self.request.tool_choice, self.request.client_tools
        if choice == "required" and theirs and number == self.max_turns:
            return theirs[0].name if len(theirs) == 1 else choice
        return choice if number == 1 or choice == "none" or (choice == "required" and theirs) else TOOL_CHOICE_AUTO


def _with_context(history: Sequence[Message], context: str) -> tuple[Message, ...]:
    """The messages, with what changes from request to request in the newest question: the same in a whole tool loop."""
    questions = [at for at, message in enumerate(history) if isinstance(message, UserMessage)]
    if not context.strip() or not questions:
        return tuple(history)
    question = cast("UserMessage", history[at := questions[-1]])
    parts = (*question.parts, VolatilePart(f"\n\n{context}"))
    return (*history[:at], msgspec.structs.replace(question, parts=parts), *history[at + 1 :])


def add_usage(one: Usage, other: Usage) -> Usage:
    """What both have used together; its cost is known if both are."""
    cost = None if one.cost is None or other.cost is None else round(one.cost + other.cost, 12)
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in _COUNTS}, cost=cost)


class TurnParts(msgspec.Struct):
    """The parts of one model turn, built from its events."""

    _parts: list[AssistantPart] = []
    _text_buffer: list[str] = []
    _reasoning_buffer: list[str] = []

    def add(self, event: ModelEvent) -> None:
        """Take the next event. A call is a part of the turn once it is ready."""
        match event:
            case TextDelta(text):
                self._text_buffer.append(text)
            case ReasoningDelta(text):
                self._flush_text()  # it came before
                self._reasoning_buffer.append(text)
            case ReasoningEnded(signature, redacted, opaque):
                self._flush_text()
                self._parts.append(Reasoning("".join(self._reasoning_buffer), signature, redacted, opaque))
                self._reasoning_buffer.clear()
            case ToolCallReady(id_, name, arguments, opaque):
                self._flush()
                self._parts.append(ToolCall(id_, name, arguments, opaque))
            case ToolCallSigned(id_, opaque):
                self.set_on_call(id_, opaque=opaque)
            case SourceCited(source):
                self._flush()
                self._parts.append(source)
            case TurnRetracted():
                self.finish()
                self._parts.clear()
            case ToolCallStarted() | ToolArgumentsDelta() | ToolCallDropped() | TurnEnded():
                pass
            case _:
                assert_never(event)

    def set_on_call(self, call_id: str, **fields: Any) -> bool:
        """Set fields of a call that came before; returns whether there is one."""
        places = [at for at, part in enumerate(self._parts) if isinstance(part, ToolCall) and part.id == call_id]
        for at in places:
            self._parts[at] = msgspec.structs.replace(self._parts[at], **fields)
        return bool(places)

    def finish(self) -> tuple[AssistantPart, ...]:
        """The parts so far; nothing is open after that."""
        self._flush()
        return tuple(self._parts)

    def _flush(self) -> None:
        if self._reasoning_buffer:
            self._parts.append(Reasoning("".join(self._reasoning_buffer)))
            self._reasoning_buffer.clear()
        self._flush_text()

    def _flush_text(self) -> None:
        if self._text_buffer:
            self._parts.append(Text("".join(self._text_buffer)))
            self._text_buffer.clear()


class _ModelTurn(msgspec.Struct):
    """One model turn with its tool calls; builds the assistant message from the events while passing them on.

    If the answer has to be JSON, no text is passed on: whether it is the answer, and valid, shows at the turn's end.

    Attributes:
        is_last: Whether no turn may follow it.
        answer: The valid JSON; empty if the turn has none, or need not have any.
        problem: What is wrong with its text, which should have been JSON; empty for nothing.
        text: That text.
    """

    _conversation: Conversation
    _client_tools: Collection[str]
    request: ModelRequest
    usage_before: Usage
    is_last: bool
    has_begun: bool = False
    answer: str = ""
    problem: str = ""
    text: str = ""
    _first_call: str = ""
    _is_shown: bool = False
    _parts: TurnParts = msgspec.field(default_factory=TurnParts)
    _ended: TurnEnded | None = None
    _calls: TurnToolCalls | None = None  # of the server's tools; made with the first call
    _calls_client: bool = False
    _output: list[str] = []  # in pieces, as received

    async def run(self, history: list[Message]) -> TurnEnded:
        """Ask the model, stream its events, run its tools; append the messages to `history`, even if the turn fails."""
        provider, span = self._conversation.provider, SPAN.get()
        turn = span.model(model_name(provider, self.request), self.request.options()) if span else NO_SPAN
        try:
            async with AsyncExitStack() as stack:
                with turn:
                    ended = await self._consume_stream(stack)
                if self._calls:
                    await self._conversation.results_of(self._calls)
                if self.request.output:
                    self._check_output(self.request.output)
        finally:  # also of calls that were cancelled, because the turn failed
            self._append_to_history(history, await self._calls.results() if self._calls else ())
        return ended

    @property
    def final_stop_reason(self) -> StopReason | None:
        """Why the conversation ends with this turn; None if it has not ended, or the model must be asked again."""
        if not (reason := self._ended and self._ended.stop_reason):
            return None
        if self._calls and self._calls.pending:
            return "approval"
        if self._calls_client:
            return "tool_calls"
        if reason == "pause" or (self._calls and reason in {"tool_calls", "stop"}):
            return "max_turns" if self.is_last else None
        return "stop" if reason == "tool_calls" else reason  # "tool_calls" without any call

    def _check_output(self, output: OutputSchema) -> None:
        if self.final_stop_reason not in _NOT_FINAL:
            self.text = "".join(part.text for part in self._parts.finish() if isinstance(part, Text))
            self.answer, self.problem = find_json(output, self.text)

    async def _consume_stream(self, stack: AsyncExitStack) -> TurnEnded:
        try:
            async with aclosing(self._conversation.provider.stream(self.request)) as batches:
                async for batch in batches:
                    await self._handle_batch(batch, stack)
        finally:
            # A turn that ended before its usage was reported: an estimate, unless the provider failed before sending
            # anything.
            if self._ended is None and (self._output or not isinstance(sys.exception(), ModelError)):
                self._account(Usage())
        if self._ended is None:
            raise ModelStreamTruncated("the model's stream ended before the model had finished")
        return self._ended

    async def _handle_batch(self, batch: Sequence[ModelEvent], stack: AsyncExitStack) -> None:
        if not self.has_begun and (span := SPAN.get()):
            span.note_first_chunk()
        self.has_begun = True
        if self.request.parallel_tool_calls is False:
            batch = [event for event in batch if self._is_of_first_call(event)]
        for event in batch:
            self._handle_event(event)
            if isinstance(event, ToolCallReady):
                await self._handle_call(ToolCall(event.id, event.name, event.arguments, event.opaque), stack)
        conversation = self._conversation
        if not conversation.has_text and any(isinstance(event, TextDelta) for event in batch):
            conversation.has_text = True
            telemetry.note_first_token(conversation.tools_s)
        if self._ended:  # emitted once the turn's tools have finished
            batch = batch[:-1]
        if self.request.output:
            batch = self._without_text(batch)
        if batch:
            await conversation.emit(batch)

    def _without_text(self, batch: Sequence[ModelEvent]) -> Sequence[ModelEvent]:
        """What is shown where text is not: nothing is taken back of which nothing was shown."""
        hidden = TextDelta if self._is_shown else TextDelta | TurnRetracted
        shown = [event for event in batch if not isinstance(event, hidden)]
        self._is_shown = self._is_shown or bool(shown)
        return shown

    def _is_of_first_call(self, event: ModelEvent) -> bool:
        """Whether an event is not of a call after the first: not every provider can forbid those."""
        if not isinstance(event, _CALL_EVENTS):
            return True
        self._first_call = self._first_call or event.id
        return event.id == self._first_call

    def _handle_event(self, event: ModelEvent) -> None:
        self._parts.add(event)
        match event:
            case TextDelta(text) | ReasoningDelta(text) | ToolArgumentsDelta(_, text):
                self._output.append(text)
            case TurnRetracted(failed) if failed:
                self.usage_before = add_usage(self.usage_before, self._account(Usage(), failed))
                self._output.clear()
                self.has_begun, self._first_call = False, ""
            case TurnEnded(reason, reported, model):
                self._ended = TurnEnded(reason, self._account(reported, model, reason), model)

    def _account(self, reported: Usage, model: str = "", reason: str = "") -> Usage:
        """The usage, complete and with its cost; told at once, since it is billed even if the tools are cancelled."""
        conversation = self._conversation
        usage = complete_usage(reported, self.request, self._output)
        usage = conversation.price(model or model_name(conversation.provider, self.request), usage)
        conversation.on_usage(usage)
        if span := SPAN.get():
            span.note_usage(usage, model, reason)
        return usage

    async def _handle_call(self, call: ToolCall, stack: AsyncExitStack) -> None:
        conversation = self._conversation
        conversation.called_tools.append(call.name)
        if call.name in self._client_tools:
            self._calls_client = True
            return
        if self._calls is None:
            self._calls = await stack.enter_async_context(conversation.start_tool_calls())
        if self.request.tool_choice == "none":  # some providers lack that, and models may ignore it
            self._calls.refuse(call, TOOLS_DISABLED_MESSAGE)
        else:
            self._calls.start(call)

    def _append_to_history(self, history: list[Message], results: Sequence[ToolMessage]) -> None:
        """Append the turn and its results; `history` stays normalized.

        So a turn of reasoning alone is only stored, and so is one that says again what the paused turn before it said.
        """
        for call_id, approval in self._calls.pending.items() if self._calls else ():
            self._parts.set_on_call(call_id, approval=approval)
        parts = self._parts.finish()
        if self.request.output:
            parts = (*(part for part in parts if not isinstance(part, Text)), *map(Text, filter(None, [self.answer])))
        if not parts:
            return
        is_answer = self.final_stop_reason and not self.problem
        usage = add_usage(self.usage_before, self._ended.usage) if self._ended and is_answer else UNSET
        turn = AssistantMessage(parts, self._conversation.request.message_id, self._ended is None, usage)
        messages: tuple[Message, ...] = (turn, *results)
        if not all(isinstance(part, Reasoning) for part in parts) and history[-1:] != [*messages]:
            history += messages
        for message in messages:
            self._conversation.on_message(message)
