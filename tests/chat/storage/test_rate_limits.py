"""Rate limits of callers: requests per minute, tokens and dollars per day, in windows shared by all environments."""

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
    Budget,
    RateLimiter,
    Reservation,
    Spending,
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


def of_micro_dollars(limit: int) -> Budget:
    return Budget.of_dollars(limit / 1e6)


BUDGETS = {"tokens": Budget.of_tokens, "micro_dollars": of_micro_dollars}
"""What makes a limit of each unit of `Spending`."""


class Reserving:
    """The reservation of a request whose caller has one limit, of 100 as a rule."""

    def __init__(self, store: Store, caller_id: str, unit: str, limit: int = 100) -> None:
        self.unit, self.reservation = unit, Reservation(store, caller_id, [BUDGETS[unit](limit)])

    async def extend(self, wanted: int, used: int = 0) -> None:
        await self.reservation.extend(Spending(**{self.unit: wanted}), Spending(**{self.unit: used}))

    async def settle(self, used: int) -> None:
        await self.reservation.settle(Spending(**{self.unit: used}))


async def use(store: Store, unit: str, used: int, *, reserve: int = 0) -> None:
    """A request that is let in and ends."""
    reservation = Reserving(store, ALICE, unit)
    await reservation.extend(reserve or used)
    await reservation.settle(used)


async def try_to_reserve(store: Store, unit: str, amount: int, limit: int) -> bool:
    try:
        await Reserving(store, ALICE, unit, limit).extend(amount)
    except RateLimitExceeded:
        return False
    return True


def reserve_in_a_process(path: str, unit: str) -> int:
    """How many of 20 requests at once are let in; each reserves 10 of 200."""

    async def run() -> int:
        store = make_store(f"file:{path}")
        try:
            return sum(await asyncio.gather(*(try_to_reserve(store, unit, 10, 200) for _ in range(20))))
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.mark.parametrize("unit", BUDGETS)
class TestPerDay:
    async def test_requests_are_rejected_until_midnight_once_they_are_used_up(self, store: Store, unit: str) -> None:
        await use(store, unit, 60)
        await use(store, unit, 40)
        with pytest.raises(RateLimitExceeded) as refused:
            await use(store, unit, 1)
        assert refused.value.retry_after_s == DAY_S - 30
        told = {"tokens": "100 tokens", "micro_dollars": "0.0001 dollars"}[unit]
        assert str(refused.value) == f"rate limit exceeded: {told} per day"
        await Reserving(store, BOB, unit).extend(1)

    async def test_the_request_that_crosses_the_limit_is_answered_in_full(self, store: Store, unit: str) -> None:
        await use(store, unit, 99)
        await use(store, unit, 50, reserve=1000)
        with pytest.raises(RateLimitExceeded):
            await use(store, unit, 1)

    async def test_the_next_day_is_a_new_window(self, store: Store, clock: Clock, unit: str) -> None:
        await use(store, unit, 100)
        clock.time_s += DAY_S
        await use(store, unit, 100)

    async def test_what_was_reserved_is_replaced_by_what_was_used(self, store: Store, unit: str) -> None:
        for _ in range(10):
            await use(store, unit, 10, reserve=90)

    @pytest.mark.parametrize("at_once", [40, 300])
    async def test_requests_at_once_are_let_in_exactly_as_many_as_fit(
        self, store: Store, at_once: int, unit: str
    ) -> None:
        let_in = await asyncio.gather(*(try_to_reserve(store, unit, 7, 200) for _ in range(at_once)))
        assert sum(let_in) == 29  # 28 have 7 each, one the 4 that are left

    async def test_the_rest_that_is_reserved_is_told_from_the_rest_that_is_used(self, store: Store, unit: str) -> None:
        running = Reserving(store, ALICE, unit)
        await running.extend(100)
        with pytest.raises(RateLimitExceeded) as refused:
            await use(store, unit, 1)
        assert refused.value.retry_after_s == RESERVED_RETRY_S
        await running.settle(10)
        await use(store, unit, 90)

    async def test_the_turns_of_one_request_add_up(self, store: Store, unit: str) -> None:
        request = Reserving(store, ALICE, unit)
        await request.extend(50)
        await request.extend(40 + 50, used=40)
        await request.extend(80 + 50, used=80)  # 20 are left of 50
        with pytest.raises(RateLimitExceeded) as refused:
            await request.extend(110 + 50, used=110)
        assert refused.value.retry_after_s == DAY_S - 30
        await request.settle(110)
        with pytest.raises(RateLimitExceeded):
            await use(store, unit, 1)

    async def test_a_request_that_ends_after_midnight_belongs_to_the_day_of_its_begin(
        self, store: Store, clock: Clock, unit: str
    ) -> None:
        clock.time_s += DAY_S - 60
        request = Reserving(store, ALICE, unit)
        await request.extend(100)
        clock.time_s += 60
        await use(store, unit, 100)
        await request.settle(100)

    @pytest.mark.parametrize("later_s", [0, SLOT_S - 1])
    async def test_reservations_count_in_the_slot_after_theirs(
        self, store: Store, clock: Clock, later_s: float, unit: str
    ) -> None:
        clock.time_s += SLOT_S - 31
        first = Reserving(store, ALICE, unit)
        await first.extend(60)
        clock.time_s += 1 + later_s
        second = Reserving(store, ALICE, unit)
        await second.extend(30)
        with pytest.raises(RateLimitExceeded):
            await first.extend(60 + 50, used=60 + 10)
        await second.settle(0)
        await first.extend(60 + 50, used=60 + 10)

    async def test_what_a_killed_process_has_reserved_expires(self, store: Store, clock: Clock, unit: str) -> None:
        await Reserving(store, ALICE, unit).extend(100)
        clock.time_s += 2 * SLOT_S
        await use(store, unit, 100)

    def test_processes_that_share_a_file_share_the_limit(self, tmp_path: Path, unit: str) -> None:
        path = str(tmp_path / "items.db")
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert sum(pool.map(reserve_in_a_process, [path] * 3, [unit] * 3)) == 20

    @given(calls=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=30))
    def test_whatever_runs_at_once_only_one_turn_exceeds_the_limit(
        self, unit: str, calls: list[tuple[int, int, bool]]
    ) -> None:
        """Each call reserves, and uses no more than that; some end, some run on."""

        async def run() -> None:
            store, total, promised = Store(MemoryBackend, threads=0, is_shared=True), 0, 0
            for reserved, used, ends in calls:
                reservation = Reserving(store, ALICE, unit)
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


async def test_what_an_earlier_version_has_counted_and_reserved_counts_on(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        for counter, window_s in (("tokens", DAY_S), ("reserved", SLOT_S)):
            window = int(clock.time_s // window_s)
            await store.increment("limits#key:alice", f"{counter}#{window}", 50, (window + 2) * window_s)
        with pytest.raises(RateLimitExceeded, match="running requests have reserved"):
            await use(store, "tokens", 1)


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
    request = Reserving(store, ALICE, "tokens")
    with pytest.raises(StorageUnavailable):
        await request.extend(100)
    backend.fails = False
    await request.settle(0)
    await use(store, "tokens", 100)


async def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    async with open_store("memory", Path(), clock) as store:
        limiter = RateLimiter(store, LimitSettings())
        await limiter.count_request(ALICE)
        assert limiter.reservation(ALICE) is None
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
        await Reserving(store, ALICE, "micro_dollars").extend(1)
