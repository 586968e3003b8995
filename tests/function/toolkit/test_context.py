"""What a tool may know of its call."""

import asyncio

import httpx
import pytest

from chat import http_pool
from chat.errors import ToolError
from chat.settings import Settings
from chat.toolkit.context import Clients, ToolContext
from tests.clock import jumping


@jumping
async def test_the_time_that_is_left() -> None:
    context = ToolContext(deadline=asyncio.get_running_loop().time() + 5)
    await asyncio.sleep(2)
    assert context.remaining_s == pytest.approx(3, abs=0.05)
    await asyncio.sleep(9)
    assert context.remaining_s == 0


async def test_the_clients_are_those_of_the_shared_pool() -> None:
    context = ToolContext()
    assert context.http is http_pool.client()
    assert context.sync_http is http_pool.sync_client()
    assert context.http.timeout == context.sync_http.timeout
    await http_pool.close()


def test_no_client_is_made_before_a_tool_asks_for_it() -> None:
    def never() -> httpx.AsyncClient:
        raise AssertionError

    async def run() -> None:
        ToolContext(clients=Clients(asynchronous=never))

    asyncio.run(run())


async def test_progress_is_json_and_cut_like_a_result() -> None:
    sent: list[bytes] = []

    async def report(data: bytes) -> None:
        sent.append(data)

    context = ToolContext(settings=Settings(tool_max_result_bytes=256), report=report)
    await context.progress({"percent": 5})
    await context.progress("x" * 10_000)
    assert sent[0] == b'{"percent":5}'
    assert len(sent[1]) <= 256
    with pytest.raises(ToolError, match="cannot be written as JSON"):
        await context.progress(object())


async def test_a_key_is_read_by_name() -> None:
    assert await ToolContext(settings=Settings(finnhub_api_key="k")).key("FINNHUB_API_KEY") == "k"
