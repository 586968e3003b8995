"""Places are counted; who waits holds none."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.permits import Kind, Places


async def test_one_of_each_kind_or_none_at_all() -> None:
    places, many, none = Places(), Kind(2), Kind(0)
    assert not places.take([many, none])
    assert many.free == 2
    assert places.take([many])
    assert many.free == 1


async def test_who_waits_is_served_in_order() -> None:
    places, kind = Places(), Kind(1)
    served: list[int] = []
    places.take([kind])

    async def one(number: int) -> None:
        await places.wait([kind])
        served.append(number)
        places.give_back([kind])

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)
    places.give_back([kind])
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]


async def test_who_waits_for_a_rare_kind_holds_up_nobody_else() -> None:
    places, rare, common = Places(), Kind(0), Kind(1)
    waiting = asyncio.create_task(places.wait([common, rare]))
    await asyncio.sleep(0)
    assert places.take([common])
    waiting.cancel()
    await asyncio.wait((waiting,))


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_is_cancelled_leaves_the_queue_and_loses_no_place(*, handed_over: bool) -> None:
    places, kind = Places(), Kind(1)
    places.take([kind])
    waiting = asyncio.create_task(places.wait([kind]))
    await asyncio.sleep(0)
    if handed_over:
        places.give_back([kind])
    waiting.cancel()
    await asyncio.wait((waiting,))
    if not handed_over:
        places.give_back([kind])
    assert kind.free == 1


@given(st.lists(st.tuples(st.sets(st.integers(0, 2), min_size=1), st.integers(0, 3), st.booleans()), max_size=20))
def test_every_place_comes_back_and_everybody_is_served(calls: list[tuple[set[int], int, bool]]) -> None:
    async def run() -> None:
        places, kinds = Places(), [Kind(1), Kind(2), Kind(3)]

        async def one(wanted: set[int], turns: int) -> None:
            mine = [kinds[number] for number in sorted(wanted)]
            if not places.take(mine):
                await places.wait(mine)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                places.give_back(mine)

        tasks = [asyncio.create_task(one(wanted, turns)) for wanted, turns, _ in calls]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, calls, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [kind.free for kind in kinds] == [1, 2, 3]

    asyncio.run(run())
