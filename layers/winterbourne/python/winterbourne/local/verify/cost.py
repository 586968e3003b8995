"""What a run costs: what it uses, times AWS's list prices in US East (N. Virginia), no free tiers. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Item", "estimate"]

_HOURS: Final = 730
"""Of a month; what has a price a month is charged by the hour."""

_LAMBDA: Final = "https://aws.amazon.com/lambda/pricing/"
_CLOUDWATCH: Final = "https://aws.amazon.com/cloudwatch/pricing/"

_METRICS: Final = 60
"""More than the chat and a few tools emit."""

_SNAPSHOTS: Final = 13
_SNAPSHOT_S: Final = 3 * 3600
"""Each is charged for three hours at least."""


@dataclass(frozen=True)
class Item:
    """A line of the bill.

    Attributes:
        what: What is used, with its unit.
        amount: How much of it.
        price: Dollars for one.
        page: Where AWS publishes the price.
    """

    what: str
    amount: float
    price: float
    page: str

    @property
    def dollars(self) -> float:
        """What it comes to."""
        return self.amount * self.price


def estimate(template: Mapping[str, Any], memory_mb: int, seconds: float, *, snap_start: bool = True) -> Sequence[Item]:
    """The bill of a run.

    Args:
        template: What is deployed; another such stack is there for a while.
        memory_mb: Of the function.
        seconds: How long the run takes; it is counted as if the function worked all the while.
        snap_start: Whether snapshots are made.
    """
    gb, hours, snapshots = memory_mb / 1024, math.ceil(seconds / 3600), _SNAPSHOTS * snap_start
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    of_a_month = 2 * hours / _HOURS
    return (
        Item("GB-seconds of Lambda", seconds * gb, 0.0000166667, _LAMBDA),
        Item("requests of Lambda", 5000, 0.2e-6, _LAMBDA),
        Item("GB-seconds of SnapStart's snapshots", snapshots * _SNAPSHOT_S * gb, 0.0000015046, _LAMBDA),
        Item("GB restored by SnapStart", snapshots * gb, 0.0001397998, _LAMBDA),
        Item("months of metrics", _METRICS * of_a_month, 0.30, _CLOUDWATCH),
        Item("months of metrics in alarms", _alarm_metrics(template) * of_a_month, 0.10, _CLOUDWATCH),
        Item("months of dashboards", kinds.count("AWS::CloudWatch::Dashboard") * of_a_month, 3.00, _CLOUDWATCH),
        Item("GB of logs", 0.05, 0.50, _CLOUDWATCH),
        Item(
            "months of secrets",
            kinds.count("AWS::SecretsManager::Secret") * of_a_month,
            0.40,
            "https://aws.amazon.com/secrets-manager/pricing/",
        ),
        Item("writes of DynamoDB", 5000, 0.625e-6, "https://aws.amazon.com/dynamodb/pricing/on-demand/"),
        Item("GB out of AWS", 0.2, 0.09, "https://aws.amazon.com/ec2/pricing/on-demand/"),
    )


def _alarm_metrics(template: Mapping[str, Any]) -> int:
    """An alarm on an expression is charged for each metric in it."""
    alarms = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    return sum(max(1, sum("MetricStat" in metric for metric in alarm.get("Metrics", ()))) for alarm in alarms)
