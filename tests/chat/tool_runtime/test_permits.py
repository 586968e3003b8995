"""Permits: acquiring several semaphores at once, and the order in which waiters are served."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.permits import Permits, Semaphore
from winterbourne.override import override


async def test_all_semaphores_are_acquired_or_none() -> None:
    permits, many, none = Permits(), Semaphore(2), Semaphore(0)
    assert not permits.try_acquire([many, none])
    assert many.available == 2
    assert permits.try_acquire([many])
    assert many.available == 1


async def test_waiters_are_served_in_order() -> None:
    permits, semaphore = Permits(), Semaphore(1)
    served: list[int] = []
    permits.try_acquire([semaphore])

    async def one(number: int) -> None:
        await permits.acquire_queued([semaphore])
        served.append(number)
        permits.release([semaphore])

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)
    permits.release([semaphore])
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]


async def test_a_waiter_for_a_scarce_semaphore_does_not_delay_others() -> None:
    permits, scarce, common = Permits(), Semaphore(0), Semaphore(1)
    waiting = asyncio.create_task(permits.acquire_queued([common, scarce]))
    await asyncio.sleep(0)
    assert permits.try_acquire([common])
    waiting.cancel()
    await asyncio.wait((waiting,))


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_cancelled_waiter_leaves_the_queue_and_loses_no_permit(*, handed_over: bool) -> None:
    permits, semaphore = Permits(), Semaphore(1)
    permits.try_acquire([semaphore])
    waiting = asyncio.create_task(permits.acquire_queued([semaphore]))
    await asyncio.sleep(0)
    if handed_over:
        permits.release([semaphore])
    waiting.cancel()
    await asyncio.wait((waiting,))
    if not handed_over:
        permits.release([semaphore])
    assert semaphore.available == 1


async def test_waiters_for_other_semaphores_are_not_looked_at_when_permits_are_released() -> None:
    permits, scarce, common = Permits(), Semaphore(0), Semaphore(1)
    looks = 0

    class Watched(list[Semaphore]):
        @override
        def __iter__(self) -> Iterator[Semaphore]:
            nonlocal looks
            looks += 1
            return super().__iter__()

    waiting = [asyncio.create_task(permits.acquire_queued(Watched([common, scarce]))) for _ in range(500)]
    await asyncio.sleep(0)
    looks = 0
    for _ in range(500):
        assert permits.try_acquire([common])
        permits.release([common])
    assert looks == 0
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_the_longest_waiting_call_goes_first_whatever_it_waits_for() -> None:
    permits, one, other = Permits(), Semaphore(1), Semaphore(0)
    served: list[str] = []
    permits.try_acquire([one])

    async def wait(name: str, *needed: Semaphore) -> None:
        await permits.acquire_queued(needed)
        served.append(name)
        permits.release(needed)

    names = {"both": (one, other), "one": (one,), "both again": (one, other)}
    tasks = [asyncio.create_task(wait(name, *needed)) for name, needed in names.items()]
    await asyncio.sleep(0)
    permits.release([other])
    permits.release([one])
    await asyncio.gather(*tasks)
    assert served == ["both", "one", "both again"]


@given(st.lists(st.tuples(st.sets(st.integers(0, 2), min_size=1), st.integers(0, 3), st.booleans()), max_size=20))
def test_every_permit_is_released_and_every_waiter_is_served(calls: list[tuple[set[int], int, bool]]) -> None:
    async def run() -> None:
        permits, semaphores = Permits(), [Semaphore(1), Semaphore(2), Semaphore(3)]

        async def one(wanted: set[int], turns: int) -> None:
            needed = [semaphores[number] for number in sorted(wanted)]
            if not permits.try_acquire(needed):
                await permits.acquire_queued(needed)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                permits.release(needed)

        tasks = [asyncio.create_task(one(wanted, turns)) for wanted, turns, _ in calls]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, calls, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [semaphore.available for semaphore in semaphores] == [1, 2, 3]

    asyncio.run(run())
