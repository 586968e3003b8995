"""Which jobs are identical."""

import msgspec

from chat.toolkit.job import Job
from chat.toolkit.tool import tool


@tool(cache_ttl_s=1)
async def shared(key: str, tags: frozenset[str] = frozenset()) -> None:
    """Shared."""


@tool(cache_ttl_s=1, cache_per_caller=True)
async def own(key: str) -> None:
    """For each caller."""


@tool
async def plain(key: str) -> None:
    """Never the same."""


def job(arguments: str, caller: str = "me") -> Job:
    return Job.of(shared, shared.read(arguments), caller)


def test_the_order_and_the_spelling_of_arguments_do_not_matter() -> None:
    one, other = job('{"key":"a","tags":["x","y"]}'), job(' {"tags": ["y","x"], "key": "\\u0061"}')
    assert one.key == other.key


def test_other_arguments_are_another_job() -> None:
    assert job('{"key":"a"}').key != job('{"key":"b"}').key


def test_the_caller_matters_where_the_tool_says_so() -> None:
    assert job('{"key":"a"}', "me").key == job('{"key":"a"}', "you").key
    mine, yours = (Job.of(own, own.read('{"key":"a"}'), caller) for caller in ("me", "you"))
    assert mine.key != yours.key


def test_without_a_cache_every_job_is_its_own() -> None:
    assert Job.of(plain, plain.read('{"key":"a"}'), "").key is None


def test_arguments_of_other_origins_have_a_key_too() -> None:
    far = msgspec.structs.replace(shared, read=msgspec.json.decode)
    one, other = (Job.of(far, far.read(text), "") for text in ('{"a":1,"b":[2]}', '{"b":[2],"a":1}'))
    assert one.key == other.key
