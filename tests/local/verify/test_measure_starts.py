"""Environments: how they start, by recorded REPORT lines, and how they go on after having been frozen."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.local.verify.recorded_aws import on_aws
from tests.local.verify.scripted_door import Door, Response, changed, healthy
from winterbourne.local.verify.claims import CLAIMS

CLAIM = {claim.id: claim for claim in CLAIMS}


MEMORY = {"memory_mb": 71, "of_mb": 512}


class TestColdStarts:
    def test_twenty_are_told_by_their_percentiles(self) -> None:
        deployment, aws = on_aws()
        verdict = CLAIM["cold-starts"].check(deployment)
        assert verdict.state == "proved"
        assert verdict.figures == {"starts": 20, "p50_ms": 640.0, "p90_ms": 640.0, "longest_ms": 640.0, **MEMORY}
        assert aws.renewed == [f"http://plain-{number}" for number in range(4)]
        assert {request.headers["host"] for request in aws.door.asked} == {f"plain-{number}" for number in range(4)}

    def test_those_from_a_snapshot_are_told_by_their_restore_duration(self) -> None:
        deployment, aws = on_aws(init_ms=None)
        verdict = CLAIM["cold-starts-snapstart"].check(deployment)
        assert (verdict.state, verdict.figures["p50_ms"]) == ("proved", 410.0)
        assert all("snapshot" in url for url in aws.renewed)

    def test_percentiles_are_of_what_was_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deployment, aws = on_aws()
        times = map(float, itertools.count(100, 10))
        reports = aws.reports
        monkeypatch.setattr(aws, "reports", lambda ids: [_with_init(each, next(times)) for each in reports(ids)])
        figures = CLAIM["cold-starts"].check(deployment).figures
        assert figures == {"starts": 20, "p50_ms": 195.0, "p90_ms": 271.0, "longest_ms": 290.0, **MEMORY}

    def test_starts_that_take_more_than_a_second_fail_it(self) -> None:
        verdict = CLAIM["cold-starts"].check(on_aws(init_ms=1600.0)[0])
        assert verdict.state == "failed"
        assert "1000 ms" in verdict.words

    @pytest.mark.parametrize(
        ("claim", "recorded"), [("cold-starts", {"cold": 1}), ("cold-starts-snapstart", {"restore_ms": None})]
    )
    def test_too_few_of_them_measure_nothing(self, claim: str, recorded: dict[str, Any]) -> None:
        """Where environments are kept, or a snapshot was not what they started from."""
        verdict = CLAIM[claim].check(on_aws(**recorded)[0])
        assert verdict.state == "not measured"
        assert "20 are needed" in verdict.words

    def test_requests_that_are_refused_are_no_starts(self) -> None:
        deployment, aws = on_aws()
        aws.door.distort = lambda _: Response(429)
        assert CLAIM["cold-starts"].check(deployment).figures == {"starts": 0}


def _with_init(report: Any, init_ms: float) -> Any:
    return replace(report, init_ms=init_ms)


def _answers(*results: dict[str, Any] | str, wait_s: float = 0.0) -> Door:
    """A door whose chat answers these in turn: results of its tool, or last frames."""
    queue = iter(results)

    def answer(request: Any) -> Response:
        told = next(queue)
        frames: list[dict[str, Any]] = [{"type": "start"}]
        if isinstance(told, dict):
            frames.append({"type": "tool_call", "name": "reach", "status": "completed", "result": told})
            told = "done"
        frames.append({"type": told})
        body = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames).encode()
        return Response(body=(float(door.now_s > 60) * wait_s, body))

    door = Door(answer)
    return door


WARM = {"environment": "e-1", "status": 200, "ms": 3}


class TestThaw:
    @pytest.mark.parametrize("minutes", [1, 5, 15])
    def test_a_chat_after_that_long_is_answered_by_the_same_environment(self, minutes: int) -> None:
        door = Door(healthy)
        verdict = CLAIM[f"thaw-{minutes}"].check(door.deployment())
        assert verdict.state == "proved"
        assert verdict.figures["tool_after_ms"] == 12
        assert door.now_s >= 60 * minutes

    def test_a_chat_that_fails_fails_it(self) -> None:
        verdict = CLAIM["thaw-5"].check(_answers(WARM, WARM, "error").deployment())
        assert (verdict.state, verdict.words) == ("failed", "the chat or its tool failed after it: error")

    def test_a_tool_that_fails_fails_it(self) -> None:
        assert CLAIM["thaw-5"].check(_answers(WARM, WARM, "done").deployment()).state == "failed"

    def test_a_chat_that_waits_for_a_dead_connection_fails_it(self) -> None:
        verdict = CLAIM["thaw-5"].check(_answers(WARM, WARM, WARM, wait_s=5.0).deployment())
        assert (verdict.state, verdict.words) == ("failed", "the chat after it was slow")

    def test_a_refused_chat_fails_it_by_its_status(self) -> None:
        door = Door(healthy)
        door.distort = lambda response: response if door.now_s < 60 else changed(response, status=502, body=())
        assert "status 502" in CLAIM["thaw-5"].check(door.deployment()).words

    def test_another_environment_measures_nothing(self) -> None:
        door = _answers(WARM, WARM, {**WARM, "environment": "e-2"})
        assert CLAIM["thaw-15"].check(door.deployment()).state == "not measured"

    def test_a_chat_that_failed_before_measures_nothing(self) -> None:
        assert CLAIM["thaw-1"].check(_answers(WARM, "error", WARM).deployment()).state == "not measured"
