"""The tools of an execution environment. `turn` runs the calls of one model turn.

Knows nothing of providers or of the wire: ToolCall in, events on the way, ToolMessage out.
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
    """Made once, with or without an event loop, and used in one.

    Args:
        tools: Any number, from any origin; their names must differ.
        settings: The TOOL_ settings are read here, all of them by the tools.
        clients: Where tools get their HTTP clients; the shared pool's.
        wall_clock: Seconds; what kept results age by, and pauses of breakers.

    Raises:
        ToolMisdeclared: Two tools have one name, or a tool needs a setting that does not exist.
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
        """The tools as a model is told of them."""
        return self._registry.schemas

    def add(self, tools: Iterable[Tool]) -> None:
        """Take more tools, such as those of a server that was listed late.

        Raises:
            ToolMisdeclared: One has the name of another; none of them is taken.
        """
        self._registry.add(tools)

    def turn(
        self, emit: Emit, *, deadline: float = float("inf"), request_id: str = "", caller: str = ""
    ) -> ToolCallGroup:
        """One model turn's calls, as an async context manager.

        Args:
            emit: Where events go, from any number of tasks.
            deadline: Of the invocation, on the event loop's clock, in seconds; TOOL_ANSWER_RESERVE is kept back.
            request_id: For the tools' contexts.
            caller: Likewise, and for results that are kept per caller.
        """
        return ToolCallGroup(
            self._registry, self._executor, emit, deadline=deadline, request_id=request_id, caller=caller
        )

    @property
    def abandoned_count(self) -> int:
        """Threads and tasks of tools that did not end when they were told to, and still run."""
        return self._executor.abandoned_count

    @property
    def should_retire(self) -> bool:
        """Whether so much is stuck that this environment should end after the invocations it has."""
        return self.abandoned_count >= self._settings.tool_abandoned_limit

    async def close(self) -> None:
        """At shutdown: cancel what was left behind once more, wait a little, let the idle threads end."""
        await self._executor.close(CANCEL_GRACE_S)
