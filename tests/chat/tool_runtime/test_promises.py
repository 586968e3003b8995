"""What README's table promises of each kind of tool, one test for a cell."""

import asyncio
import contextlib
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.chat.tool_runtime import isolated_idle, isolated_tools
from tests.chat.tool_runtime.mcp.station import Station
from tests.chat.tool_runtime.recording_clients import RecordingClient, run_turn, tool_call
from winterbourne.chat.settings import Settings, ToolSettings
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.remote import remote_tool
from winterbourne.local.event_stream import invoke_complete, payload_chunk

KINDS = ("async", "thread", "process", "remote", "mcp")
PROMISES = ("timeout", "stop", "isolation", "cost")
README = Path(__file__).parents[3] / "README.md"


@tool
async def waits(seconds: float = 60) -> int:
    """Wait, and say in which thread."""
    await asyncio.sleep(seconds)
    return threading.get_ident()


@tool
def sleeps(seconds: float = 60) -> list[int]:
    """Sleep, and say in which process and thread."""
    _GO.wait(seconds)
    return [os.getpid(), threading.get_ident()]


@remote_tool("worker")
async def elsewhere(seconds: float = 60) -> None:
    """Run in another function."""


_GO = threading.Event()
HASTY = ToolSettings(tool_execution_timeout=0.2)


