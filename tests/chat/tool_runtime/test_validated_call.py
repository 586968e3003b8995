"""Which jobs are identical."""

from collections.abc import Sequence
from typing import Any

import msgspec

from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions, tool
from winterbourne.chat.tool_runtime.validated_call import ValidatedCall


@tool(cache_ttl_s=1)
async def shared(key: str, tags: frozenset[str] = frozenset()) -> None:
    """Shared."""


@tool(cache_ttl_s=1)
async def asking(key: str, context: ToolContext) -> None:
    """May depend on who asks."""


@tool(cache_ttl_s=1, cache_per_caller=False)
async def everybodys(key: str, context: ToolContext) -> None:
    """Does not depend on who asks."""


async def many(calls: Sequence[Any], context: ToolContext) -> list[None]:
    """May depend on who asks."""
    return [None for _ in calls]


@tool(cache_ttl_s=1, batch=many)
async def batched(key: str) -> None:
    """May depend on who asks, in its batch form."""


@tool(cache_ttl_s=1, cache_per_caller=True)
async def own(key: str) -> None:
    """For each caller."""


@tool
async def plain(key: str) -> None:
    """Never the same."""


def job(arguments: str, caller: str = "me") -> ValidatedCall:
    return ValidatedCall.create(shared, shared.validate_arguments(arguments), caller)


def test_the_order_and_the_spelling_of_arguments_do_not_matter() -> None:
    one, other = job('{"key":"a","tags":["x","y"]}'), job(' {"tags": ["y","x"], "key": "\\u0061"}')
    assert one.cache_key == other.cache_key


def test_other_arguments_are_another_job() -> None:
    assert job('{"key":"a"}').cache_key != job('{"key":"b"}').cache_key


def are_one(tool: Tool) -> bool:
    """Whether two callers' calls with the same arguments are one job."""
    mine, yours = (
        ValidatedCall.create(tool, tool.validate_arguments('{"key":"a"}'), caller) for caller in ("me", "you")
    )
    return mine.cache_key == yours.cache_key


def test_the_caller_matters_where_the_tool_could_know_who_asks() -> None:
    assert are_one(shared)
    assert not are_one(asking)
    assert not are_one(batched)


def test_the_tool_has_the_last_word_on_that() -> None:
    assert not are_one(own)
    assert are_one(everybodys)


def test_the_caller_matters_in_tools_of_other_origins() -> None:
    far = Tool(
        name="far",
        description="Of a server.",
        parameters={},
        validate_arguments=msgspec.json.decode,
        call=asking.call,
        options=ToolOptions(cache_ttl_s=1),
    )
    assert not are_one(far)


def test_without_a_cache_every_job_is_its_own() -> None:
    assert ValidatedCall.create(plain, plain.validate_arguments('{"key":"a"}'), "").cache_key is None


def test_arguments_of_other_origins_have_a_key_too() -> None:
    far = msgspec.structs.replace(shared, validate_arguments=msgspec.json.decode)
    one, other = (
        ValidatedCall.create(far, far.validate_arguments(text), "") for text in ('{"a":1,"b":[2]}', '{"b":[2],"a":1}')
    )
    assert one.cache_key == other.cache_key
