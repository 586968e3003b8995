"""Tool runner: the tools of an execution environment. `turn` runs the calls of one model turn.

Independent of providers and wire formats: takes ToolCalls, emits events, returns ToolMessages.
"""

import time
from collections.abc import Callable, Iterable

from winterbourne.chat.core.events import Emit
from winterbourne.chat.core.messages import ToolSchema
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.call_group import CANCEL_GRACE_S, ToolCallGroup
from winterbourne.chat.tool_runtime.context import HttpClients
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.registry import ToolRegistry

__all__ = ["ToolRunner"]


class ToolRunner:
    """Created once, with or without a running event loop, and used in one loop.

    Args:
        tools: Any number, from any source; their names must differ.
        settings: The TOOL_ settings apply here; tools may read the settings they declare.
        clients: Where tools get their HTTP clients; by default the shared connection pool.
        wall_clock: Seconds; measures the age of cached results and the open time of circuit breakers.

    Raises:
        InvalidToolDeclaration: Two tools have the same name, or a tool needs a setting that does not exist.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        settings: Settings | None = None,
        *,
        clients: HttpClients | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or Settings()
        self._registry = ToolRegistry(tools, self._settings)
        self._executor = ToolExecutor(self._settings, clients or HttpClients(), wall_clock)

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """The tools as the model sees them."""
        return self._registry.schemas

    def add(self, tools: Iterable[Tool]) -> None:
        """Add tools, such as those of an MCP server that was listed late.

        Raises:
            InvalidToolDeclaration: A name is taken, or a needed setting does not exist; none of the tools is added.
        """
        self._registry.add(tools)

    def turn(
        self, emit: Emit, *, deadline: float = float("inf"), request_id: str = "", caller_id: str = ""
    ) -> ToolCallGroup:
        """Create the call group of one model turn, an async context manager.

        Args:
            emit: Receives the events; called from any number of tasks.
            deadline: Of the invocation, on the event loop's clock, in seconds; tools end TOOL_ANSWER_RESERVE before it.
            request_id: For the tools' contexts.
            caller_id: For the tools' contexts, and for results that are cached per caller.
        """
        return ToolCallGroup(
            self._registry, self._executor, emit, deadline=deadline, request_id=request_id, caller_id=caller_id
        )

    @property
    def abandoned_count(self) -> int:
        """Threads and tasks of tools that ignored their cancellation and are still running."""
        return self._executor.abandoned_count

    @property
    def should_retire(self) -> bool:
        """Whether so many tools are stuck that this environment should end after its current invocations."""
        return self.abandoned_count >= self._settings.tools.tool_abandoned_limit

    async def close(self) -> None:
        """Graceful shutdown: cancel stuck tasks once more, wait briefly, and stop the idle threads."""
        await self._executor.close(CANCEL_GRACE_S)
