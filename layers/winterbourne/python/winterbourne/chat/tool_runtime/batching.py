"""Batching: calls of one tool that arrive within a time window of one turn become one run.

The window closes early when the model's turn has ended, since no more calls can come.
Equal calls become one item of the batch, and each gets that item's outcome.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from winterbourne.chat.tool_runtime.call import ActiveCall, PreparedTool, RunCalls, RunSlot, ToolRun
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["Batching"]


class Batching(msgspec.Struct, frozen=True):
    """The batches of one tool: at most one is open per turn, so that calls of different callers never meet.

    Attributes:
        name: The tool's name.
        window_s: How long the first call of a batch waits for others while the model is still streaming.
        run_calls: Runs the calls of a batch.
    """

    name: str
    window_s: float
    run_calls: RunCalls

    def join(self, call: ActiveCall) -> RunSlot | None:
        """A slot in the open batch of the call's turn: that of an equal call, or a new one."""
        run = call.turn.open_batches.get(self.name)
        if run is None or not run.subscribers:
            return None
        items = [other.identity for other in run.calls]
        if call.identity and call.identity in items:
            return run, items.index(call.identity)
        run.calls.append(call)
        return run, len(items)

    def open(self, run: ToolRun) -> None:
        """Let calls of the same turn join a run that was just started."""
        run.calls[0].turn.open_batches[self.name] = run

    async def run(self, tool: PreparedTool, calls: list[ActiveCall], context: ToolContext) -> Sequence[Outcome]:
        """Wait until the window closes, then run the calls of the batch."""
        turn = calls[0].turn
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.window_s):
                await turn.all_started.wait()
        del turn.open_batches[self.name]
        return await self.run_calls(tool, calls, context)
