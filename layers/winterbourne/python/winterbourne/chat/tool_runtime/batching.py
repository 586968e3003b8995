"""Batching: calls of one tool that arrive within a time window of one turn become one run.

Equal calls become one item of the batch, and each gets that item's outcome.
"""

import asyncio
from collections.abc import Sequence

from winterbourne.chat.tool_runtime.call import ActiveCall, PreparedTool, RunCalls, RunSlot, ToolRun, Turn
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["Batching"]


class Batching:
    """The open batches of one tool: at most one per turn, so that calls of different callers never meet.

    Args:
        window_s: How long the first call of a batch waits for others.
        run: Runs the calls of a batch.
    """

    def __init__(self, window_s: float, run: RunCalls) -> None:
        self._window_s = window_s
        self._run = run
        self._open: dict[Turn, ToolRun] = {}

    def join(self, call: ActiveCall) -> RunSlot | None:
        """A slot in the open batch of the call's turn: that of an equal call, or a new one."""
        run = self._open.get(call.turn)
        if run is None or not run.subscribers:
            return None
        items = [other.canonical_arguments() for other in run.calls]
        if (item := call.canonical_arguments()) in items:
            return run, items.index(item)
        run.calls.append(call)
        return run, len(items)

    def open(self, run: ToolRun) -> None:
        """Open a batch for the turn of a run that was just started."""
        self._open[run.calls[0].turn] = run
        run.task.add_done_callback(lambda _: self._close(run.calls))  # if it is cancelled while it is open

    async def run(self, tool: PreparedTool, calls: list[ActiveCall], context: ToolContext) -> Sequence[Outcome]:
        """Wait until the window closes, then run the calls of the batch."""
        await asyncio.sleep(self._window_s)
        self._close(calls)
        return await self._run(tool, calls, context)

    def _close(self, calls: list[ActiveCall]) -> None:
        turn = calls[0].turn
        if (run := self._open.get(turn)) and run.calls is calls:
            del self._open[turn]
