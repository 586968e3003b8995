"""Asking a provider again, only while nothing of its answer was seen.

tenacity decides how long to wait; it is imported when the first attempt has failed, so the good path never pays.
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
    """Yield what an attempt yields; start another one where it failed before its first item.

    Args:
        start_attempt: Starts one; it yields at least one item or raises.
        deadline: On the event loop's clock, seconds. An attempt that could not start before it is not waited for.

    Raises:
        ModelError: That of the last attempt. What is neither busy nor unreachable is not tried again.

    Cancellation:
        Reaches the attempt under way, and the wait between two.
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
    from tenacity import AsyncRetrying, retry_if_exception_type  # noqa: PLC0415 - 10 ms only failures pay

    failures: list[ModelError] = [error]

    async def first_item() -> tuple[AsyncGenerator[T, None], T]:
        if failures:
            raise failures.pop()  # the first attempt counts as the first
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
    """Exponential backoff with full jitter; what the provider asks for comes first, jitter on top of it."""
    from tenacity import wait_random_exponential  # noqa: PLC0415 - see above

    backoff_s = wait_random_exponential(multiplier=0.5, max=8)(state)
    error = state.outcome.exception() if state.outcome else None
    retry_after_s = error.retry_after_s if isinstance(error, ModelBusy) else None
    return backoff_s if retry_after_s is None else retry_after_s + backoff_s / 4


def _log_retry(state: "RetryCallState") -> None:
    error = state.outcome.exception() if state.outcome else None
    _LOGGER.warning("the model is asked again in %.1f s: %s", state.upcoming_sleep, error)


def _should_stop(state: "RetryCallState", deadline: float) -> bool:
    past_deadline = asyncio.get_running_loop().time() + state.upcoming_sleep >= deadline
    return past_deadline or state.attempt_number >= MAX_ATTEMPTS
