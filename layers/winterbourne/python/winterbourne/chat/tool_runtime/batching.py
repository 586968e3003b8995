"""Batching: calls of one tool that arrive within a time window of one turn become one run.

Equal calls become one item of the batch, and each gets that item's outcome.
"""

import asyncio
from collections.abc import Sequence

from winterbourne.chat.tool_runtime.call import ActiveCall, PreparedTool, RunCalls, RunSlot, ToolRun
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["Batching"]


class Batching:
    """The batches of one tool: at most one is open per turn, so that calls of different callers never meet.

    Args:
        name: The tool's name.
        window_s: How long the first call of a batch waits for others.
        run: Runs the calls of a batch.
    """

    def __init__(self, name: str, window_s: float, run: RunCalls) -> None:
        self._name = name
        self._window_s = window_s
        self._run = run

    def join(self, call: ActiveCall) -> RunSlot | None:
        """A slot in the open batch of the call's turn: that of an equal call, or a new one."""
        run = call.turn.open_batches.get(self._name)
        if run is None or not run.subscribers:
            return None
        items = [other.canonical_arguments() for other in run.calls]
        if (item := call.canonical_arguments()) in items:
            return run, items.index(item)
        run.calls.append(call)
        return run, len(items)

    def open(self, run: ToolRun) -> None:
        """Let calls of the same turn join a run that was just started."""
        run.calls[0].turn.open_batches[self._name] = run

    async def run(self, tool: PreparedTool, calls: list[ActiveCall], context: ToolContext) -> Sequence[Outcome]:
        """Wait until the window closes, then run the calls of the batch."""
        await asyncio.sleep(self._window_s)
        del calls[0].turn.open_batches[self._name]
        return await self._run(tool, calls, context)
