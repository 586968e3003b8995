"""One run of a tool: a task of its own, and the calls that wait for it.

The task is its own so that a tool that ignores its cancellation holds up nobody, and so that identical calls can
share it. It ends with an outcome whatever the tool does; only being cancelled by those who waited ends it otherwise.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from chat.errors import ToolError
from chat.toolkit.results import Outcome, failed, failed_by

__all__ = ["Run", "outcome_of"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)


class Run(Generic[T]):
    """A task with listeners. The last one who leaves cancels it.

    Args:
        work: Ends with the outcome, or the outcomes of a batch.
    """

    def __init__(self, work: Callable[["Run[T]"], Coroutine[Any, Any, T]]) -> None:
        self._listeners: list[Callable[[bytes], Awaitable[None]]] = []
        self.task = asyncio.create_task(work(self))

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for it any more."""
        return not self._listeners

    async def report(self, data: bytes) -> None:
        """Pass progress to everybody who waits."""
        for listener in tuple(self._listeners):
            await listener(data)

    async def wait(self, listener: Callable[[bytes], Awaitable[None]]) -> T | None:
        """Wait for the end.

        Returns:
            What the work ended with; None if it was cancelled by others than us.

        Cancellation: the last one who leaves cancels the task, and does not wait for it.
        """
        self._listeners.append(listener)
        try:
            await asyncio.wait((self.task,))
        finally:
            self._listeners.remove(listener)
            if self.deserted:
                self.task.cancel()
        return None if self.task.cancelled() else self.task.result()


async def outcome_of(name: str, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """The outcome of a piece of work, whatever it raises; its traceback goes to the log.

    Cancellation: passes through, but only what was meant for this task: a tool that cancels itself has failed.
    """
    try:
        return await work()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        return failed(f"{name} cancelled itself.")
    except ToolError as error:
        return failed_by(error)
    except BaseException as error:  # SystemExit too: a tool that calls sys.exit must not end the process
        _LOGGER.warning("tool %s raised %s", name, type(error).__name__, exc_info=error)
        return failed_by(error)
