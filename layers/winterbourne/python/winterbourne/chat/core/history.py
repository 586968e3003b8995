"""Normalizes a conversation's history: each turn is followed by one result per call, in call order.

History normalization (history normalisation) works on our own messages, not on a format's. It is used for a history
that a request carries and for a stored one, and the conversation keeps it true from turn to turn: what providers are
sent is always normalized. No history is refused, because a client cannot mend what was said long ago.
"""

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    AssistantPart,
    Decision,
    Message,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UnusablePart,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected

__all__ = [
    "DENIED_CALL_RESULT",
    "INTERRUPTED_CALL_RESULT",
    "NATIVE_SUMMARY",
    "UNDECIDED_CALL_RESULT",
    "USED_DECISION_RESULT",
    "check_decisions",
    "in_stored_order",
    "is_blank",
    "is_placeholder",
    "native_start",
    "new_messages",
    "normalize_history",
    "pending_calls",
    "undecided_result",
    "with_new_questions",
    "with_parts",
    "with_usable_parts",
    "with_whole_text",
    "without_sources",
]

INTERRUPTED_CALL_RESULT = "This call was interrupted before it gave a result."
"""The result the model gets for a call whose own result never came: providers reject a call without a result."""

UNDECIDED_CALL_RESULT = "The user has not decided whether to allow this call, as far as is known, and it has no result."
"""The same for a call that waited for a person."""

DENIED_CALL_RESULT = "The user did not allow this call."
"""How the result of a call begins that a person has denied; that person's reason follows."""

USED_DECISION_RESULT: Final = (
    "The user's decision on this call was used before, so it is not run again. It is not known here how it ended then."
)
"""The result of a call whose decision comes once more."""

NATIVE_SUMMARY: Final = "compaction"
"""`Opaque.field` of the part with which a provider has summarised what was said before it, and of its one field."""

_LOGGER: Final = logging.getLogger(__name__)


