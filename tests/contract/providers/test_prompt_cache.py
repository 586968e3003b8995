"""Prompt caching, on fakes that keep a cache as the real ones do: what it saves, and that no mark is ever refused."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.providers.fake import StrictProvider
from tests.contract.providers.loops import many_questions, ten_turns
from tests.contract.providers.prompt_cache import Block, PromptCache

pytestmark = pytest.mark.usefixtures("own_hooks")

CLAUDES = ["anthropic", "anthropic-thinking", "bedrock-claude-thinking"]
MARKED = [*CLAUDES, "bedrock-nova"]
PROCESS = """
import asyncio, json, sys
from tests.contract.providers.loops import ten_turns
print(json.dumps([asyncio.run(ten_turns(family)).cache.marked for family in sys.argv[1:]]))
"""


def cache_of(provider: StrictProvider) -> PromptCache:
    assert [refusal.message for refusal in provider.refusals if not refusal.rule.may_be_learned] == []
    assert provider.cache
    return provider.cache


class TestTenTurnsWithTools:
    """The bars: 0.30 of what it costs without marks, 80 % of the input read from the cache, no mark refused."""

    @pytest.mark.parametrize("family", CLAUDES)
    async def test_cost_less_than_a_third(self, family: str) -> None:
        cached = cache_of(await ten_turns(family))
        plain = cache_of(await ten_turns(family, model_cache="off"))
        assert plain.marked == [[]] * 10
        assert cached.cost <= 0.30 * plain.cost
        assert cached.share_read >= 0.80

    @pytest.mark.parametrize("family", CLAUDES)
    async def test_are_read_however_many_calls_a_turn_has(self, family: str) -> None:
        """A mark finds what is twenty blocks before it; a turn of fifteen calls has thirty."""
        assert cache_of(await ten_turns(family, calls=15)).share_read >= 0.80

    @pytest.mark.parametrize("family", CLAUDES)
    async def test_can_be_kept_for_an_hour(self, family: str) -> None:
        provider = await ten_turns(family, model_cache="1h")
        assert cache_of(provider).share_read >= 0.80
        assert {json.dumps(body).count("1h") for body in provider.requests} == {3, 4}

    async def test_are_read_by_nova_up_to_what_it_said_last(self) -> None:
        """It takes no mark after a result; and as reading costs a quarter, 0.30 is less than reading all would cost."""
        cached = cache_of(await ten_turns("bedrock-nova"))
        plain = cache_of(await ten_turns("bedrock-nova", model_cache="off"))
        assert cached.share_read >= 0.80
        assert cached.cost <= 0.38 * plain.cost

    @pytest.mark.parametrize("family", ["openai", "azure"])
    async def test_have_one_key_for_openai(self, family: str) -> None:
        provider = await many_questions(family, "stored")
        assert cache_of(provider).share_read >= 0.80
        (key,) = {body["prompt_cache_key"] for body in provider.requests}
        assert "c-1" not in key

    async def test_have_no_key_where_each_request_would_have_another(self) -> None:
        """A client of /v1 names no conversation."""
        provider = await many_questions("openai", "openai")
        assert cache_of(provider).share_read >= 0.80
        assert all("prompt_cache_key" not in body for body in provider.requests)


class TestManyQuestions:
    @pytest.mark.parametrize(
        ("family", "client"),
        [*((family, "stored") for family in MARKED), ("anthropic", "ai-sdk"), ("anthropic", "ag-ui")],
    )
    async def test_are_read_from_the_cache(self, family: str, client: str) -> None:
        assert cache_of(await many_questions(family, client)).share_read >= 0.90

    @pytest.mark.parametrize("family", MARKED)
    async def test_are_read_although_the_time_passes(self, family: str) -> None:
        """What changes from request to request stands after what is marked."""
        times = itertools.count()
        provider = await many_questions(family, "stored", lambda _: f"It is {next(times)} o'clock.")
        assert cache_of(provider).share_read >= 0.90
        times_told = [json.dumps(body).count("o'clock") for body in provider.requests]
        assert times_told == [1] * len(times_told)


class TestThePrefix:
    @pytest.mark.parametrize("family", MARKED)
    async def test_is_the_same_in_all_turns(self, family: str) -> None:
        """Of tools and system prompt always, of messages up to where they ended in the turn before."""
        requests = [dict(reversed(marked)) for marked in cache_of(await ten_turns(family)).marked]
        assert len({request.get("tools") for request in requests}) == 1
        assert len({request["system"] for request in requests}) == 1
        ends = [marked[-1][1] for marked in cache_of(await ten_turns(family)).marked]
        assert [request["messages"] for request in requests] == [ends[0], *ends[:-1]]

    def test_is_the_same_in_two_processes(self) -> None:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, *MARKED],
                env={**os.environ, "PYTHONHASHSEED": seed},
                cwd=Path(__file__).parents[3],
                stdout=subprocess.PIPE,
            )
            for seed in ("1", "2")
        ]
        one, other = (json.loads(process.communicate()[0].splitlines()[-1]) for process in processes)
        assert one == other
        assert [len(turns) for turns in one] == [10] * len(MARKED)


class TestTheFake:
    """It keeps what the real ones keep."""

    BLOCKS = tuple(Block("messages", "text", b"%04d" % number * 100) for number in range(30))

    def read(self, marks: dict[int, int], length: int = 30) -> int:
        """Tokens read by a request with the second mark, after one with the first."""
        cache = PromptCache(min_tokens=500)
        for at, upto in marks.items():
            blocks = [Block("messages", "text", b.content, "5m" if n == at else "") for n, b in enumerate(self.BLOCKS)]
            cache.use(blocks[:upto])
        assert cache.readings[-1].total == 100 * length
        return cache.readings[-1].read

    def test_an_entry_is_found_twenty_blocks_before_a_mark_and_no_further(self) -> None:
        assert self.read({9: 10, 29: 30}) == 1000
        assert self.read({8: 10, 29: 30}) == 0

    def test_nothing_is_kept_of_a_short_prefix(self) -> None:
        assert self.read({3: 10, 5: 30}) == 0
        assert self.read({4: 10, 5: 30}) == 500

    def test_nothing_is_kept_without_a_mark(self) -> None:
        assert self.read({99: 10, 29: 30}) == 0
