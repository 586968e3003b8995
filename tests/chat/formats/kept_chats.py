"""Generates chats as they happen: the events of each answer, and the messages that are kept of it.

A real `Conversation` makes both, from a model and tools that say what a seeded generator has made up. What the model
does is what the turn assembler lets it do: one block after the other.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import Self

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from tests.chat.fakes import FakeProvider, RecordingEmit, Step
from winterbourne.chat.core import events as e
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    ChatRequest,
    Decision,
    Document,
    Image,
    Message,
    Opaque,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
    UserPart,
)
from winterbourne.chat.errors import ModelBusy

__all__ = ["CLIENT_TOOLS", "SERVER_TOOLS", "Answer", "Chat", "generate"]

SERVER_TOOLS = frozenset({"get_weather", "calculate"})
CLIENT_TOOLS = frozenset({"ask_user"})
TEXTS = ("Let me look.", "18 °C", "\n\n", "😀 <b>", 'say "hi"\\', "data: [DONE]\n\n", " ", "line\u2028break", "a" * 300)
VALUES: tuple[object, ...] = (
    None,
    True,
    18.5,
    "text",
    "",
    [],
    {"city": "Paris", "days": [1, {"é": None}]},
    [[""]],
    2**53,
    "12",
    '{"a":1}',
)
SOURCES = (
    Source("s1", "https://example.com/a", "Tides", cited_text="at 6"),
    Source("s2", "https://example.com/b"),
    Source("s3", "", "plan.pdf", "application/pdf"),
    Source("s4"),
)


class Answer(msgspec.Struct):
    """One request and the events of its answer.

    Attributes:
        question: What the user said; None where the client's own tools have run.
        results: What those tools returned.
        before: The messages that are in the store before the answer, the question included.
        events: The answer's.
        kept: The messages that are in the store after it.
    """

    question: UserMessage | None
    results: list[ToolMessage]
    before: tuple[Message, ...] = ()
    events: list[e.ChatEvent] = []
    kept: tuple[Message, ...] = ()


class Chat(msgspec.Struct):
    """A whole chat."""

    answers: list[Answer] = []

    @property
    def kept(self) -> tuple[Message, ...]:
        """What is in the store in the end, read back."""
        return self.answers[-1].kept


async def generate(seed: int, *, same_id: bool, late_data: bool = False) -> Chat:
    """One chat.

    Args:
        seed: Another one for each chat.
        same_id: Whether an answer keeps its id when the client's own tools have run.
        late_data: Whether opaque data of calls may come after their arguments.
    """
    random, chat = Random(seed), Chat()
    kept: list[Message] = []
    message_id, pending = "", list[ToolCall]()
    for number in range(random.randint(1, 4)):
        if not pending or not same_id:
            message_id = f"m{number}"
        question = None if pending else UserMessage(tuple(_said(random)), f"u{number}")
        results = [ToolMessage(call.id, call.name, *_given(random)) for call in pending]
        kept += [question] if question else results
        answer = Answer(question, results, tuple(kept))
        await _Script(random, number, late_data=late_data).run(answer, kept, message_id)
        chat.answers.append(answer)
        last = answer.events[-1]
        turns = [message for message in kept if isinstance(message, AssistantMessage)]
        has_called = isinstance(last, e.ConversationEnded) and last.stop_reason == "tool_calls"
        pending = [call for call in turns[-1].tool_calls if call.name in CLIENT_TOOLS] if has_called else []
    return chat


def _said(random: Random) -> Iterator[UserPart]:
    if random.random() < 0.3:
        yield Image("image/png", "iVBORw0KGgo=")
    if random.random() < 0.2:
        yield Image("image/webp", url="https://example.com/a.webp")
    if random.random() < 0.2:
        yield Document("application/pdf", random.choice(["", "plan.pdf"]), "JVBERi0xLjcK")
    if random.random() < 0.1:
        yield Document("text/csv", "tides.csv", url="https://example.com/tides.csv")
    yield Text(random.choice(TEXTS) + "?")


def _given(random: Random) -> tuple[str, bool]:
    return ("denied", True) if random.random() < 0.3 else (_json(random), False)


def _json(random: Random) -> str:
    return orjson.dumps(random.choice(VALUES)).decode()


class _Script:
    """What the model and the tools do in one answer."""

    def __init__(self, random: Random, number: int, *, late_data: bool) -> None:
        self.random, self.number, self.late_data = random, number, late_data
        self.outcomes: dict[str, e.ToolFinished] = {}
        self.calls = 0

    async def run(self, answer: Answer, kept: list[Message], message_id: str) -> None:
        emitted = RecordingEmit()
        schemas = tuple(ToolSchema(name, "", {"type": "object"}) for name in CLIENT_TOOLS)
        request = ChatRequest(
            messages=normalize_history(kept), conversation_id="c", message_id=message_id, client_tools=schemas
        )
        provider = FakeProvider(*[self.turn(number) for number in range(3)])
        tools = ScriptedTools(self.outcomes)
        added: list[Message] = []
        conversation = Conversation(
            request=request,
            provider=provider,
            tools=tools,
            emit=emitted,
            on_usage=lambda _: None,
            on_message=added.append,
            max_turns=3,
        )
        try:
            await conversation.run()
        except ModelBusy as error:
            await emitted([e.ConversationFailed(error.code, str(error), "r-1")])
        except asyncio.CancelledError:
            await emitted([e.ConversationStopped("user")])
        kept += msgspec.json.decode(msgspec.json.encode(added), type=list[Message])
        answer.events, answer.kept = list(emitted), tuple(kept)

    def turn(self, number: int) -> list[Step]:
        """The steps of one turn; some end in a failure or a stop, but the first has said something then."""
        random = self.random
        blocks = [self.thought, self.text, self.text, self.hidden, self.call, self.call]
        steps: list[Step] = [self.text(), *[block() for block in random.sample(blocks, random.randint(0, 4))]]
        if random.random() < 0.5:
            steps.insert(0, self.thought())
        if number and random.random() < 0.05:
            return [ModelBusy("The model is busy.")]
        match random.random():
            case chance if chance < 0.08:
                return [*steps, [e.ReasoningDelta("Hm")], ModelBusy("The model is busy.")]
            case chance if chance < 0.16:
                return [*steps, _stop]
        calls = any(isinstance(event, e.ToolCallReady) for step in steps for event in step)  # type: ignore[union-attr]
        return [*steps, [e.TurnEnded("tool_calls" if calls else "stop", e.Usage(9, random.randint(0, 5), 2))]]

    def text(self) -> list[e.ModelEvent]:
        """Text, which may cite: before it, within it, and after it."""
        events: list[e.ModelEvent] = []
        for text in self.random.choices(TEXTS, k=self.random.randint(1, 3)):
            events += [e.TextDelta(text), *self.cited()]
        return [*self.cited(), *events]

    def cited(self) -> list[e.ModelEvent]:
        return [e.SourceCited(self.random.choice(SOURCES))] if self.random.random() < 0.2 else []

    def thought(self) -> list[e.ModelEvent]:
        deltas = [e.ReasoningDelta(text) for text in self.random.choices(TEXTS, k=self.random.randint(1, 2))]
        return [*deltas, e.ReasoningEnded(self.random.choice(["", "sig"]), "", self.opaque())]

    def hidden(self) -> list[e.ModelEvent]:
        """Opaque data without a text of its own."""
        return [e.ReasoningEnded("", "redacted", self.opaque())]

    def opaque(self) -> Opaque | UnsetType:
        choices: list[Opaque | UnsetType] = [UNSET, Opaque("p:m", "", '{"a":1}'), Opaque("p:m", "reasoning_content")]
        return self.random.choice(choices)

    def call(self) -> list[e.ModelEvent]:
        random = self.random
        self.calls += 1
        call_id, name = f"call_{self.number}_{self.calls}", random.choice([*sorted(SERVER_TOOLS), "ask_user"])
        arguments = random.choice(["{}", '{"city":"Paris"}', '{"broken', "[1]", '{"a":{"b":[null]}}'])
        error = random.choice(["", "", "timed out"])
        status: e.ToolStatus = "timed_out" if error else "completed"
        result = b"" if error else _json(random).encode()
        self.outcomes[call_id] = e.ToolFinished(call_id, name, status, 12, result, error)
        opaque = self.opaque()
        ready = e.ToolCallReady(call_id, name, arguments, UNSET if self.late_data else opaque)
        late = [e.ToolCallSigned(call_id, opaque)] if self.late_data and opaque else []
        return [e.ToolCallStarted(call_id, name), e.ToolArgumentsDelta(call_id, arguments), ready, *late]


async def _stop() -> None:
    raise asyncio.CancelledError


class ScriptedTools:
    """Tools that run one after the other and return what the script says."""

    schemas = tuple(ToolSchema(name, "", {"type": "object"}) for name in sorted(SERVER_TOOLS))

    def __init__(self, outcomes: Mapping[str, e.ToolFinished]) -> None:
        self._outcomes = outcomes

    def turn(self, emit: e.Emit, /, **_: object) -> "_Group":
        return _Group(emit, self._outcomes)


class _Group:
    def __init__(self, emit: e.Emit, outcomes: Mapping[str, e.ToolFinished]) -> None:
        self._emit, self._outcomes = emit, outcomes
        self._tasks: list[asyncio.Task[ToolMessage]] = []

    def start(self, call: ToolCall, decisions: Sequence[Decision] | None = None) -> None:
        assert decisions is None
        self._tasks.append(asyncio.create_task(self._run(call, self._tasks[-1:])))

    def refuse(self, call: ToolCall, reason: str) -> None:
        raise AssertionError(call, reason)

    @property
    def pending(self) -> Mapping[str, Approval]:
        return {}

    async def results(self) -> Sequence[ToolMessage]:
        return await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._tasks)

    async def _run(self, call: ToolCall, earlier: Sequence[asyncio.Task[ToolMessage]]) -> ToolMessage:
        await asyncio.gather(*earlier)
        ended = self._outcomes[call.id]
        progress = e.ToolProgressed(call.id, call.name, b'{"at":1}')
        await self._emit((e.ToolStarted(call.id, call.name), progress, ended))
        is_error = ended.status != "completed"
        return ToolMessage(call.id, call.name, ended.error or ended.result.decode(), is_error)
