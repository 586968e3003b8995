"""Call records: of all who claim one, the first has it."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chat.stores import KINDS, Clock, open_store
from tests.chat.tool_runtime.approving import Process, Till, approve
from tests.chat.tool_runtime.recording_clients import tool_call
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.memory import ITEM_OVERHEAD_BYTES, MemoryBackend
from winterbourne.chat.storage.sqlite import SqliteBackend

NOW = int(Clock().time_s)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_record_is_claimed_once_until_it_is_released_or_expires(kind: str, tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(kind, tmp_path, clock) as store:
        records = CallRecords(store)
        assert await records.read("a") is None
        assert await records.claim("a", b"1", NOW + 10)
        assert not await records.claim("a", b"2", NOW + 10)
        assert await records.claim("b", b"3", NOW + 10)
        await records.write("a", b"4", NOW + 10)
        assert not await records.claim("a", b"5", NOW + 10)
        assert await records.read("a") == b"4"
        await records.release("b")
        assert await records.claim("b", b"6", NOW + 10)
        clock.time_s += 11
        assert await records.claim("a", b"7", NOW + 99)


async def test_in_memory_nothing_drops_a_record_before_its_time() -> None:
    backend = MemoryBackend(max_bytes=3 * ITEM_OVERHEAD_BYTES, now=Clock())
    store = Store(lambda: backend, threads=0, is_shared=False, now=Clock())
    await CallRecords(store).claim("a", b"", NOW + 10)
    for number in range(10):
        await store.put([Item(pk="stops#x", sk=str(number))])
    assert await CallRecords(store).read("a") == b""


@pytest.mark.parametrize("shared", ["file", "dynamodb"])
async def test_of_two_decisions_at_once_one_runs_the_call(shared: str, tmp_path: Path) -> None:
    """200 times in two processes over one file, each with a connection of its own; and over a table."""
    clock, till = Clock(), Till()
    async with open_store(shared, tmp_path, clock) as store:
        stores = [store, store]
        if shared == "file":
            own = lambda: SqliteBackend(f"{tmp_path}/chat.db")  # noqa: E731
            stores = [Store(own, threads=1, is_shared=True, now=clock) for _ in range(2)]
        processes = [Process(till.pay, store=each, clock=clock) for each in stores]

        async def race(number: int) -> None:
            (call,), _ = await processes[number % 2].ask(tool_call("pay", f"call_{number}", euros=number))
            outcomes = await asyncio.gather(*(each.decide(call, decisions=[approve(call)]) for each in processes))
            assert sorted(message.is_error for (message,) in outcomes) == [False, True]

        for first in range(0, 200, 20):
            await asyncio.gather(*map(race, range(first, first + 20)))
        if shared == "file":
            for each in stores:
                await each.close()
    assert sorted(till.paid) == list(range(200))


CLAIM_ALL = """
import asyncio, sys
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.sqlite import SqliteBackend

async def claim_all():
    store = Store(lambda: SqliteBackend(sys.argv[1]), threads=1, is_shared=True)
    records = CallRecords(store)
    await records.read("any")
    print("ready", flush=True)
    sys.stdin.readline()
    print(*[number for number in range(200) if await records.claim(str(number), b"", 4_000_000_000)], flush=True)
    await store.close()

asyncio.run(claim_all())
"""


def test_of_two_processes_that_claim_at_once_one_has_each_record(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CLAIM_ALL, f"{tmp_path}/chat.db"],
                    env={"PYTHONPATH": ":".join(filter(None, sys.path))},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        assert [each.stdout.readline() for each in both if each.stdout] == ["ready\n", "ready\n"]
        for each in both:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()
        claimed = [number for each in both if each.stdout for number in each.stdout.read().split()]
    assert sorted(map(int, claimed)) == list(range(200))
