"""Validated calls: which calls are identical, that is, have the same cache key."""

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
async def uses_caller(key: str, context: ToolContext) -> None:
    """May depend on the caller."""


@tool(cache_ttl_s=1, cache_per_caller=False)
async def shared_by_all(key: str, context: ToolContext) -> None:
    """Does not depend on the caller."""


async def many(calls: Sequence[Any], context: ToolContext) -> list[None]:
    """May depend on the caller."""
    return [None for _ in calls]


@tool(cache_ttl_s=1, batch=many)
async def batched(key: str) -> None:
    """May depend on the caller, in its batch form."""


@tool(cache_ttl_s=1, cache_per_caller=True)
async def per_caller(key: str) -> None:
    """For each caller."""


@tool
async def plain(key: str) -> None:
    """Never the same."""


def validated(arguments: str, caller: str = "me") -> ValidatedCall:
    return ValidatedCall.create(shared, shared.validate_arguments(arguments), caller)


def test_the_order_and_the_spelling_of_arguments_do_not_matter() -> None:
    one, other = validated('{"key":"a","tags":["x","y"]}'), validated(' {"tags": ["y","x"], "key": "\\u0061"}')
    assert one.cache_key == other.cache_key


def test_different_arguments_have_different_keys() -> None:
    assert validated('{"key":"a"}').cache_key != validated('{"key":"b"}').cache_key


def have_same_key(tool: Tool) -> bool:
    """Whether two callers' calls with the same arguments have the same cache key."""
    mine, yours = (
        ValidatedCall.create(tool, tool.validate_arguments('{"key":"a"}'), caller) for caller in ("me", "you")
    )
    return mine.cache_key == yours.cache_key


def test_the_caller_is_part_of_the_key_if_the_tool_can_read_it() -> None:
    assert have_same_key(shared)
    assert not have_same_key(uses_caller)
    assert not have_same_key(batched)


def test_cache_per_caller_overrides_that() -> None:
    assert not have_same_key(per_caller)
    assert have_same_key(shared_by_all)


def test_the_caller_is_part_of_the_key_in_tools_that_are_not_functions() -> None:
    external = Tool(
        name="far",
        description="Of a server.",
        parameters={},
        validate_arguments=msgspec.json.decode,
        call=uses_caller.call,
        options=ToolOptions(cache_ttl_s=1),
    )
    assert not have_same_key(external)


def test_without_a_cache_a_call_has_no_key() -> None:
    assert ValidatedCall.create(plain, plain.validate_arguments('{"key":"a"}'), "").cache_key is None


def test_arguments_that_are_dicts_have_a_key_too() -> None:
    external = msgspec.structs.replace(shared, validate_arguments=msgspec.json.decode)
    one, other = (
        ValidatedCall.create(external, external.validate_arguments(text), "")
        for text in ('{"a":1,"b":[2]}', '{"b":[2],"a":1}')
    )
    assert one.cache_key == other.cache_key
