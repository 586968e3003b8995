"""Try again, with backoff and jitter; for tools that say they are safe to repeat."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from winterbourne.chat.errors import ToolError, ToolUnavailable

__all__ = ["retried"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0


async def retried(name: str, retries: int, work: Callable[[], Awaitable[T]]) -> T:
    """Do a piece of work, and up to `retries` times more while it fails.

    What a tool says on purpose (a ToolError) is no failure, unless it says that something is away.

    Raises:
        Exception: What the last attempt raised.
    """
    try:
        return await work()
    except Exception as error:
        if not retries or not _worth_it(error):
            raise
        first = error
    return await _again(name, retries, work, first)


async def _again(name: str, retries: int, work: Callable[[], Awaitable[T]], first: BaseException) -> T:
    import tenacity  # noqa: PLC0415  (11 ms that only a failure needs)

    def note(state: tenacity.RetryCallState) -> None:
        _LOGGER.info("tool %s is tried again after attempt %d", name, state.attempt_number)

    failures = [first]

    async def attempt() -> T:
        if failures:
            raise failures.pop()  # the attempt that was made already
        return await work()

    return await tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
        retry=tenacity.retry_if_exception(_worth_it),
        before_sleep=note,
        reraise=True,
    )(attempt)


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, Exception) and (not isinstance(error, ToolError) or isinstance(error, ToolUnavailable))