class StubService:
    """Answers each request after a while, and knows how each ended."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.ended: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        try:
            await asyncio.sleep(orjson.loads(request.content)["arguments"]["seconds"])
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return httpx.Response(200, content=payload_chunk(b'{"content":"42"}') + invoke_complete(None, ""))


@contextlib.asynccontextmanager
async def serving(
    *tools: Tool, settings: ToolSettings | None = None, **more: Any
) -> AsyncIterator[tuple[ToolExecutor, RecordingClient]]:
    executor = ToolExecutor(tools, settings, **more)
    try:
        yield executor, RecordingClient()
    finally:
        _GO.set()
        await executor.close()
        _GO.clear()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> StubService:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return StubService()


def remote(
    service: StubService, **more: Any
) -> contextlib.AbstractAsyncContextManager[tuple[ToolExecutor, RecordingClient]]:
    http = httpx.AsyncClient(transport=httpx.MockTransport(service))
    keys = Settings.of(aws_region="eu-central-1").values()
    return serving(elsewhere, keys=keys, clients=HttpClients(asynchronous=lambda: http), **more)


async def stop_midway(
    executor: ToolExecutor,
    client: RecordingClient,
    name: str,
    runs: Callable[[], object] = lambda: True,
    **arguments: object,
) -> None:
    """Leave the turn while a call runs, as a stop does."""
    async with executor.turn(client) as turn:
        turn.start(tool_call(name, **arguments))
        await asyncio.sleep(0.05)
        while not runs():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert client.finished[-1].status == "cancelled"


async def never(*_: Any) -> Any:
    await asyncio.sleep(60)


def test_each_cell_of_the_table_in_the_readme_has_its_test() -> None:
    table = README.read_text().partition("| a tool that is |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| \*\*(.+?)\*\*.*?\|(.*)\|$", table, re.MULTILINE)
    assert [name.lower() for name, _ in rows] == list(KINDS)
    assert all(len([cell for cell in cells.split("|") if cell.strip()]) == len(PROMISES) for _, cells in rows)
    names = {f"test_{promise}_of_{kind}" for kind in KINDS for promise in PROMISES}
    assert not {name for name in names if not any(known.startswith(name) for known in globals())}


async def test_timeout_of_async_cancels_it() -> None:
    async with serving(waits, settings=HASTY) as (executor, client):
        await run_turn(executor, tool_call("waits"), client=client)
        assert client.finished[0].status == "timed_out"
        assert executor.abandoned_count == 0


async def test_stop_of_async_cancels_it() -> None:
    async with serving(waits) as (executor, client):
        await stop_midway(executor, client, "waits")
        assert executor.abandoned_count == 0


async def test_isolation_of_async_is_none_it_runs_in_the_event_loops_thread() -> None:
    async with serving(waits) as (executor, _):
        (message,) = await run_turn(executor, tool_call("waits", seconds=0))
    assert message.content == str(threading.get_ident())


async def test_cost_of_async_is_no_thread() -> None:
    before = threading.active_count()
    async with serving(waits) as (executor, _):
        await run_turn(executor, *(tool_call("waits", str(number), seconds=0) for number in range(50)))
        assert threading.active_count() == before


async def test_timeout_of_thread_drops_its_result_and_the_thread_goes_on() -> None:
    async with serving(sleeps, settings=HASTY) as (executor, client):
        await run_turn(executor, tool_call("sleeps"), client=client)
        assert client.finished[0].status == "timed_out"
        assert executor.abandoned_count == 1


async def test_stop_of_thread_drops_its_result_and_the_thread_goes_on() -> None:
    async with serving(sleeps) as (executor, client):
        await stop_midway(executor, client, "sleeps")
        assert executor.abandoned_count == 1


async def test_isolation_of_thread_is_its_own_thread_in_the_same_process() -> None:
    async with serving(sleeps) as (executor, _):
        (message,) = await run_turn(executor, tool_call("sleeps", seconds=0))
    process, thread = orjson.loads(message.content)
    assert process == os.getpid()
    assert thread != threading.get_ident()


async def test_cost_of_thread_is_one_thread_that_is_used_again_and_a_bounded_number_at_once() -> None:
    async with serving(sleeps, settings=ToolSettings(tool_executor_max_workers=1)) as (executor, _):
        for _ in range(2):
            messages = await run_turn(executor, *(tool_call("sleeps", number, seconds=0.05) for number in "123"))
            assert len({message.content for message in messages}) == 1


async def test_timeout_of_process_kills_it() -> None:
    async with serving(isolated_tools.catastrophic) as (executor, client):
        await run_turn(executor, tool_call("catastrophic", length=1))
        (worker,) = executor._preparer.processes._workers
        (message,) = await run_turn(executor, tool_call("catastrophic", length=60), client=client)
        assert client.finished[0].status == "timed_out"
        assert message.content == "catastrophic did not finish within 1.5 seconds and was stopped."
        assert worker.result().process.wait(5) == -signal.SIGKILL
        assert executor.abandoned_count == 0
        next_ones = [(await run_turn(executor, tool_call("catastrophic", length=1)))[0].content for _ in range(3)]
        assert '"None"' in next_ones  # on a slow machine the first may wait in vain for the next process


async def test_stop_of_process_kills_it() -> None:
    async with serving(isolated_tools.catastrophic) as (executor, client):
        await run_turn(executor, tool_call("catastrophic", length=1))
        (worker,) = executor._preparer.processes._workers
        await stop_midway(executor, client, "catastrophic", length=60)
        assert worker.result().process.wait(5) == -signal.SIGKILL


async def test_isolation_of_process_is_its_memory_and_its_crash() -> None:
    async with serving(isolated_tools.crashes, isolated_tools.allocates) as (executor, _):
        crashed, failed = await run_turn(
            executor, tool_call("crashes", "1", how="segfault"), tool_call("allocates", "2", megabytes=500)
        )
        assert (crashed.is_error, failed.is_error) == (True, True)


async def test_cost_of_process_is_one_of_12_mb_that_is_used_again() -> None:
    async with serving(isolated_idle.private_kb, isolated_tools.process_id) as (executor, _):
        assert not executor._preparer.processes._workers
        (message,) = await run_turn(executor, tool_call("private_kb"))
        assert int(message.content) <= 12 * 1024
        messages = [await run_turn(executor, tool_call("process_id")) for _ in range(3)]
    assert len({message.content for (message,) in messages}) == 1


async def test_timeout_of_remote_ends_the_request_and_the_worker_knew_it(service: StubService) -> None:
    async with remote(service) as (executor, _):
        await run_turn(executor, tool_call("elsewhere", seconds=0))  # imports what signs, however long that takes
    async with remote(service, settings=ToolSettings(tool_execution_timeout=1)) as (executor, client):
        await run_turn(executor, tool_call("elsewhere"), client=client)
    assert client.finished[0].status == "timed_out"
    assert service.ended == ["cancelled"]
    assert 0 < orjson.loads(service.requests[-1].content)["timeout_s"] <= 1


async def test_stop_of_remote_ends_the_request_and_tells_the_worker(service: StubService) -> None:
    told: list[str] = []

    async def send_stop(key: str) -> None:
        told.append(key)

    async with remote(service, send_stop=send_stop) as (executor, client):
        await stop_midway(executor, client, "elsewhere", lambda: service.requests)
    assert service.ended == ["cancelled"]
    assert told == [orjson.loads(service.requests[0].content)["stop_key"]]


async def test_isolation_of_remote_is_another_function_that_is_sent_no_key(service: StubService) -> None:
    async with remote(service) as (executor, _):
        await run_turn(executor, tool_call("elsewhere", seconds=0))
    sent = orjson.loads(service.requests[0].content)
    told = {"tool", "arguments", "timeout_s", "request_id", "caller", "stream", "stop_key", "idempotency_key"}
    told |= {"traceparent", "wants_spans"}
    assert set(sent) == told


async def test_cost_of_remote_is_one_invocation_a_call(service: StubService) -> None:
    async with remote(service) as (executor, _):
        for _ in range(3):
            await run_turn(executor, tool_call("elsewhere", seconds=0))
    assert len(service.requests) == 3


async def test_timeout_of_mcp_tells_the_server() -> None:
    station = Station(tools__call=never)
    (look,) = (await station.client.list_tools()).tools()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look.call({}, ToolContext()), 0.05)
    assert station.seen[-1] == "notifications/cancelled"


async def test_stop_of_mcp_tells_the_server() -> None:
    station = Station(tools__call=never)
    tools = (await station.client.list_tools()).tools()
    async with serving(*tools) as (executor, client):
        await stop_midway(executor, client, "pier_look")
    assert station.seen[-1] == "notifications/cancelled"


async def test_isolation_of_mcp_is_another_server_that_is_sent_the_arguments() -> None:
    station = Station()
    await station.look()
    assert station.sent[-1]["params"]["arguments"] == {}
    assert "authorization" not in station.requests[-1].headers


async def test_cost_of_mcp_is_one_request_a_call() -> None:
    station = Station()
    (look,) = (await station.client.list_tools()).tools()
    before = len(station.requests)
    for _ in range(3):
        await look.call({}, ToolContext())
    assert len(station.requests) - before == 3
