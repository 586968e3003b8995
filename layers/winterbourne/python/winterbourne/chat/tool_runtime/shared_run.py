"""One run of a tool: a task of its own, and the calls that wait for it.

The task is its own so that a tool that ignores its cancellation holds up nobody, and so that identical calls can
share it. It ends with an outcome whatever the tool does; only being deserted by those who waited ends it otherwise.
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
    """A task with listeners. The last one who leaves cancels it.

    Args:
        work: Ends with the outcomes: one, or those of a batch.
        release: Called once, when the work is over or nobody waits for it any more.
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
        """Whether nobody waits for it any more; it must not be joined then."""
        return not self._subscribers

    def subscribe(self, on_progress: ProgressCallback) -> None:
        """Wait for it from now on; `leave` must follow."""
        self._subscribers.append(on_progress)

    def unsubscribe(self, on_progress: ProgressCallback) -> None:
        """Wait no more. The last one who leaves cancels the task; who leaves last of all is its turn's business."""
        self._subscribers.remove(on_progress)
        if self.is_abandoned:
            self.task.cancel()
            self._release_once()

    async def publish_progress(self, data: bytes) -> None:
        """Pass progress to everybody who waits."""
        for on_progress in tuple(self._subscribers):
            await on_progress(data)

    async def wait(self) -> Sequence[Outcome]:
        """Wait until it is over, and return what the work ended with.

        Cancellation: ends the waiting and not the work; see `leave`.
        """
        await asyncio.wait((self.task,))
        return self.task.result()

    def _release_once(self, _: object = None) -> None:
        release_permits, self._release = self._release, None
        if release_permits:
            release_permits()


async def run_to_outcome(name: str, work: Callable[[], Awaitable[T]]) -> T | Outcome:
    """What a piece of work returns, or the outcome of what it raises.

    Cancellation: passes through, but only what was meant for this task: a tool that cancels itself has failed.
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
    """The outcome of what a tool raised. What nobody else is told of it goes into the log."""
    if not isinstance(error, ToolError):
        _LOGGER.warning("tool %s raised %s", name, exception_class_name(error), exc_info=error)
    return outcome_for_exception(name, error)
