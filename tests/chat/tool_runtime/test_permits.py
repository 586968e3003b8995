"""Places are counted; who waits holds none."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.permits import Permits, Semaphore


async def test_one_of_each_kind_or_none_at_all() -> None:
    places, many, none = Permits(), Semaphore(2), Semaphore(0)
    assert not places.try_acquire([many, none])
    assert many.available == 2
    assert places.try_acquire([many])
    assert many.available == 1


async def test_who_waits_is_served_in_order() -> None:
    places, kind = Permits(), Semaphore(1)
    served: list[int] = []
    places.try_acquire([kind])

    async def one(number: int) -> None:
        await places.acquire_queued([kind])
        served.append(number)
        places.release([kind])

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)
    places.release([kind])
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]


async def test_who_waits_for_a_rare_kind_holds_up_nobody_else() -> None:
    places, rare, common = Permits(), Semaphore(0), Semaphore(1)
    waiting = asyncio.create_task(places.acquire_queued([common, rare]))
    await asyncio.sleep(0)
    assert places.try_acquire([common])
    waiting.cancel()
    await asyncio.wait((waiting,))


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_is_cancelled_leaves_the_queue_and_loses_no_place(*, handed_over: bool) -> None:
    places, kind = Permits(), Semaphore(1)
    places.try_acquire([kind])
    waiting = asyncio.create_task(places.acquire_queued([kind]))
    await asyncio.sleep(0)
    if handed_over:
        places.release([kind])
    waiting.cancel()
    await asyncio.wait((waiting,))
    if not handed_over:
        places.release([kind])
    assert kind.available == 1


@given(st.lists(st.tuples(st.sets(st.integers(0, 2), min_size=1), st.integers(0, 3), st.booleans()), max_size=20))
def test_every_place_comes_back_and_everybody_is_served(calls: list[tuple[set[int], int, bool]]) -> None:
    async def run() -> None:
        places, kinds = Permits(), [Semaphore(1), Semaphore(2), Semaphore(3)]

        async def one(wanted: set[int], turns: int) -> None:
            mine = [kinds[number] for number in sorted(wanted)]
            if not places.try_acquire(mine):
                await places.acquire_queued(mine)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                places.release(mine)

        tasks = [asyncio.create_task(one(wanted, turns)) for wanted, turns, _ in calls]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, calls, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [kind.available for kind in kinds] == [1, 2, 3]

    asyncio.run(run())
