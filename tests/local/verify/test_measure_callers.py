"""Who may do what: proved where the door and AWS do as they should, failed where either does one thing wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.local.verify.recorded_aws import on_aws
from tests.local.verify.scripted_door import ORIGIN, Door, Request, Response, changed, healthy
from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.deployment import Verdict

CLAIM = {claim.id: claim for claim in CLAIMS}
ALLOW = "access-control-allow-origin"


def _headers(change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]]) -> Callable[[Response], Response]:
    return lambda response: changed(response, headers=tuple(change(list(response.headers))))


def _without(name: str) -> Callable[[Response], Response]:
    return _headers(lambda pairs: [pair for pair in pairs if pair[0] != name])


class TestCors:
    def _check(self, distort: Callable[[Response], Response] = lambda response: response, **more: Any) -> Verdict:
        return CLAIM["cors"].check(Door(healthy, distort).deployment(**more))

    def test_pages_of_an_origin_that_is_allowed_may_call(self) -> None:
        verdict = self._check()
        assert verdict.state == "proved"
        assert verdict.figures == {"preflight_status": 200, "answer_allows": ORIGIN}

    @pytest.mark.parametrize(
        ("distort", "words"),
        [
            (_headers(lambda pairs: [*pairs, (ALLOW, ORIGIN)]), "exactly once"),
            (_without(ALLOW), "exactly once"),
            (
                _headers(
                    lambda pairs: [(name, "*" if name == ALLOW else value) for name, value in pairs] or [(ALLOW, "*")]
                ),
                "stranger",
            ),
            (_without("access-control-allow-methods"), "have to"),
            (_without("access-control-allow-headers"), "have to"),
            (_without("access-control-expose-headers"), "request id"),
            (lambda response: changed(response, status=403), "the preflight got 403"),
        ],
    )
    def test_headers_that_are_wrong_fail_it(self, distort: Callable[[Response], Response], words: str) -> None:
        verdict = self._check(distort)
        assert verdict.state == "failed"
        assert words in verdict.words

    def test_without_an_origin_there_is_nothing_to_measure(self) -> None:
        assert self._check(origin="").state == "not measured"


class TestKeys:
    def test_only_the_right_key_is_answered(self) -> None:
        verdict = CLAIM["keys"].check(Door(healthy).deployment())
        assert verdict.state == "proved"
        assert verdict.figures == {"without": 401, "wrong": 401, "right": 200}

    @pytest.mark.parametrize(
        ("key_for", "words"),
        [
            (lambda sent: "sesame", "who has no key"),
            (lambda sent: "sesame" if sent else sent, "a wrong key"),
            (lambda sent: "", "the right key was not answered"),
        ],
    )
    def test_a_door_that_takes_other_keys_fails_it(self, key_for: Callable[[str | None], str], words: str) -> None:
        def answer(request: Request) -> Response:
            request.headers["x-api-key"] = key_for(request.headers.get("x-api-key"))
            return healthy(request)

        verdict = CLAIM["keys"].check(Door(answer).deployment())
        assert verdict.state == "failed"
        assert words in verdict.words

    def test_an_answer_that_is_none_fails_it(self) -> None:
        broken = Door(healthy, lambda response: changed(response, body=response.body[:-1]))
        assert CLAIM["keys"].check(broken.deployment()).state == "failed"

    def test_without_a_key_there_is_nothing_to_measure(self) -> None:
        assert CLAIM["keys"].check(Door(healthy).deployment(api_key="")).state == "not measured"


class TestUrlPermissions:
    def test_both_are_needed(self) -> None:
        deployment, aws = on_aws()
        assert CLAIM["url-permissions"].check(deployment).state == "proved"
        assert aws.history == ["without lambda:InvokeFunctionUrl", "without lambda:InvokeFunction"]
        assert aws.surrounding == []

    def test_a_url_that_answers_without_one_fails_it(self) -> None:
        verdict = CLAIM["url-permissions"].check(on_aws(closes=False)[0])
        assert (verdict.state, verdict.words) == ("failed", "callers were answered without lambda:InvokeFunctionUrl")

    def test_a_url_that_stays_closed_fails_it(self) -> None:
        verdict = CLAIM["url-permissions"].check(on_aws(opens=False)[0])
        assert verdict.state == "failed"
        assert "was back" in verdict.words

    def test_behind_another_door_there_are_others(self) -> None:
        aws = on_aws()[1]
        assert CLAIM["url-permissions"].check(aws.door.deployment(aws, door="rest")).state == "not measured"


class TestRole:
    def test_what_it_is_refused_is_told_by_the_codes_of_aws(self) -> None:
        verdict = CLAIM["role"].check(Door(healthy).deployment())
        assert verdict.state == "proved"
        assert verdict.figures == {"dynamodb:ListTables": "AccessDeniedException"}

    @pytest.mark.parametrize("reason", ["allowed", "ThrottlingException"])
    def test_an_action_that_is_not_refused_fails_it(self, reason: str) -> None:
        door = Door(lambda _: Response(body=(b'{"ssm:DescribeParameters": "%b"}' % reason.encode(),)))
        verdict = CLAIM["role"].check(door.deployment())
        assert (verdict.state, verdict.words) == ("failed", "not refused: ssm:DescribeParameters")

    def test_a_function_that_asks_for_nothing_fails_it(self) -> None:
        assert CLAIM["role"].check(Door(lambda _: Response(body=(b"{}",))).deployment()).words == "AWS was not asked"

    def test_a_function_that_cannot_say_fails_it(self) -> None:
        assert CLAIM["role"].check(Door(lambda _: Response(502)).deployment()).words == "status 502"
