"""The report: a verdict per claim, with figures and pages, and an exit status that sums them up."""

import json

import pytest

from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.deployment import State, Verdict
from winterbourne.local.verify.report import Report, Result, exit_status

FIRST, SECOND = CLAIMS[:2]


def report(*states: State, left: tuple[str, ...] = ()) -> Report:
    verdicts = [Verdict(state, "" if state == "proved" else "a | b\nc", {"first_byte_ms": 12.25}) for state in states]
    results = [Result(claim, verdict, 1.04) for claim, verdict in zip(CLAIMS, verdicts, strict=False)]
    return Report({"stage": "dev"}, results, left=left)


@pytest.mark.parametrize(
    ("states", "left", "status"),
    [
        (("proved", "proved"), (), 0),
        (("proved", "failed"), (), 1),
        (("failed", "not measured"), (), 1),
        (("proved", "proved"), ("a-stack",), 1),
        (("proved", "not measured"), (), 3),
    ],
)
def test_the_exit_status(states: tuple[State, ...], left: tuple[str, ...], status: int) -> None:
    assert exit_status(report(*states, left=left), kept=False) == status
    assert exit_status(report(*states, left=left), kept=True) == (0 if left else status)


def test_json_has_everything() -> None:
    found = json.loads(json.dumps(report("proved").as_json()))
    assert found["claims"] == [
        {
            "id": FIRST.id,
            "title": FIRST.title,
            "page": FIRST.page,
            "seconds": 1.0,
            "verdict": "proved",
            "words": "",
            "figures": {"first_byte_ms": 12.25},
        }
    ]
    assert (found["stage"], found["left_behind"], found["counts"]["proved"]) == ("dev", [], 1)


def test_the_page_has_a_row_for_each_claim_whatever_is_in_its_words() -> None:
    page = report("proved", "failed").as_markdown()
    assert "# What was verified on AWS: 1 proved, 1 failed, 0 not measured" in page
    assert f"| {FIRST.title} (`{FIRST.id}`) | proved | first_byte_ms 12.25 | [page]({FIRST.page}) |" in page
    assert r"| **failed**: a \| b c | first_byte_ms 12.25 |" in page
    assert page.endswith("Nothing is left behind.\n")
    assert "**Left behind:** a-stack\n" in report(left=("a-stack",)).as_markdown()


def test_a_line_for_the_screen_has_verdict_words_and_figures() -> None:
    assert Result(SECOND, Verdict("failed", "it is late", {"late_ms": 300})).line() == (
        f"failed        {SECOND.id}: it is late  late_ms 300"
    )
