"""Helpers of the tool runtime tests: recording clients, and short ways to make a tool call and to run a turn."""

import asyncio
import contextlib
from collections.abc import Iterator

import orjson

from winterbourne.chat.core.events import EventBatch, ToolEvent, ToolFinished, ToolProgressed
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.infra import telemetry
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.override import override

__all__ = ["DisconnectingClient", "RecordingClient", "StalledClient", "recorded_metrics", "run_turn", "tool_call"]


class RecordingClient:
    """A client that records every event."""

    def __init__(self) -> None:
        self.batches: list[list[ToolEvent]] = []

    async def __call__(self, batch: EventBatch) -> None:
        events: list[ToolEvent] = [event for event in batch if isinstance(event, ToolEvent)]
        assert len(events) == len(batch), "the executor speaks of tools only"
        self.batches.append(events)

    @property
    def events(self) -> list[ToolEvent]:
        return [event for batch in self.batches for event in batch]

    @property
    def finished(self) -> list[ToolFinished]:
        return [event for event in self.events if isinstance(event, ToolFinished)]

    def kinds(self, call_id: str) -> list[str]:
        """The kinds of one call's events in order, as in `["Started", "Finished"]`."""
        return [type(event).__name__.removeprefix("Tool") for event in self.events if event.id == call_id]

    def progress(self, call_id: str) -> list[object]:
        progressed = [event for event in self.events if isinstance(event, ToolProgressed) and event.id == call_id]
        return [orjson.loads(event.data) for event in progressed]


class DisconnectingClient(RecordingClient):
    """A client that disconnects after so many batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._batches_left = after

    @override
    async def __call__(self, batch: EventBatch) -> None:
        if self._batches_left == 0:
            raise ConnectionResetError("gone")
        self._batches_left -= 1
        await super().__call__(batch)


class StalledClient(RecordingClient):
    """A client that stops reading after so many batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._batches_left = after

    @override
    async def __call__(self, batch: EventBatch) -> None:
        await super().__call__(batch)
        self._batches_left -= 1
        if self._batches_left < 0:
            await asyncio.get_running_loop().create_future()


def tool_call(name: str, call_id: str = "1", /, **arguments: object) -> ToolCall:
    """A tool call as the model makes it."""
    return ToolCall(call_id, name, orjson.dumps(arguments).decode())


async def run_turn(
    executor: ToolExecutor, *calls: ToolCall, client: RecordingClient | None = None
) -> list[ToolMessage]:
    """Run one turn with these calls until every call has its result."""
    async with executor.turn(client or RecordingClient()) as turn:
        for call in calls:
            turn.start(call)
        return await turn.results()


@contextlib.contextmanager
def recorded_metrics() -> Iterator[list[tuple[telemetry.Metric, float, str]]]:
    """Record the metrics (name, value, tool) that are measured inside the block."""
    record = telemetry.RequestRecord(0, "test")
    token = telemetry._current_record.set(record)
    try:
        yield record.measurements
    finally:
        telemetry._current_record.reset(token)
