"""Measures what reaches CloudWatch: metrics, alarms of provoked incidents; and what CloudFormation takes back."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, cast

from winterbourne.local.verify.asking import frames, probe, question
from winterbourne.local.verify.deployment import Aws, Deployment, Figure, Verdict, failed, judge, not_measured

__all__ = ["INCIDENTS", "Incident", "alarm", "lambda_errors", "metrics", "rollback"]

CHATS: Final = 5
MINUTE_S: Final = 60.0
ARRIVES_IN_S: Final = 600.0
FIRES_IN_S: Final = 1200.0
CALMS_IN_S: Final = 1800.0
"""How long metrics may take to arrive, an alarm to fire, and one that is ringing to end."""
SKEW_S: Final = 5.0
"""How far this machine's clock may be off."""


@dataclass(frozen=True)
class Incident:
    """An incident that is provoked.

    Attributes:
        alarm: The alarm that it must set off, as `Aws.alarm_states` names it.
        provoke: Makes it happen once; called every minute.
        surrounding: What holds meanwhile.
    """

    alarm: str
    provoke: Callable[[Deployment], object]
    surrounding: Callable[[Aws], AbstractContextManager[None]] = lambda _: contextlib.nullcontext()


def _ask(content: str, times: int = 1) -> Callable[[Deployment], object]:
    return lambda deployment: [question(deployment, content) for _ in range(times)]


def _start_and_ask(deployment: Deployment) -> None:
    """Ask an environment that has read no keys yet: one that has them goes on with them."""
    url = _aws(deployment).renew(snap_start=False)
    question(replace(deployment, url=url))


INCIDENTS: Final[Mapping[str, Incident]] = {
    "failed-chats": Incident("failing", _ask("Please fail halfway", 5)),
    "crashes": Incident("crashes", lambda deployment: probe(deployment, "crash")),
    "throttles": Incident("throttles", _ask("Hello"), lambda aws: aws.concurrency(0)),
    "store": Incident("store", _ask("Hello"), lambda aws: aws.denied("dynamodb:*")),
    "keys": Incident("auth", _start_and_ask, lambda aws: aws.denied("secretsmanager:GetSecretValue")),
    "tool-timeouts": Incident("tool-timeouts", _ask("Call dawdle", 6)),
    "memory": Incident("memory", _ask("Call fill")),
}
"""By what the claim `alarm-NAME` is called."""


def metrics(deployment: Deployment) -> Verdict:
    """What CloudWatch counts in a minute in which nobody else asks."""
    start = _next_minute(deployment)
    answers = [frames(question(deployment)) for _ in range(CHATS)]
    usage = [frame["usage"]["output"] for answer in answers for frame in answer if frame["type"] == "done"]
    if len(usage) < CHATS:
        return failed(f"only {len(usage)} of {CHATS} chats were answered")
    return _counted(deployment, start, {"Chats": CHATS, "OutputTokens": sum(usage)}, "Winterbourne")


def lambda_errors(deployment: Deployment) -> Verdict:
    """What Lambda itself counts of a response whose handler fails after its first byte."""
    start = _next_minute(deployment)
    probe(deployment, "fail")
    return _counted(deployment, start, {"Errors": 1}, "AWS/Lambda")


def alarm(incident: Incident, deployment: Deployment) -> Verdict:
    """How long it takes the alarm to fire while the incident is provoked every minute, and which others fire too."""
    aws = _aws(deployment)
    if incident.alarm not in aws.alarm_states():
        return not_measured(f"the stack has no alarm {incident.alarm}")
    if deployment.wait(lambda: aws.alarm_states()[incident.alarm] != "ALARM", MINUTE_S, CALMS_IN_S) is None:
        return not_measured(f"{incident.alarm} was ringing already, and did not end")
    since = deployment.now()

    def has_fired() -> bool:
        with contextlib.suppress(OSError):  # a connection may well break
            incident.provoke(deployment)
        return incident.alarm in aws.alarms_fired(since)

    with incident.surrounding(aws):
        fired_s = deployment.wait(has_fired, MINUTE_S, FIRES_IN_S)
    others = ",".join(sorted({*aws.alarms_fired(since)} - {incident.alarm}))
    if fired_s is None:
        return failed(f"it did not fire in {FIRES_IN_S:.0f} s", others=others)
    return judge({"fired_after_s": round(fired_s), "others": others})


def rollback(deployment: Deployment) -> Verdict:
    """What is left of a stack whose first deployment failed."""
    outcome = _aws(deployment).fail_first_deployment()
    return judge(
        {"status": outcome.status, "left_over": ",".join(outcome.left_over)},
        (outcome.status == "ROLLBACK_COMPLETE", f"the stack is in {outcome.status}"),
        (not outcome.left_over, f"still there: {', '.join(outcome.left_over)}"),
    )


def _aws(deployment: Deployment) -> Aws:
    return cast("Aws", deployment.aws)


def _next_minute(deployment: Deployment) -> datetime:
    """Wait for the next minute of CloudWatch's, and for clocks that are a little behind."""
    now = deployment.now()
    start = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    deployment.sleep((start - now).total_seconds() + SKEW_S)
    return start


def _counted(deployment: Deployment, start: datetime, expected: Mapping[str, float], namespace: str) -> Verdict:
    """Whether the sums from then to the end of this minute become what they have to be."""
    aws, sums = _aws(deployment), dict[str, float | None]()
    end = _next_minute(deployment)

    def have_arrived() -> bool:
        sums.update({name: aws.metric_sum(name, start, end, namespace=namespace) for name in expected})
        return sums == expected

    waited_s = deployment.wait(have_arrived, 30, ARRIVES_IN_S)
    figures: dict[str, Figure] = {name: "none" if value is None else value for name, value in sums.items()}
    wanted = ", ".join(f"{value:.0f} {name}" for name, value in expected.items())
    return judge(
        {**figures, "arrived_after_s": round(waited_s or -1)}, (waited_s is not None, f"{wanted} were expected")
    )
