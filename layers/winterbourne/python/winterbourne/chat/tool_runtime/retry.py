"""Retry with exponential backoff and jitter, for tools declared as idempotent (safe to repeat)."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from winterbourne.chat.errors import ToolError, ToolUnavailable

__all__ = ["with_retry"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)

BACKOFF_BASE_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0


async def with_retry(name: str, retries: int, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, and repeat it up to `retries` times while it fails.

    A ToolError is not retried, since the tool raised it on purpose; a ToolUnavailable is.

    Raises:
        Exception: What the last attempt raised.
    """
    try:
        return await work()
    except Exception as error:
        if not retries or not _is_retryable(error):
            raise
        first_error = error
    return await _retry(name, retries, work, first_error)


async def _retry(name: str, retries: int, work: Callable[[], Awaitable[T]], first_error: BaseException) -> T:
    import tenacity  # noqa: PLC0415 - 11 ms that only a failure needs

    def log_retry(state: tenacity.RetryCallState) -> None:
        _LOGGER.info("retrying tool %s after attempt %d", name, state.attempt_number)

    failures = [first_error]

    async def attempt() -> T:
        if failures:
            raise failures.pop()  # stands for the attempt already made
        return await work()

    return await tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=tenacity.wait_random_exponential(multiplier=BACKOFF_BASE_S, max=BACKOFF_MAX_S),
        retry=tenacity.retry_if_exception(_is_retryable),
        before_sleep=log_retry,
        reraise=True,
    )(attempt)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, Exception) and (not isinstance(error, ToolError) or isinstance(error, ToolUnavailable))
