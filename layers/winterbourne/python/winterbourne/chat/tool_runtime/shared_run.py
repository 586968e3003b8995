"""One run of a tool in its own task, and the calls that subscribe to it (single-flight).

Which calls share a run is decided in `ToolExecutor.in_flight`.

A separate task, so that a tool that ignores its cancellation holds up no caller, and so that identical calls can share
it. It ends with an outcome whatever the tool does, unless all its subscribers leave: then it is cancelled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra.exception_text import exception_class_name
from winterbourne.chat.tool_runtime.results import Outcome, failed, outcome_for_exception

__all__ = ["ProgressCallback", "SharedRun", "handle_exception", "run_to_outcome"]

T = TypeVar("T")
ProgressCallback: TypeAlias = Callable[[bytes], Awaitable[None]]
_LOGGER: Final = logging.getLogger(__name__)


class SharedRun:
    """A task with subscribers. The last subscriber to leave cancels it.

    Args:
        work: Returns the outcomes: one, or those of a batch.
        release: Called once, when the work is done or the last subscriber has left.
    """

    def __init__(
        self, work: Callable[["SharedRun"], Coroutine[Any, Any, Sequence[Outcome]]], release: Callable[[], None]
    ) -> None:
        self._subscribers: list[ProgressCallback] = []
        self._release: Callable[[], None] | None = release
        self.task = asyncio.create_task(work(self))
        self.task.add_done_callback(self._release_once)

    @property
    def is_abandoned(self) -> bool:
        """Whether it has no subscribers; it must not be joined then."""
        return not self._subscribers

    def subscribe(self, on_progress: ProgressCallback) -> None:
        """Add a subscriber; `unsubscribe` must follow."""
        self._subscribers.append(on_progress)

    def unsubscribe(self, on_progress: ProgressCallback) -> None:
        """Remove a subscriber. The last one to leave cancels the task; its call group then waits for the task."""
        self._subscribers.remove(on_progress)
        if self.is_abandoned:
            self.task.cancel()
            self._release_once()

    async def publish_progress(self, data: bytes) -> None:
        """Send progress to all subscribers."""
        for on_progress in tuple(self._subscribers):
            await on_progress(data)

    async def wait(self) -> Sequence[Outcome]:
        """Wait until the work is done, and return its outcomes.

        Cancellation:
            Ends the wait, not the work; see `unsubscribe`.
        """
        await asyncio.wait((self.task,))
        return self.task.result()

    def _release_once(self, _: object = None) -> None:
        release_permits, self._release = self._release, None
        if release_permits:
            release_permits()


async def run_to_outcome(name: str, work: Callable[[], Awaitable[T]]) -> T | Outcome:
    """What a piece of work returns, or the outcome of what it raises.

    Cancellation:
        Passes through only if this task was cancelled from outside: a tool that cancels itself has failed.
    """
    try:
        return await work()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        return failed(f"{name} cancelled itself.", fault=True)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: a tool that calls sys.exit must not end the process
        return handle_exception(name, error)


def handle_exception(name: str, error: BaseException) -> Outcome:
    """The outcome of an exception that a tool raised. It is logged, unless it is a ToolError."""
    if not isinstance(error, ToolError):
        _LOGGER.warning("tool %s raised %s", name, exception_class_name(error), exc_info=error)
    return outcome_for_exception(name, error)
