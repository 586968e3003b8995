"""One call on its way to its one final word: the events, the log line and the metrics it leaves."""

import asyncio
import logging
from typing import Final

from winterbourne.chat.core.events import Emit, ToolEvent, ToolFinished, ToolProgressed, ToolQueued, ToolStarted
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["CallReporter"]

_LOGGER: Final = logging.getLogger(__name__)


class CallReporter:
    """A call and what was said of it.

    Args:
        asked: What the model wrote.
        label: The tool's name in metrics, from a closed set: a model may make up any name.
        emit: Where events go. What it raises goes to whoever waits for the call.
    """

    def __init__(self, tool_call: ToolCall, label: str, emit: Emit) -> None:
        self.tool_call = tool_call
        self.message: ToolMessage | None = None
        """The final word; None until it was said."""
        self._label = label
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._started_at: float | None = None
        self._emit_error: Exception | None = None

    async def report_queued(self) -> None:
        """Say that the call waits for a place."""
        await self._emit((ToolQueued(self.tool_call.id, self.tool_call.name),))

    async def report_started(self) -> None:
        """Say that the call runs; its duration counts from here."""
        self._started_at = self._clock()
        await self._emit((ToolStarted(self.tool_call.id, self.tool_call.name),))

    async def report_progress(self, data: bytes) -> None:
        """Pass progress on, unless the final word was said.

        A client that is gone is no fault of the tool, which others may share: `finish` raises it.
        """
        if self.message or self._emit_error:
            return
        try:
            await self._emit((ToolProgressed(self.tool_call.id, self.tool_call.name, data),))
        except Exception as error:  # noqa: BLE001 - kept, and raised by `finish`
            self._emit_error = error

    async def finish(self, outcome: Outcome) -> ToolMessage:
        """Say the final word, once; later words are not heard. The log and the metrics hear of it after the client.

        Raises:
            Exception: What `emit` raises; the call is finished nevertheless.
        """
        if self.message:
            return self.message
        content = outcome.error or outcome.result.decode()
        self.message = ToolMessage(
            self.tool_call.id, self.tool_call.name, content, is_error=outcome.status != "completed"
        )
        now = self._clock()
        duration_s = now - (now if self._started_at is None else self._started_at)
        try:
            if self._emit_error:
                raise self._emit_error
            await self._emit(self._final_events(outcome, duration_s))
        finally:
            self._log_and_measure(outcome, duration_s)
        return self.message

    def _final_events(self, outcome: Outcome, duration_s: float) -> list[ToolEvent]:
        """A call that never ran is started and finished in one batch."""
        tool_call = self.tool_call
        first: list[ToolEvent] = [ToolStarted(tool_call.id, tool_call.name)] if self._started_at is None else []
        duration_ms = round(duration_s * 1000)
        return [
            *first,
            ToolFinished(tool_call.id, tool_call.name, outcome.status, duration_ms, outcome.result, outcome.error),
        ]

    def _log_and_measure(self, outcome: Outcome, duration_s: float) -> None:
        extra = {"tool": self._label, "tool_call_id": self.tool_call.id, "tool_status": outcome.status}
        _LOGGER.info("tool %s executed in %.3fs", self._label, duration_s, extra=extra)
        measure("ToolCalls", tool=self._label)
        measure("ToolDuration", duration_s * 1000, tool=self._label)
        if outcome.status == "failed":
            measure("ToolErrors", tool=self._label)
        if outcome.status == "timed_out":
            measure("ToolTimeouts", tool=self._label)
