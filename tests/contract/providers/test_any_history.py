"""Any history that a format's schema allows, however odd: the newest question is answered, by every provider family."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.providers.clients import CLIENTS, Client, Talk
from tests.contract.providers.fake import Answer, strict_providers
from tests.contract.providers.families import FAMILIES

pytestmark = pytest.mark.usefixtures("own_hooks")

TEXTS = st.sampled_from(["Hello", "", " \n", "Half \ud83d", "\x00", "港 🌍"])
IDS = st.sampled_from(["call_1", "call_2", "functions.add:3", "000000001", "x" * 80, "ü"])
NAMES = st.sampled_from(["add", "count_ships", "#lookUp", "9lives", "a.b", "n" * 70, "gone"])
ARGUMENTS = st.sampled_from(['{"a":1,"b":2}', "{}", "", "null", "[1]", '{"a":', "text"])
CALLS = st.lists(st.tuples(IDS, NAMES, ARGUMENTS), max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("user"), TEXTS),
    st.tuples(st.just("system"), TEXTS),
    st.tuples(st.just("assistant"), TEXTS, CALLS),
    st.tuples(st.just("result"), IDS, TEXTS),
)
HISTORIES = st.lists(STEPS, max_size=7)


def write(client: Client, steps: Sequence[Any]) -> None:
    for kind, *values in steps:
        if kind == "assistant":
            client.assistant(values[0], *values[1])
        else:
            getattr(client, kind)(*values)


async def complaint(client: str, steps: Sequence[Any], family: str) -> object:
    """What the family refused of a history, the question after it and a tool loop; or how the answer ended."""
    async with strict_providers(family) as providers:
        provider = providers[family]
        talk = Talk.begin(client, provider)
        write(talk.client, steps)
        if provider.family.has_tools:
            talk.model(Answer("Let me add.", (("add", '{"a":1,"b":2}'),)))
        reply = await talk.try_to_ask("And now?")
        return provider.unlearned or (None if reply.status == 200 and reply.is_whole else reply)


@pytest.mark.parametrize("client", CLIENTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=HISTORIES, family=st.sampled_from(sorted(FAMILIES)))
def test_is_refused_by_nobody(client: str, steps: list[Any], family: str) -> None:
    assert asyncio.run(complaint(client, steps, family)) is None
