"""Limits per caller: so many requests a minute, so many tokens a day, wherever they are counted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chat.stores import KINDS, Clock, open_store
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import RequestRejected, StorageUnavailable
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.rate_limits import RateLimiter

ALICE, BOB = Caller("key:alice", "alice"), Caller("key:bob", "bob")


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.time_s = 86_400 * 20_000 + 30.5  # half a minute into a day
    return clock


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, clock) as store:
        yield store


async def refusal(limits: RateLimiter) -> RequestRejected:
    with pytest.raises(RequestRejected) as refused:
        await limits.check(ALICE)
    return refused.value


class TestRequestsPerMinute:
    @pytest.fixture
    def limits(self, store: Store) -> RateLimiter:
        return RateLimiter(store, Settings(limit_requests_per_minute=2))

    async def test_one_too_many_is_told_when_to_come_again(self, limits: RateLimiter) -> None:
        await limits.check(ALICE)
        await limits.check(ALICE)
        refused = await refusal(limits)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert refused.headers == {"retry-after": "30"}
        assert str(refused) == "rate limit exceeded: 2 requests per minute"

    async def test_others_have_their_own(self, limits: RateLimiter) -> None:
        await limits.check(ALICE)
        await limits.check(ALICE)
        await limits.check(BOB)

    async def test_the_next_minute_is_a_new_one(self, limits: RateLimiter, clock: Clock) -> None:
        for _ in range(2):
            await limits.check(ALICE)
            await limits.check(ALICE)
            clock.time_s += 30

    async def test_all_environments_count_together(self, limits: RateLimiter, store: Store) -> None:
        await RateLimiter(store, Settings(limit_requests_per_minute=2)).check(ALICE)
        await limits.check(ALICE)
        assert (await refusal(limits)).status == 429


class TestTokensPerDay:
    @pytest.fixture
    def limits(self, store: Store) -> RateLimiter:
        return RateLimiter(store, Settings(limit_tokens_per_day=100))

    async def test_used_up_they_are_refused_until_midnight(self, limits: RateLimiter) -> None:
        await limits.check(ALICE)
        await limits.record_usage(ALICE, 60)
        await limits.check(ALICE)
        await limits.record_usage(ALICE, 40)
        refused = await refusal(limits)
        assert (refused.status, refused.headers) == (429, {"retry-after": str(86_400 - 30)})
        await limits.check(BOB)

    async def test_the_next_day_is_a_new_one(self, limits: RateLimiter, clock: Clock) -> None:
        await limits.record_usage(ALICE, 100)
        clock.time_s += 86_400
        await limits.check(ALICE)


async def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        limits = RateLimiter(store, Settings())
        await limits.check(ALICE)
        await limits.record_usage(ALICE, 5)
        assert await store.query_partition("limits#key:alice") == []


async def test_counters_are_forgotten_with_their_window(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        await RateLimiter(store, Settings(limit_requests_per_minute=5)).check(ALICE)
        assert len(await store.query_partition("limits#key:alice")) == 1
        clock.time_s += 60
        assert await store.query_partition("limits#key:alice") == []


async def test_a_limit_that_cannot_be_checked_stays_shut() -> None:
    class Away(MemoryBackend):
        def increment(self, *_: object) -> int:
            raise TimeoutError

    limits = RateLimiter(Store(Away, threads=0, is_shared=False), Settings(limit_requests_per_minute=1))
    with pytest.raises(StorageUnavailable):
        await limits.check(ALICE)
