"""Run the tools a model asked for, side by side.

Knows nothing of providers or of the wire: ToolCall in, events on the way, ToolMessage out. What every call gets,
whatever its tool does: one ToolFinished and one ToolMessage.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from chat.errors import ToolError, ToolMisdeclared
from chat.events import Emit
from chat.messages import ToolCall, ToolMessage, ToolSchema
from chat.settings import Settings
from chat.toolkit.call import Call
from chat.toolkit.context import Clients, ToolContext
from chat.toolkit.places import Kind, Places
from chat.toolkit.results import CANCELLED, Outcome, encode, failed, timed_out
from chat.toolkit.run import Run, outcome_of
from chat.toolkit.threads import Threads
from chat.toolkit.tool import Tool

__all__ = ["ToolRunner", "Turn"]

_LOGGER: Final = logging.getLogger(__name__)
_UNKNOWN: Final = "unknown"

# A cancelled tool may close what it has open; one that ignores its cancellation is left after this many seconds.
GRACE_S: Final = 0.25


class ToolRunner:
    """The tools of an execution environment, and what their calls share. Lives as long as the event loop.

    Args:
        tools: Any number, from any origin; their names must differ.
        settings: The TOOL_ settings are read here, all of them by the tools.
        clients: Where tools get their HTTP clients.

    Raises:
        ToolMisdeclared: Two tools have one name, or a tool needs a setting that does not exist.
    """

    def __init__(self, tools: Iterable[Tool], settings: Settings | None = None, clients: Clients | None = None) -> None:
        self.settings = settings or Settings()
        self.clients = clients or Clients()
        self.threads = Threads(self.settings.tool_abandoned_limit)
        self.places = Places()
        self.tools = _by_name(tools)
        self.schemas: tuple[ToolSchema, ...] = tuple(tool.schema for tool in self.tools.values())
        self._missing = {tool.name: _missing(tool, self.settings) for tool in self.tools.values()}
        self._left: set[asyncio.Task[Any]] = set()
        self._thread_places = Kind(self.settings.tool_executor_max_workers)
        self._tool_places = {t.name: Kind(t.options.concurrency) for t in self.tools.values() if t.options.concurrency}

    def turn(self, emit: Emit, *, deadline: float = float("inf"), request_id: str = "", caller: str = "") -> "Turn":
        """One model turn's calls, as an async context manager.

        Args:
            emit: Where events go, from any number of tasks.
            deadline: Of the invocation, on the event loop's clock, in seconds; TOOL_ANSWER_RESERVE is kept back.
            request_id: For the tools' contexts.
            caller: Likewise.
        """
        return Turn(self, emit, deadline, request_id, caller)

    @property
    def retiring(self) -> bool:
        """Whether so many threads and tasks are stuck that the environment should end after this invocation."""
        return self.threads.abandoned + len(self._left) >= self.settings.tool_abandoned_limit

    async def close(self) -> None:
        """Cancel what was left behind and let the idle threads end."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=GRACE_S)
        self.threads.close()

    # For the turns

    def at_once(self, call: Call) -> Outcome | tuple[Tool, Any]:
        """What can be said without running anything: a failure, or the tool and its checked arguments."""
        name = call.asked.name
        if (tool := self.tools.get(name)) is None:
            return failed(f"There is no tool named {name}; the tools are {', '.join(self.tools) or 'none'}.")
        if missing := self._missing[name]:
            return failed(f"{name} is not set up here: {missing} is not set. Tell the user; do not call it again.")
        try:
            return tool, tool.read(call.asked.arguments)
        except ToolError as error:
            return failed(str(error))

    def label(self, name: str) -> str:
        """The name in metrics and logs; a model may make up any other."""
        return name if name in self.tools else _UNKNOWN

    def kinds(self, tool: Tool) -> list[Kind]:
        """The places a call of this tool needs, beside its conversation's."""
        own = [self._tool_places[tool.name]] if tool.name in self._tool_places else []
        return [*own, self._thread_places] if tool.blocking else own

    def leave(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Take over tasks that did not end when they were cancelled."""
        for task in tasks:
            self._left.add(task)
            task.add_done_callback(self._left.discard)
            _LOGGER.warning("a tool ignored its cancellation and was left behind, %d are now", len(self._left))


class Turn:
    """The calls of one model turn; made by `ToolRunner.turn`, used with `async with`."""

    def __init__(self, runner: ToolRunner, emit: Emit, deadline: float, request_id: str, caller: str) -> None:
        self._runner = runner
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._latest = deadline - runner.settings.tool_answer_reserve
        self._request_id = request_id
        self._caller = caller
        self._place = Kind(runner.settings.tool_concurrency)
        self._calls: list[Call] = []
        self._tasks: list[asyncio.Task[ToolMessage]] = []
        self._runs: list[Run[Any]] = []

    def start(self, asked: ToolCall) -> None:
        """Run a call, beginning in the next turn of the loop. May be called while the model goes on talking."""
        call = Call(asked, self._runner.label(asked.name), self._emit)
        self._calls.append(call)
        self._tasks.append(self._loop.create_task(self._answer(call)))

    async def results(self) -> list[ToolMessage]:
        """Wait for all calls.

        Returns:
            Exactly one message per call, in the order in which the calls were started.

        Raises:
            Exception: What `emit` raised; leaving the block cancels the other calls.

        Cancellation: cancels all calls and waits for their last words.
        """
        messages = await asyncio.gather(*self._tasks)
        names = ", ".join(message.name for message in messages)
        _LOGGER.info("completed %d tool calls: [%s]", len(messages), names)
        return messages

    @property
    def messages(self) -> list[ToolMessage]:
        """The messages of the calls that are finished, in call order; after the block, of all calls."""
        return [call.message for call in self._calls if call.message]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await whatever still runs; every call has its last word then.

        Raises:
            Exception: What `emit` raised, unless the block is left with an error already.
        """
        try:
            await self._cancel()
            await self._last_words()
        except Exception:
            if error is None:  # else what the block was left with stands; a client that is gone breaks `emit` too
                raise

    # Private methods

    async def _cancel(self) -> None:
        """Cancel and await all that runs; what ignores it for GRACE_S is left to the runner."""
        try:
            await _cancelled(self._tasks)
            await _cancelled([run.task for run in self._runs if run.deserted])
        finally:
            self._runner.leave(run.task for run in self._runs if run.deserted and not run.task.done())

    async def _last_words(self) -> None:
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        for call in self._calls:
            await self._finish_cancelled(call)  # those whose task was cancelled before it had begun

    async def _finish_cancelled(self, call: Call) -> ToolMessage:
        """Bounded, since a client that reads no more must not hold up a cancellation."""
        async with asyncio.timeout(GRACE_S):
            return await call.finish(CANCELLED)

    async def _answer(self, call: Call) -> ToolMessage:
        try:
            outcome = await self._outcome(call)
        except asyncio.CancelledError:
            return await self._finish_cancelled(call)
        return await call.finish(outcome)

    async def _outcome(self, call: Call) -> Outcome:
        said = self._runner.at_once(call)
        if isinstance(said, Outcome):
            return said
        tool, arguments = said
        kinds = [self._place, *self._runner.kinds(tool)]
        try:
            async with asyncio.timeout_at(self._latest) as scope:
                if not self._runner.places.take(kinds):
                    await call.queued()
                    await self._runner.places.wait(kinds)
                try:
                    scope.reschedule(self._limit(tool))
                    return await self._run(call, tool, arguments)
                finally:
                    self._runner.places.give_back(kinds)
        except TimeoutError:
            if not scope.expired():
                raise
            return self._too_late(tool)

    def _limit(self, tool: Tool) -> float:
        """When a call that starts now is stopped, on the loop's clock."""
        return min(self._loop.time() + self._timeout_s(tool), self._latest)

    def _timeout_s(self, tool: Tool) -> float:
        return tool.options.timeout_s or self._runner.settings.tool_execution_timeout

    def _too_late(self, tool: Tool) -> Outcome:
        if self._loop.time() >= self._latest:
            return timed_out(f"{tool.name} was stopped: the time left is needed for the answer.")
        return timed_out(f"{tool.name} did not finish within {self._timeout_s(tool):g} seconds and was stopped.")

    async def _run(self, call: Call, tool: Tool, arguments: Any) -> Outcome:
        run = Run[Outcome](lambda run: self._work(run, tool, arguments))
        self._runs.append(run)
        await call.started()
        return await run.wait(call.progressed) or failed(
            f"{tool.name} was stopped by another call that shared its run."
        )

    async def _work(self, run: Run[Outcome], tool: Tool, arguments: Any) -> Outcome:
        settings = self._runner.settings
        context = ToolContext(
            request_id=self._request_id,
            caller=self._caller,
            deadline=self._limit(tool),
            settings=settings,
            clients=self._runner.clients,
            threads=self._runner.threads,
            report=run.report,
        )
        limit = tool.options.max_result_bytes or settings.tool_max_result_bytes

        async def work() -> Outcome:
            return Outcome("completed", encode(await tool.call(arguments, context), limit))

        return await outcome_of(tool.name, work)


# Private functions


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what is not done and wait for it, at most GRACE_S."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=GRACE_S)


def _by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    named: dict[str, Tool] = {}
    for tool in tools:
        if named.setdefault(tool.name, tool) is not tool:
            raise ToolMisdeclared(f"Two tools are named {tool.name}.")
    return named


def _missing(tool: Tool, settings: Settings) -> str:
    """The first setting the tool needs and has not.

    Raises:
        ToolMisdeclared: There is no such setting.
    """
    for name in tool.options.needs:
        if not hasattr(settings, name.lower()):
            raise ToolMisdeclared(f"Tool {tool.name} needs {name}, which is no setting.")
        if not getattr(settings, name.lower()):
            _LOGGER.warning("tool %s is not available: %s is not set", tool.name, name)
            return name
    return ""
