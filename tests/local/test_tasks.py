"""Cancelling tasks: all have ended when it returns, also those that take their time or fail."""

import asyncio

from winterbourne.local.tasks import cancel_all


async def test_all_have_ended_however_they_do() -> None:
    ended = []

    async def tidies_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("tidied up")

    async def fails() -> None:
        raise ValueError("on its own")

    tasks = {asyncio.create_task(tidies_up()), asyncio.create_task(fails())}
    await asyncio.sleep(0)
    await cancel_all(tasks)
    assert ended == ["tidied up"]
    assert all(task.done() for task in tasks)
