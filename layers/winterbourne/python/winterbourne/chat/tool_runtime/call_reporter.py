"""Reports one tool call: its events up to exactly one terminal event, its log line and its metrics."""

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
    """One tool call and what was reported about it.

    Args:
        tool_call: The call as the model wrote it.
        label: The tool's name in logs and metrics, from a closed set: a model may make up any name.
        emit: Receives the events. What it raises is raised to whoever awaits the call.
    """

    def __init__(self, tool_call: ToolCall, label: str, emit: Emit) -> None:
        self.tool_call = tool_call
        self.message: ToolMessage | None = None
        """The message for the model; None until the call is finished."""
        self._label = label
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._started_at: float | None = None
        self._emit_error: Exception | None = None

    async def report_queued(self) -> None:
        """Emit that the call waits for a permit."""
        await self._emit((ToolQueued(self.tool_call.id, self.tool_call.name),))

    async def report_started(self) -> None:
        """Emit that the call runs; its duration is measured from here."""
        self._started_at = self._clock()
        await self._emit((ToolStarted(self.tool_call.id, self.tool_call.name),))

    async def report_progress(self, data: bytes) -> None:
        """Emit progress, unless the call is finished.

        A disconnected client is not the tool's fault, and other calls may share the run: what `emit` raises is kept
        and raised by `finish`.
        """
        if self.message or self._emit_error:
            return
        try:
            await self._emit((ToolProgressed(self.tool_call.id, self.tool_call.name, data),))
        except Exception as error:  # noqa: BLE001 - kept, and raised by `finish`
            self._emit_error = error

    async def finish(self, outcome: Outcome) -> ToolMessage:
        """Emit the terminal event, once; later outcomes are ignored. The log line and the metrics follow the event.

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
        """The terminal event; a call that never ran is started and finished in one batch."""
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