def normalize_history(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Normalize a whole history for providers: each turn is followed by one result per call, in call order.

    Results are moved to their calls from wherever they are. Of two results of a call, two calls with one id in a turn,
    or two questions with one id, the last counts. Results without a call, blank messages and copies of an answer are
    left out. Calls without a result get INTERRUPTED_CALL_RESULT or UNDECIDED_CALL_RESULT, and parts that no model can
    use become a line of text. Call ids need only be unique within a turn: not every provider makes them unique across
    turns.

    What was repaired is counted in one log line, without contents.
    """
    history = _History()
    messages = with_new_questions(messages)
    newest = {one.id: at for at, one in enumerate(messages) if isinstance(one, UserMessage) and not is_blank(one)}
    for at, message in enumerate(messages):
        if is_blank(message):
            history.repairs["blank messages"] += 1
        elif isinstance(message, UserMessage):
            history.add_question(message, is_newest=not message.id or newest[message.id] == at)
        elif isinstance(message, AssistantMessage):
            history.add_turn(message)
        elif isinstance(message, ToolMessage):
            history.add_result(message)
        else:
            history.messages.append(message)
    history.log_repairs()
    return tuple(history.messages)


def is_blank(message: Message) -> bool:
    """Whether a message says nothing: reasoning alone is no answer, and white space is rejected by providers."""
    match message:
        case UserMessage(parts) | AssistantMessage(parts):
            said = (part for part in parts if not isinstance(part, Reasoning))
            return not any(not isinstance(part, Text) or part.text.strip() for part in said)
        case SystemMessage(text):
            return not text.strip()
        case ToolMessage():
            return False


def with_usable_parts(message: Message) -> Message:
    """The message, with a line of text in place of each part that no model can use."""
    if not isinstance(message, UserMessage) or not any(isinstance(part, UnusablePart) for part in message.parts):
        return message
    parts = tuple(Text(part.text) if isinstance(part, UnusablePart) else part for part in message.parts)
    return msgspec.structs.replace(message, parts=parts)


def with_parts(message: Message, change: Callable[[AssistantPart], AssistantPart]) -> Message:
    """The message with each part of an assistant's turn changed; any other message is as it was."""
    if not isinstance(message, AssistantMessage):
        return message
    return msgspec.structs.replace(message, parts=tuple(map(change, message.parts)))


def without_sources(parts: Iterable[AssistantPart]) -> list[AssistantPart]:
    """The parts of a turn without the sources that it cites; text is in one piece again."""
    return [part for part in with_whole_text(parts) if not isinstance(part, Source)]


def with_whole_text(parts: Iterable[AssistantPart]) -> list[AssistantPart]:
    """The parts of a turn with its text in one piece where only sources come in between: those follow it."""
    whole: list[AssistantPart] = []
    text_at: int | None = None
    for part in parts:
        if isinstance(part, Text) and text_at is not None:
            whole[text_at] = Text(cast("Text", whole[text_at]).text + part.text)
            continue
        if not isinstance(part, Source):
            text_at = len(whole) if isinstance(part, Text) else None
        whole.append(part)
    return whole


def native_start(messages: Sequence[Message]) -> int:
    """How many messages the newest summary stands for that a provider has made itself; 0 if there is none."""

    def has_summary(message: Message) -> bool:
        parts = message.parts if isinstance(message, AssistantMessage) else ()
        opaque = (part.opaque for part in parts if isinstance(part, Reasoning))
        return any(each and each.field == NATIVE_SUMMARY and each.fields for each in opaque)

    return next((at for at in reversed(range(len(messages))) if has_summary(messages[at])), 0)


def undecided_result(call: ToolCall, approval: Approval | UnsetType = UNSET) -> ToolMessage:
    """What stands where the result of a call would be that waits for a person; `approval` is what it asks anew."""
    return ToolMessage(call.id, call.name, UNDECIDED_CALL_RESULT, is_error=True, approval=approval)


def with_new_questions(messages: Iterable[Message]) -> list[Message]:
    """The messages with what a person was asked anew in the turn whose call has asked.

    The result of a decision that came once more is left out, if that of the first is there.
    """
    current: list[Message] = []
    answered: set[str] = set()
    for message in messages:
        if isinstance(message, AssistantMessage):
            answered.difference_update(call.id for call in message.tool_calls)
        elif isinstance(message, ToolMessage):
            if message.approval:
                current = [with_parts(one, partial(_ask_anew, message)) for one in current]
            if message.approval or (message.content == USED_DECISION_RESULT and message.tool_call_id in answered):
                continue
            answered.add(message.tool_call_id)
        current.append(message)
    return current


def _ask_anew(question: ToolMessage, part: AssistantPart) -> AssistantPart:
    if isinstance(part, ToolCall) and part.approval and part.id == question.tool_call_id:
        return msgspec.structs.replace(part, approval=question.approval)
    return part


def new_messages(messages: Sequence[Message], client_tools: Container[str]) -> tuple[Message, ...]:
    """The messages not yet in the store: those after the last turn, except results of server-side tools.

    Args:
        messages: The whole history, normalized or not, from a client that keeps it itself.
        client_tools: Names of the client's own tools.
    """
    turns = [(at, message) for at, message in enumerate(messages) if isinstance(message, AssistantMessage)]
    last, turn = turns[-1] if turns else (-1, AssistantMessage(()))
    own = {call.id for call in turn.tool_calls if call.name in client_tools}
    new = (m for m in messages[last + 1 :] if not isinstance(m, ToolMessage) or m.tool_call_id in own)
    return tuple(m for m in new if not is_placeholder(m))


def is_placeholder(message: Message) -> bool:
    """Whether a message only stands where the result of a call would be."""
    return isinstance(message, ToolMessage) and message.content in {INTERRUPTED_CALL_RESULT, UNDECIDED_CALL_RESULT}


def pending_calls(history: Sequence[Message]) -> list[ToolCall]:
    """The calls at the end of a normalized history that wait for a person, or if none is marked so, lack a result."""
    turn, results = _last_turn(history)
    without = {message.tool_call_id for message in results if is_placeholder(message)}
    calls = [call for call in turn.tool_calls if call.id in without]
    return [call for call in calls if call.approval] or calls


def check_decisions(history: Sequence[Message], decisions: Sequence[Decision]) -> None:
    """Reject decisions on calls that do not wait; those that were made already, by a client that asks again, are not.

    Raises:
        RequestRejected: 409.
    """
    if not decisions:
        return
    calls = pending_calls(history) or _last_turn(history)[0].tool_calls
    asked = {call.approval.id for call in calls if isinstance(call.approval, Approval)}
    if not calls or (asked and asked.isdisjoint(decision.approval_id for decision in decisions)):
        raise RequestRejected(409, "not_pending", "decisions: no tool call waits for them")


def in_stored_order(results: Iterable[ToolMessage]) -> list[ToolMessage]:
    """The results of decided calls in the order in which they are stored, whichever came first."""
    return sorted(results, key=lambda result: result.tool_call_id)


def _last_turn(history: Sequence[Message]) -> tuple[AssistantMessage, list[ToolMessage]]:
    """The turn that a history ends with, and its results; an empty one if it ends otherwise."""
    results = [*takewhile(lambda one: isinstance(one, ToolMessage), reversed(history))]
    turn = history[-len(results) - 1] if len(history) > len(results) else None
    return (turn if isinstance(turn, AssistantMessage) else AssistantMessage(())), cast("list[ToolMessage]", results)


class _History:
    """A normalized history under construction."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.repairs: Counter[str] = Counter()
        self._waiting: dict[str, list[int]] = {}  # call id → where its results go, that of the latest turn last
        self._answered: dict[str, int] = {}  # call id → where its newest result is
        self._early: dict[str, ToolMessage] = {}  # results that came before their calls
        self._turns: dict[str, int] = {}  # message id → where its newest turn is
        self._question = -1  # where the newest question is

    def add_question(self, message: UserMessage, *, is_newest: bool) -> None:
        """Add a user's message; of those with one id only the newest."""
        if not is_newest:
            self.repairs["repeated messages"] += 1
            return
        usable = with_usable_parts(message)
        self.repairs["messages with unusable parts"] += usable is not message
        self._question = len(self.messages)
        self.messages.append(usable)

    def add_turn(self, turn: AssistantMessage) -> None:
        """Add a turn, and for each of its calls the result it has as long as its own has not come."""
        turn = self._with_unique_calls(turn)
        if self._is_copy(turn):
            self.repairs["repeated messages"] += 1
            return
        self._turns[turn.id] = len(self.messages)
        self.messages.append(turn)
        for call in turn.tool_calls:
            self._waiting.setdefault(call.id, []).append(len(self.messages))
            interrupted = ToolMessage(call.id, call.name, INTERRUPTED_CALL_RESULT, is_error=True)
            self.messages.append(undecided_result(call) if call.approval else interrupted)
            if early := self._early.pop(call.id, None):
                self._set_result(len(self.messages) - 1, early)

    def add_result(self, result: ToolMessage) -> None:
        """Put a result in its place in the latest turn that waits for it; else it replaces the one that came last."""
        if places := self._waiting.get(result.tool_call_id):
            self._answered[result.tool_call_id] = places.pop()
        elif result.tool_call_id in self._answered:
            self.repairs["repeated results"] += 1
        else:
            self._early[result.tool_call_id] = result
            return
        self._set_result(self._answered[result.tool_call_id], result)

    def log_repairs(self) -> None:
        """Log what was repaired, if anything was."""
        self.repairs["results without a call"] = len(self._early)
        self.repairs["calls without a result"] = sum(map(len, self._waiting.values()))
        if repairs := [f"{what}: {count}" for what, count in self.repairs.items() if count]:
            _LOGGER.info("history repaired: %s", ", ".join(repairs))

    def _set_result(self, place: int, result: ToolMessage) -> None:
        known = self.messages[place]
        self.messages[place] = msgspec.structs.replace(known, content=result.content, is_error=result.is_error)

    def _with_unique_calls(self, turn: AssistantMessage) -> AssistantMessage:
        """The turn without calls whose id comes again in it."""
        last = {call.id: call for call in turn.tool_calls}
        if len(last) == len(turn.tool_calls):
            return turn
        self.repairs["repeated calls"] += len(turn.tool_calls) - len(last)
        parts = tuple(part for part in turn.parts if not isinstance(part, ToolCall) or part is last[part.id])
        return msgspec.structs.replace(turn, parts=parts)

    def _is_copy(self, turn: AssistantMessage) -> bool:
        """Whether a turn says again what the newest of its id said: after the next question, or at once.

        A model that asks the same of a tool twice in one answer is none: there is a result in between.
        """
        place = self._turns.get(turn.id, len(self.messages))
        if self.messages[place : place + 1] != [turn]:
            return False
        calls = turn.tool_calls
        if not turn.id and not calls:
            return False
        if self._question > place:
            return bool(turn.id)
        no_results = all(place + 1 + n in self._waiting[call.id] for n, call in enumerate(calls))
        return len(self.messages) == place + 1 + len(calls) and no_results
