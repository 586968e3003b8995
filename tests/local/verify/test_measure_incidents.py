"""What reaches CloudWatch, by a record: proved where it counts and rings as it should, failed where it does not."""

from typing import Any

import pytest

from tests.local.verify.recorded_aws import on_aws
from tests.local.verify.scripted_door import changed
from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.deployment import Rollback
from winterbourne.local.verify.measure_incidents import INCIDENTS, Incident

CLAIM = {claim.id: claim for claim in CLAIMS}


class TestMetrics:
    @pytest.mark.parametrize("claim", ["metrics", "lambda-errors"])
    def test_what_arrives_is_what_happened_in_that_minute(self, claim: str) -> None:
        deployment, aws = on_aws()
        verdict = CLAIM[claim].check(deployment)
        assert verdict.state == "proved"
        assert 90 <= float(verdict.figures["arrived_after_s"]) <= 120
        assert len(aws.door.asked) == (5 if claim == "metrics" else 1)

    @pytest.mark.parametrize(
        ("claim", "sums", "words"),
        [
            ("metrics", {"Chats": 4, "OutputTokens": 100}, "5 Chats, 100 OutputTokens were expected"),
            ("metrics", {"Chats": 5, "OutputTokens": 99}, "5 Chats, 100 OutputTokens were expected"),
            ("metrics", {"Chats": 5}, "were expected"),
            ("lambda-errors", {}, "1 Errors were expected"),
        ],
    )
    def test_what_is_lost_or_miscounted_fails_it(self, claim: str, sums: dict[str, float], words: str) -> None:
        verdict = CLAIM[claim].check(on_aws(sums=sums)[0])
        assert verdict.state == "failed"
        assert words in verdict.words
        assert {name: value for name, value in verdict.figures.items() if value != "none"}.items() >= sums.items()

    def test_what_is_counted_right_of_chats_that_nobody_answered_fails_it(self) -> None:
        deployment, aws = on_aws(sums={"Chats": 5, "OutputTokens": 0})
        aws.door.distort = lambda response: changed(response, body=response.body[:-1])
        verdict = CLAIM["metrics"].check(deployment)
        assert (verdict.state, verdict.words) == ("failed", "only 0 of 5 chats were answered")

    def test_what_does_not_arrive_in_ten_minutes_fails_it(self) -> None:
        assert CLAIM["metrics"].check(on_aws(arrive_after_s=1200.0)[0]).state == "failed"


@pytest.mark.parametrize(("name", "incident"), INCIDENTS.items(), ids=INCIDENTS)
class TestAlarm:
    def test_fires_while_the_incident_lasts(self, name: str, incident: Incident) -> None:
        deployment, aws = on_aws(states={incident.alarm: "OK"}, others=("crashes", "errors"))
        verdict = CLAIM[f"alarm-{name}"].check(deployment)
        assert verdict.state == "proved"
        assert 120 <= float(verdict.figures["fired_after_s"]) < 125
        assert set(str(verdict.figures["others"]).split(",")) == {"crashes", "errors"} - {incident.alarm}
        assert aws.surrounding == []

    def test_is_provoked_until_it_fires(self, name: str, incident: Incident) -> None:
        deployment, aws = on_aws(states={incident.alarm: "OK"})
        CLAIM[f"alarm-{name}"].check(deployment)
        assert len(aws.door.asked) % 3 == 0
        assert len(aws.door.asked) >= 3

    def test_fails_if_it_stays_quiet(self, name: str, incident: Incident) -> None:
        verdict = CLAIM[f"alarm-{name}"].check(on_aws(states={incident.alarm: "OK"}, fires_after_s=1e6)[0])
        assert (verdict.state, verdict.words) == ("failed", "it did not fire in 1200 s")

    def test_is_waited_for_while_an_earlier_incident_rings(self, name: str, incident: Incident) -> None:
        deployment, aws = on_aws(states={incident.alarm: "ALARM"}, calms_after_s=600.0)
        assert float(CLAIM[f"alarm-{name}"].check(deployment).figures["fired_after_s"]) < 125
        assert aws.door.now_s >= 720

    @pytest.mark.parametrize("recorded", [{}, {"states": {"errors": "ALARM"}, "calms_after_s": 1e6}])
    def test_that_is_not_there_or_rings_for_ever_is_not_measured(
        self, name: str, incident: Incident, recorded: dict[str, Any]
    ) -> None:
        if recorded:
            recorded = {**recorded, "states": {incident.alarm: "ALARM"}}
        deployment, aws = on_aws(**recorded)
        assert CLAIM[f"alarm-{name}"].check(deployment).state == "not measured"
        assert aws.door.asked == []


class TestRollback:
    def test_leaves_nothing(self) -> None:
        assert CLAIM["rollback"].check(on_aws()[0]).state == "proved"

    @pytest.mark.parametrize(
        ("outcome", "words"),
        [
            (Rollback("ROLLBACK_FAILED", ("Conversations",)), "ROLLBACK_FAILED"),
            (Rollback("CREATE_COMPLETE", ()), "CREATE_COMPLETE"),
            (Rollback("ROLLBACK_COMPLETE", ("Conversations", "ChatLog")), "still there: Conversations, ChatLog"),
        ],
    )
    def test_that_leaves_something_fails_it(self, outcome: Rollback, words: str) -> None:
        verdict = CLAIM["rollback"].check(on_aws(rollback=outcome)[0])
        assert verdict.state == "failed"
        assert words in verdict.words
