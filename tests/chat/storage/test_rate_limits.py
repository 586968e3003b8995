"""Rate limits: requests per minute and tokens per day of each caller, in fixed windows shared by all environments."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.stores import KINDS, Clock, open_store
from winterbourne.chat.errors import RateLimitExceeded, StorageUnavailable
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.rate_limits import (
    DAY_S,
    OTHER_REQUESTS_FACTOR,
    RESERVED_RETRY_S,
    SLOT_S,
    RateLimiter,
    TokenReservation,
)
from winterbourne.override import override

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


class TestRequestsPerMinute:
    @pytest.fixture
    def limiter(self, store: Store) -> RateLimiter:
        return RateLimiter(store, LimitSettings(limit_requests_per_minute=2))

    async def test_a_request_over_the_limit_is_told_when_to_retry(self, limiter: RateLimiter) -> None:
        await limiter.count_request(ALICE)
        await limiter.count_request(ALICE)
        with pytest.raises(RateLimitExceeded) as refused:
            await limiter.count_request(ALICE)
        assert refused.value.retry_after_s == 30
        assert str(refused.value) == "rate limit exceeded: 2 requests per minute"

    async def test_each_caller_has_a_separate_limit(self, limiter: RateLimiter) -> None:
        for caller in (ALICE, BOB):
            await limiter.count_request(caller)
            await limiter.count_request(caller)

    async def test_requests_that_begin_no_chat_have_a_higher_limit_of_their_own(self, limiter: RateLimiter) -> None:
        await limiter.count_request(ALICE)
        await limiter.count_request(ALICE)
        for _ in range(2 * OTHER_REQUESTS_FACTOR):
            await limiter.count_request(ALICE, is_chat=False)
        with pytest.raises(RateLimitExceeded, match="10 requests per minute"):
            await limiter.count_request(ALICE, is_chat=False)

    async def test_the_next_minute_is_a_new_window(self, limiter: RateLimiter, clock: Clock) -> None:
        for _ in range(2):
            await limiter.count_request(ALICE)
            await limiter.count_request(ALICE)
            clock.time_s += 30

    async def test_all_environments_share_the_count(self, limiter: RateLimiter, store: Store) -> None:
        await RateLimiter(store, LimitSettings(limit_requests_per_minute=2)).count_request(ALICE)
        await limiter.count_request(ALICE)
        with pytest.raises(RateLimitExceeded):
            await limiter.count_request(ALICE)


async def use(store: Store, used: int, *, reserve: int = 0, limit: int = 100) -> None:
    """A request that is let in and ends."""
    reservation = TokenReservation(store, ALICE, limit)
    await reservation.extend(reserve or used)
    await reservation.settle(used)


async def try_to_reserve(store: Store, tokens: int, limit: int) -> bool:
    try:
        await TokenReservation(store, ALICE, limit).extend(tokens)
    except RateLimitExceeded:
        return False
    return True


def reserve_in_a_process(path: str) -> int:
    """How many of 20 requests at once are let in; each reserves 10 tokens of 200."""

    async def run() -> int:
        store = make_store(f"file:{path}")
        try:
            return sum(await asyncio.gather(*(try_to_reserve(store, 10, 200) for _ in range(20))))
        finally:
            await store.close()

    return asyncio.run(run())


class TestTokensPerDay:
    async def test_requests_are_rejected_until_midnight_once_they_are_used_up(self, store: Store) -> None:
        await use(store, 60)
        await use(store, 40)
        with pytest.raises(RateLimitExceeded) as refused:
            await use(store, 1)
        assert refused.value.retry_after_s == DAY_S - 30
        assert str(refused.value) == "rate limit exceeded: 100 tokens per day"
        await TokenReservation(store, BOB, 100).extend(1)

    async def test_the_request_that_crosses_the_limit_is_answered_in_full(self, store: Store) -> None:
        await use(store, 99)
        await use(store, 50, reserve=1000)
        with pytest.raises(RateLimitExceeded):
            await use(store, 1)

    async def test_the_next_day_is_a_new_window(self, store: Store, clock: Clock) -> None:
        await use(store, 100)
        clock.time_s += DAY_S
        await use(store, 100)

    async def test_what_was_reserved_is_replaced_by_what_was_used(self, store: Store) -> None:
        for _ in range(10):
            await use(store, 10, reserve=90)

    @pytest.mark.parametrize("at_once", [40, 300])
    async def test_requests_at_once_are_let_in_exactly_as_many_as_fit(self, store: Store, at_once: int) -> None:
        let_in = await asyncio.gather(*(try_to_reserve(store, 7, 200) for _ in range(at_once)))
        assert sum(let_in) == 29  # 28 have 7 tokens each, one the 4 that are left

    async def test_the_rest_that_is_reserved_is_told_from_the_rest_that_is_used(self, store: Store) -> None:
        running = TokenReservation(store, ALICE, 100)
        await running.extend(100)
        with pytest.raises(RateLimitExceeded) as refused:
            await use(store, 1)
        assert refused.value.retry_after_s == RESERVED_RETRY_S
        await running.settle(10)
        await use(store, 90)

    async def test_the_turns_of_one_request_add_up(self, store: Store) -> None:
        request = TokenReservation(store, ALICE, 100)
        await request.extend(50)
        await request.extend(40 + 50, used=40)
        await request.extend(80 + 50, used=80)  # 20 are left of 50
        with pytest.raises(RateLimitExceeded) as refused:
            await request.extend(110 + 50, used=110)
        assert refused.value.retry_after_s == DAY_S - 30
        await request.settle(110)
        with pytest.raises(RateLimitExceeded):
            await use(store, 1)

    async def test_a_request_that_ends_after_midnight_belongs_to_the_day_of_its_begin(
        self, store: Store, clock: Clock
    ) -> None:
        clock.time_s += DAY_S - 60
        request = TokenReservation(store, ALICE, 100)
        await request.extend(100)
        clock.time_s += 60
        await use(store, 100)
        await request.settle(100)

    @pytest.mark.parametrize("later_s", [0, SLOT_S - 1])
    async def test_reservations_count_in_the_slot_after_theirs(
        self, store: Store, clock: Clock, later_s: float
    ) -> None:
        clock.time_s += SLOT_S - 31
        first = TokenReservation(store, ALICE, 100)
        await first.extend(60)
        clock.time_s += 1 + later_s
        second = TokenReservation(store, ALICE, 100)
        await second.extend(30)
        with pytest.raises(RateLimitExceeded):
            await first.extend(60 + 50, used=60 + 10)
        await second.settle(0)
        await first.extend(60 + 50, used=60 + 10)

    async def test_what_a_killed_process_has_reserved_expires(self, store: Store, clock: Clock) -> None:
        await TokenReservation(store, ALICE, 100).extend(100)
        clock.time_s += 2 * SLOT_S
        await use(store, 100)

    def test_processes_that_share_a_file_share_the_limit(self, tmp_path: Path) -> None:
        path = str(tmp_path / "items.db")
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert sum(pool.map(reserve_in_a_process, [path] * 3)) == 20

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=30))
    def test_whatever_runs_at_once_only_one_turn_exceeds_the_limit(self, calls: list[tuple[int, int, bool]]) -> None:
        """Each call reserves, and uses no more than that; some end, some run on."""

        async def run() -> None:
            store, total, promised = Store(MemoryBackend, threads=0, is_shared=True), 0, 0
            for reserved, used, ends in calls:
                reservation = TokenReservation(store, ALICE, 100)
                try:
                    await reservation.extend(reserved)
                except RateLimitExceeded:
                    assert total + promised >= 100
                    continue
                assert total + promised < 100
                if ends:
                    await reservation.settle(min(used, reserved))
                    total += min(used, reserved)
                else:
                    promised += reserved
            assert total + promised < 100 + 60

        asyncio.run(run())


async def test_a_failure_while_reserving_leaves_nothing_reserved(clock: Clock) -> None:
    class FlakyBackend(MemoryBackend):
        fails = True

        @override
        def get(self, pk: str, sk: str) -> Item | None:
            if "tokens" in sk and self.fails:
                raise TimeoutError
            return super().get(pk, sk)

    backend = FlakyBackend()
    store = Store(lambda: backend, threads=0, is_shared=True, now=clock)
    request = TokenReservation(store, ALICE, 100)
    with pytest.raises(StorageUnavailable):
        await request.extend(100)
    backend.fails = False
    await request.settle(0)
    await use(store, 100)


async def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        limiter = RateLimiter(store, LimitSettings())
        await limiter.count_request(ALICE)
        assert limiter.token_reservation(ALICE) is None
        assert await store.query_partition("limits#key:alice") == []


@pytest.mark.parametrize("is_shared", [True, False])
async def test_limits_that_each_process_counts_by_itself_are_warned_of(
    caplog: pytest.LogCaptureFixture, *, is_shared: bool
) -> None:
    RateLimiter(Store(MemoryBackend, threads=0, is_shared=is_shared), LimitSettings(limit_tokens_per_day=1))
    assert ("STORE=memory" in caplog.text) is not is_shared


async def test_counters_expire_with_their_window(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        await RateLimiter(store, LimitSettings(limit_requests_per_minute=5)).count_request(ALICE)
        assert len(await store.query_partition("limits#key:alice")) == 1
        clock.time_s += 60
        assert await store.query_partition("limits#key:alice") == []


async def test_limits_fail_closed_if_the_store_is_unavailable() -> None:
    class UnavailableBackend(MemoryBackend):
        @override
        def increment(self, *_: object) -> int:
            raise TimeoutError

    store = Store(UnavailableBackend, threads=0, is_shared=False)
    with pytest.raises(StorageUnavailable):
        await RateLimiter(store, LimitSettings(limit_requests_per_minute=1)).count_request(ALICE)
    with pytest.raises(StorageUnavailable):
        await TokenReservation(store, ALICE, 100).extend(1)
