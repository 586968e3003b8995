"""Rate limits: requests per minute and tokens per day of each caller, in fixed windows shared by all environments."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chat.stores import KINDS, Clock, open_store
from winterbourne.chat.errors import RateLimitExceeded, StorageUnavailable
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.rate_limits import RateLimiter

ALICE, BOB = "key:alice", "key:bob"


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.time_s = 86_400 * 20_000 + 30.5  # half a minute into a day
    return clock


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, clock) as store:
        yield store


async def refusal(limiter: RateLimiter) -> RateLimitExceeded:
    with pytest.raises(RateLimitExceeded) as refused:
        await limiter.check(ALICE)
    return refused.value


class TestRequestsPerMinute:
    @pytest.fixture
    def limiter(self, store: Store) -> RateLimiter:
        return RateLimiter(store, LimitSettings(limit_requests_per_minute=2))

    async def test_a_request_over_the_limit_is_told_when_to_retry(self, limiter: RateLimiter) -> None:
        await limiter.check(ALICE)
        await limiter.check(ALICE)
        refused = await refusal(limiter)
        assert refused.retry_after_s == 30
        assert str(refused) == "rate limit exceeded: 2 requests per minute"

    async def test_each_caller_has_a_separate_limit(self, limiter: RateLimiter) -> None:
        await limiter.check(ALICE)
        await limiter.check(ALICE)
        await limiter.check(BOB)

    async def test_the_next_minute_is_a_new_window(self, limiter: RateLimiter, clock: Clock) -> None:
        for _ in range(2):
            await limiter.check(ALICE)
            await limiter.check(ALICE)
            clock.time_s += 30

    async def test_all_environments_share_the_count(self, limiter: RateLimiter, store: Store) -> None:
        await RateLimiter(store, LimitSettings(limit_requests_per_minute=2)).check(ALICE)
        await limiter.check(ALICE)
        await refusal(limiter)


class TestTokensPerDay:
    @pytest.fixture
    def limiter(self, store: Store) -> RateLimiter:
        return RateLimiter(store, LimitSettings(limit_tokens_per_day=100))

    async def test_requests_are_rejected_until_midnight_once_they_are_used_up(self, limiter: RateLimiter) -> None:
        await limiter.check(ALICE)
        await limiter.record_usage(ALICE, 60)
        await limiter.check(ALICE)
        await limiter.record_usage(ALICE, 40)
        assert (await refusal(limiter)).retry_after_s == 86_400 - 30
        await limiter.check(BOB)

    async def test_the_next_day_is_a_new_window(self, limiter: RateLimiter, clock: Clock) -> None:
        await limiter.record_usage(ALICE, 100)
        clock.time_s += 86_400
        await limiter.check(ALICE)


async def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        limiter = RateLimiter(store, LimitSettings())
        await limiter.check(ALICE)
        await limiter.record_usage(ALICE, 5)
        assert await store.query_partition("limits#key:alice") == []


async def test_counters_expire_with_their_window(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        await RateLimiter(store, LimitSettings(limit_requests_per_minute=5)).check(ALICE)
        assert len(await store.query_partition("limits#key:alice")) == 1
        clock.time_s += 60
        assert await store.query_partition("limits#key:alice") == []


async def test_limits_fail_closed_if_the_store_is_unavailable() -> None:
    class UnavailableBackend(MemoryBackend):
        def increment(self, *_: object) -> int:
            raise TimeoutError

    limiter = RateLimiter(
        Store(UnavailableBackend, threads=0, is_shared=False), LimitSettings(limit_requests_per_minute=1)
    )
    with pytest.raises(StorageUnavailable):
        await limiter.check(ALICE)
