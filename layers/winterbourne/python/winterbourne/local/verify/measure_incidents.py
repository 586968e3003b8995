"""Measures what reaches CloudWatch: metrics, alarms of provoked incidents; and what CloudFormation takes back."""

from dataclasses import dataclass
from typing import Final

from winterbourne.local.verify.deployment import Deployment, Verdict, not_measured

__all__ = ["INCIDENTS", "Incident", "alarm", "metrics", "rollback"]


@dataclass(frozen=True)
class Incident:
    """An incident that is provoked.

    Attributes:
        name: What the claim is called by.
        alarm: The alarm that it must set off, as `Aws.alarms` names it.
        what: What happens, as the end of a sentence.
    """

    name: str
    alarm: str
    what: str


INCIDENTS: Final = (
    Incident("failed-chats", "errors", "chats fail"),
    Incident("crashes", "crashes", "the process dies"),
    Incident("throttles", "throttles", "callers are turned away"),
    Incident("store", "store", "the role may not reach its table"),
    Incident("tool-timeouts", "tool-timeouts", "a tool is slow"),
    Incident("memory", "memory", "nearly all memory is in use"),
)


def metrics(deployment: Deployment) -> Verdict:
    return not_measured("")


def alarm(incident: Incident, deployment: Deployment) -> Verdict:
    return not_measured("")


def rollback(deployment: Deployment) -> Verdict:
    return not_measured("")
