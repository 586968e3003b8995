"""Fake provider and tools with scripted behaviour, for tests of the code around them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from winterbourne.chat.core.events import (
    ChatEvent,
    Emit,
    EventBatch,
    ModelEvent,
    TextDelta,
    ToolCallReady,
    ToolCallStarted,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.core.messages import Approval, Decision, ToolCall, ToolMessage, ToolSchema
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["FakeProvider", "RecordingEmit", "SleepingTools", "SleepingTurn", "answer", "calls_tools", "pause"]

Step = Sequence[ModelEvent] | Callable[[], Awaitable[None]] | Exception


def answer(text: str) -> list[Step]:
    """A turn that sends one text and ends."""
    return [[TextDelta(text)], [TurnEnded("stop", Usage(2, 3))]]


def calls_tools(*calls: tuple[str, str, str]) -> list[Step]:
    """A turn that calls tools: (id, name, arguments) each."""
    steps: list[Step] = [[ToolCallStarted(call[0], call[1]), ToolCallReady(*call)] for call in calls]
    return [*steps, [TurnEnded("tool_calls", Usage(1, 1))]]


def pause(seconds: float) -> Callable[[], Awaitable[None]]:
    """A step that waits and sends nothing."""
    return lambda: asyncio.sleep(seconds)


class RecordingEmit(list[ChatEvent]):
    """An emit callback that records the batches and events, and the loop's time at each event."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[EventBatch] = []
        self.at: list[float] = []

    async def __call__(self, batch: EventBatch) -> None:
        self.batches.append(batch)
        for event in batch:
            self.append(event)
            self.at.append(asyncio.get_running_loop().time())

    def time_of(self, event: ChatEvent) -> float:
        return self.at[self.index(event)]


class FakeProvider:
    """Plays one list of steps per turn: batches, pauses, errors."""

    name = "script"
    takes_image_urls = True

    def __init__(self, *turns: list[Step]) -> None:
        self.turns = list(turns)
        self.requests: list[ModelRequest] = []
        self.open = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        self.requests.append(request)
        self.open += 1
        try:
            for step in self.turns.pop(0):
                if isinstance(step, Exception):
                    raise step
                if callable(step):
                    await step()
                else:
                    yield step
        finally:
            self.open -= 1


class SleepingTools:
    """Tools that sleep for the number of seconds in their arguments and return it."""

    schemas: tuple[ToolSchema, ...] = (ToolSchema("sleep", "Sleeps.", {"type": "object"}),)

    def turn(self, emit: Emit, /, **_: object) -> "SleepingTurn":
        return SleepingTurn(emit)


class SleepingTurn:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._tasks: dict[str, asyncio.Task[ToolMessage]] = {}

    def start(self, call: ToolCall, decisions: Sequence[Decision] | None = None) -> None:
        self._tasks[call.id] = asyncio.create_task(self._sleep(call))

    def refuse(self, call: ToolCall, reason: str) -> None:
        self._tasks[call.id] = asyncio.create_task(self._refuse(call, reason))

    @property
    def pending(self) -> Mapping[str, Approval]:
        return {}

    async def results(self) -> Sequence[ToolMessage]:
        return await asyncio.gather(*self._tasks.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values())

    async def _refuse(self, call: ToolCall, reason: str) -> ToolMessage:
        await self._emit((ToolStarted(call.id, call.name), ToolFinished(call.id, call.name, "failed", 0, error=reason)))
        return ToolMessage(call.id, call.name, reason, is_error=True)

    async def _sleep(self, call: ToolCall) -> ToolMessage:
        try:
            await self._emit((ToolStarted(call.id, call.name),))
            await asyncio.sleep(float(call.arguments))
        except asyncio.CancelledError:
            await self._emit((ToolFinished(call.id, call.name, "cancelled", 0, error="cancelled"),))
            return ToolMessage(call.id, call.name, "cancelled", is_error=True)
        result = call.arguments.encode()
        await self._emit((ToolFinished(call.id, call.name, "completed", int(float(call.arguments) * 1000), result),))
        return ToolMessage(call.id, call.name, call.arguments)
