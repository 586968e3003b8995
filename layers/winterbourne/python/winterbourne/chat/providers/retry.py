"""Retries a provider with exponential backoff and jitter, as long as nothing of its response has been yielded.

tenacity runs the retries; it is imported only after the first attempt has failed, so success does not pay for it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from winterbourne.chat.errors import ModelBusy, ModelError, ModelUnreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["MAX_ATTEMPTS", "stream_with_retry"]

MAX_ATTEMPTS: Final = 5

T = TypeVar("T")

_LOGGER: Final = logging.getLogger(__name__)


async def stream_with_retry(
    start_attempt: Callable[[], AsyncGenerator[T, None]], deadline: float
) -> AsyncGenerator[T, None]:
    """The items of an attempt; if it fails before its first item, start another one.

    Args:
        start_attempt: Starts an attempt, which yields at least one item or raises.
        deadline: In seconds on the event loop's clock. A retry that could not start before it is not attempted.

    Raises:
        ModelError: The error of the last attempt. Only ModelBusy and ModelUnreachable are retried.

    Cancellation:
        Cancels the attempt in progress, or the wait between two attempts.
    """
    stream = start_attempt()
    try:
        first = await anext(stream)
    except (ModelBusy, ModelUnreachable) as error:
        stream, first = await _retry(start_attempt, error, deadline)
    async with aclosing(stream):
        yield first
        async for item in stream:
            yield item


async def _retry(
    start_attempt: Callable[[], AsyncGenerator[T, None]], error: ModelError, deadline: float
) -> tuple[AsyncGenerator[T, None], T]:
    from tenacity import AsyncRetrying, retry_if_exception_type  # noqa: PLC0415 - 10 ms, paid only after a failure

    failures: list[ModelError] = [error]

    async def first_item() -> tuple[AsyncGenerator[T, None], T]:
        if failures:
            raise failures.pop()  # the failed attempt counts as attempt 1
        stream = start_attempt()
        return stream, await anext(stream)

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        retry=retry_if_exception_type((ModelBusy, ModelUnreachable)),
        wait=_backoff_with_jitter_s,
        stop=lambda state: _should_stop(state, deadline),
        before_sleep=_log_retry,
        reraise=True,
    )
    return await retrying(first_item)


def _backoff_with_jitter_s(state: "RetryCallState") -> float:
    """Exponential backoff with full jitter. If the provider asked for a delay: that delay plus some jitter."""
    from tenacity import wait_random_exponential  # noqa: PLC0415 - see above

    backoff_s = wait_random_exponential(multiplier=0.5, max=8)(state)
    error = state.outcome.exception() if state.outcome else None
    retry_after_s = error.retry_after_s if isinstance(error, ModelBusy) else None
    return backoff_s if retry_after_s is None else retry_after_s + backoff_s / 4


def _log_retry(state: "RetryCallState") -> None:
    error = state.outcome.exception() if state.outcome else None
    _LOGGER.warning("retrying the model's provider in %.1f s: %s", state.upcoming_sleep, error)


def _should_stop(state: "RetryCallState", deadline: float) -> bool:
    past_deadline = asyncio.get_running_loop().time() + state.upcoming_sleep >= deadline
    return past_deadline or state.attempt_number >= MAX_ATTEMPTS
