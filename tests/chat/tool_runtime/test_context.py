"""Tool context: the remaining time, HTTP clients, progress, declared keys and settings, and the caller."""

import asyncio

import httpx
import pytest

from tests.chat.tool_keys import keys_of
from tests.clock import jumping
from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import tool


@tool(keys=["SHOP_API_KEY"], needs=["SHOP_URL"])
async def quoting() -> None:
    """Quote."""


@jumping
async def test_the_remaining_time_counts_down_to_zero() -> None:
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


def test_no_client_is_created_before_a_tool_uses_it() -> None:
    def never() -> httpx.AsyncClient:
        raise AssertionError

    async def run() -> None:
        ToolContext(clients=HttpClients(asynchronous=never))

    asyncio.run(run())


async def test_progress_is_json_and_truncated_like_a_result() -> None:
    sent: list[bytes] = []

    async def report(data: bytes) -> None:
        sent.append(data)

    context = ToolContext(max_progress_bytes=256, report=report)
    await context.progress({"percent": 5})
    await context.progress("x" * 10_000)
    assert sent[0] == b'{"percent":5}'
    assert len(sent[1]) <= 256
    with pytest.raises(ToolError, match="cannot be written as JSON"):
        await context.progress(object())


async def test_a_tool_can_read_only_the_settings_it_declares() -> None:
    values = {"SHOP_API_KEY": "k", "SHOP_URL": "http://shop", "OPENAI_API_KEY": "none of its business"}
    context = ToolContext(keys=keys_of(quoting, values))
    assert await context.key("SHOP_API_KEY") == "k"
    assert context.setting("SHOP_URL") == "http://shop"
    for name in ("OPENAI_API_KEY", "API_KEYS", "MCP_TOKENS", "MODEL_API_KEY", "HTTP_TIMEOUT"):
        with pytest.raises(InvalidToolDeclaration, match=f"reads {name} without declaring it"):
            await context.key(name)
        with pytest.raises(InvalidToolDeclaration, match=f"reads {name} without declaring it"):
            context.setting(name)
    assert not hasattr(context, "settings")


async def test_a_key_cannot_be_read_as_a_setting() -> None:
    with pytest.raises(InvalidToolDeclaration, match=r"await context\.key\('SHOP_API_KEY'\)"):
        ToolContext(keys=keys_of(quoting, {"SHOP_API_KEY": "k"})).setting("SHOP_API_KEY")


async def test_a_tool_that_declares_no_keys_can_read_none() -> None:
    with pytest.raises(InvalidToolDeclaration):
        await ToolContext().key("OPENAI_API_KEY")


async def test_the_caller_is_hidden_if_all_callers_share_the_results() -> None:
    assert ToolContext(caller="ada").caller == "ada"
    with pytest.raises(InvalidToolDeclaration, match="cache_per_caller"):
        assert ToolContext(caller=None).caller
