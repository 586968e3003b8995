"""What a month of a stack costs: what is there when nobody asks, and what each chat adds. Pure.

Of US East (N. Virginia). `used` counts what a chat writes, `door_cost` has Lambda's part, and the template how many
alarms there are.
"""

from dataclasses import dataclass, replace
from typing import Final

from tests.bench import log_cost
from tests.bench.door_cost import DOORS, HOURS, MEMORY_MB, RATES, Chat, Rate
from tests.bench.used import Used

__all__ = ["FREE", "OTHER_RATES", "Watching", "flood", "month"]

_CLOUDWATCH: Final = "https://aws.amazon.com/cloudwatch/pricing/"
_DYNAMODB: Final = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_SECRETS: Final = "https://aws.amazon.com/secrets-manager/pricing/"

OTHER_RATES: Final = {
    "metric": Rate(0.30, "custom metric a month, in which it has values all the time", _CLOUDWATCH),
    "alarm": Rate(0.10, "metric of an alarm a month", _CLOUDWATCH),
    "dashboard": Rate(3.00, "dashboard a month", _CLOUDWATCH),
    "log_gb": Rate(0.50, "GB of log that comes in", _CLOUDWATCH),
    "write_unit": Rate(log_cost.WRITE_UNIT, "write unit of DynamoDB", _DYNAMODB),
    "read_unit": Rate(log_cost.READ_UNIT, "read unit of DynamoDB", _DYNAMODB),
    "secret": Rate(0.40, "secret a month", _SECRETS),
    "secret_call": Rate(0.05 / 10_000, "reading of a secret", _SECRETS),
}
"""Beside those of `door_cost`."""

READINGS_AN_HOUR: Final = 12
"""Of each secret, while somebody asks: what is read is kept for five minutes."""

REQUESTS_A_SECOND: Final = 10
"""What a function URL lets through for each environment at once.
https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-throttling
"""


@dataclass(frozen=True)
class Watching:
    """What CloudWatch charges for.

    Attributes:
        dashboards: Of the stack.
        alarms: Metrics of its alarms that are named one by one.
        queried: Metrics that alarms find by a query.
        metrics: Custom metrics that get values as long as somebody asks.
        log_gb: Log that comes in.
    """

    dashboards: float = 0
    alarms: float = 0
    queried: float = 0
    metrics: float = 0
    log_gb: float = 0

    def dollars(self, free: "Watching | None" = None) -> float:
        """Of a month, less what is free."""
        free = free or Watching()
        dashboards, metrics = max(0, self.dashboards - free.dashboards), max(0, self.metrics - free.metrics)
        alarms = max(0, self.alarms - free.alarms) + self.queried
        counts = {
            "dashboard": dashboards,
            "alarm": alarms,
            "metric": metrics,
            "log_gb": max(0, self.log_gb - free.log_gb),
        }
        return sum(count * _dollars(name) for name, count in counts.items())


FREE: Final = Watching(dashboards=3, alarms=10, metrics=10, log_gb=5)
"""CloudWatch's free tier, of all stacks of an account together. https://aws.amazon.com/cloudwatch/pricing/"""


def month(chats: int, chat: Chat, used: Used, tokens: tuple[int, int], secrets: int) -> dict[str, float]:
    """Dollars of a month by what they are for, CloudWatch apart.

    Args:
        chats: In the month, one an hour or more often.
        chat: How long its stream is open, and its bytes.
        used: What else it takes.
        tokens: Of input and output, of the provider's default model on Bedrock.
        secrets: Of the stack.
    """
    input_price, output_price = log_cost.MODELS["nova-2-lite"]
    readings = min(chats, HOURS) * READINGS_AN_HOUR * secrets * _dollars("secret_call")
    return {
        "Lambda, and bytes sent": DOORS["function URL"].dollars(chat, chats),
        "DynamoDB": chats * used.table_dollars,
        "secrets": secrets * _dollars("secret") + readings,
        "the model's tokens": chats * (tokens[0] * input_price + tokens[1] * output_price) / 1e6,
    }


def watching(fixed: Watching, chats: int, used: Used) -> Watching:
    """What CloudWatch has of a month with so many chats, one an hour or more often: metrics are charged by the hour."""
    share = min(1.0, chats / HOURS)
    return replace(fixed, metrics=len(used.metrics) * share, log_gb=chats * used.log_bytes / 1e9)


def flood(at_once: int, log_bytes: int) -> float:
    """Dollars of an hour in which a function URL is called as often as it lets anybody call, and is busy all the time.

    Args:
        at_once: Execution environments that may run: ReservedConcurrency, or what the account has left.
        log_bytes: Of each request that is refused.
    """
    second = MEMORY_MB / 1024 * RATES["lambda_gb_s"].dollars
    request = RATES["lambda_request"].dollars + log_bytes / 1e9 * _dollars("log_gb")
    return 3600 * at_once * (second + REQUESTS_A_SECOND * request)


def _dollars(name: str) -> float:
    return OTHER_RATES[name].dollars
