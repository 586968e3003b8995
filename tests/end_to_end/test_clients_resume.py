"""Clients whose connection breaks at any byte: what they have in the end is what they have if nothing is broken.

The AI SDK in versions 5, 6 and 7, AG-UI's client in 1.0 and 0.0.59, and the standard's EventSource, against the local
function URL.
"""

import itertools
import json
import random
import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

import pytest

from tests import npm
from tests.browser_page import FIVE
from tests.cutting_proxy import cutting_proxy
from tests.local_server import local_server

pytestmark = pytest.mark.slow

QUESTIONS: Final = (
    FIVE,
    "think, and count to 100",
    "12 * 7, 15 % of 80 and the weather in Atlantisville",  # where there is none: that tool fails
    "fail halfway",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy before a chat that keeps every conversation and writes fast."""
    settings = ("SCRIPTED_WORDS_PER_SECOND=300", "KEEP=always")
    flags = [flag for setting in settings for flag in ("--env", setting)]
    folder = tmp_path_factory.mktemp("resume")
    with local_server(folder, "--concurrency", "16", *flags) as server, cutting_proxy(server.url) as proxy:
        yield proxy.url


def at_random(number: int, cuts: int = 1, questions: tuple[str, ...] = QUESTIONS) -> list[dict[str, Any]]:
    """Cases for the scripts; most have one cut, at any byte, others up to so many.

    A cut near the end may come too late: an answer has fewer bytes if its words leave in fewer pieces.
    """
    chance = random.Random(number)
    return [
        {
            "question": chance.choice(questions),
            "cuts": [chance.random() for _ in range(chance.choice((1, 1, chance.randint(1, cuts))))],
        }
        for _ in range(number)
    ]


def differing(outcomes: list[Any]) -> list[Any]:
    """The cases in which a client has something else than one that was not disturbed."""
    return [outcome for outcome in outcomes if _bytes(outcome["messages"]) != _bytes(outcome["expected"])]


def _bytes(messages: list[dict[str, Any]]) -> str:
    """The messages byte for byte, but for what is another each time: durations, and the time of a share's price.

    To AG-UI results are messages, and a snapshot has no durations. Those of tools that run at once are put in the order
    of their calls.
    """
    ordered = itertools.chain.from_iterable(
        sorted(group, key=itemgetter("toolCallId")) if role == "tool" else group
        for role, group in itertools.groupby(messages, lambda message: message.get("role"))
    )
    text = json.dumps([dict(sorted(message.items())) for message in ordered])
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:]+(\+00:00)?", "(a time)", re.sub(r', "durationMs": \d+', "", text))


@pytest.mark.clients
@pytest.mark.parametrize(
    ("client", "number"),
    [
        ("ai", 120),
        ("ai6", 60),
        ("ai5", 60),
    ],
)
def test_the_ai_sdk_has_every_part_once(url: str, client: str, number: int) -> None:
    outcomes = npm.run("resume.mjs", client, url, given=at_random(number, cuts=3))
    assert differing(outcomes) == []
    assert [outcome["errors"][0] for outcome in outcomes].count("network error") > 0.9 * number
    assert {outcome["question"] for outcome in outcomes if outcome["status"] == "error"} <= {"fail halfway"}
    assert len(outcomes) == number


@pytest.mark.clients
@pytest.mark.parametrize("client", ["@ag-ui/client", "ag-ui-0"])
def test_a_thread_of_ag_ui_has_every_message_once(url: str, client: str) -> None:
    outcomes = npm.run("ag_ui_resume.mjs", client, url, given=at_random(30, cuts=2, questions=QUESTIONS[:-1]))
    assert differing(outcomes) == []
    assert [outcome["errors"][0] for outcome in outcomes].count("network error") > 24
    assert {outcome["errors"][-1] for outcome in outcomes} == {None}
    assert len(outcomes) == 30


@pytest.mark.clients
def test_an_event_source_goes_on_where_it_was_and_closes_in_the_end(url: str) -> None:
    outcomes = npm.run("event_source.mjs", url, given=[{"question": each, "cuts": [0.4]} for each in QUESTIONS[:2]])
    assert differing(outcomes) == []
    for outcome in outcomes:
        first, *later = outcome["lastEventIds"]
        assert first is None
        assert later == sorted(later, key=int)
        assert len(later) >= 3
        assert outcome["status"] == 204
