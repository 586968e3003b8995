"""What a month of chats costs behind each door: measured seconds, CPU and bytes of a chat, times published rates. Pure.

All of US East (N. Virginia), without free tiers, discounts, the model's tokens, the store and the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["DOORS", "HOURS", "MEMORY_MB", "RATES", "Chat", "Door", "Rate"]

HOURS: Final = 730
"""Of a month."""

MEMORY_MB: Final = 512
"""The template's."""

REST_CALL_BYTES: Final = 10_000_000
"""A streamed response is a further call for each of these begun."""

INSTANCES: Final = 3
"""What a capacity provider has at least, one in each of three zones."""

TASKS: Final = 2
TASK_VCPU: Final = 0.5
TASK_GB: Final = 1.0
"""Containers of one's own: in two zones, behind a load balancer."""

IDLE_S: Final = 900
"""How long a session of AgentCore waits for another request, by default; its memory is paid for as long."""


@dataclass(frozen=True)
class Rate:
    """A published price.

    Attributes:
        dollars: The price.
        unit: Of what.
        page: Where AWS publishes it.
        source: Whether it was read on that page, or on others that quote it, or on none, so that it is to be confirmed.
    """

    dollars: float
    unit: str
    page: str
    source: Literal["page", "quoted", "unconfirmed"] = "quoted"


RATES: Final = {
    "lambda_gb_s": Rate(0.0000133334, "GB-second of Lambda, arm64", "https://aws.amazon.com/lambda/pricing/"),
    "lambda_request": Rate(0.20e-6, "request of Lambda", "https://aws.amazon.com/lambda/pricing/"),
    "rest_call": Rate(3.50e-6, "call of a REST API", "https://aws.amazon.com/api-gateway/pricing/"),
    "cloudfront_request": Rate(0.01e-4, "request of CloudFront", "https://aws.amazon.com/cloudfront/pricing/"),
    "cloudfront_gb": Rate(0.085, "GB out of CloudFront", "https://aws.amazon.com/cloudfront/pricing/", "page"),
    "transfer_gb": Rate(0.09, "GB out of AWS", "https://aws.amazon.com/ec2/pricing/on-demand/"),
    "waf_acl": Rate(5.0, "web ACL a month", "https://aws.amazon.com/waf/pricing/"),
    "waf_rule": Rate(1.0, "rule a month", "https://aws.amazon.com/waf/pricing/"),
    "waf_request": Rate(0.60e-6, "request that WAF looks at", "https://aws.amazon.com/waf/pricing/"),
    "instance_hour": Rate(0.0816, "hour of an m7g.large", "https://aws.amazon.com/ec2/pricing/on-demand/"),
    "instance_fee": Rate(0.15, "dollar of instances, Lambda's fee", "https://aws.amazon.com/lambda/pricing/"),
    "agent_vcpu_hour": Rate(0.0895, "vCPU-hour of AgentCore", "https://aws.amazon.com/bedrock/agentcore/pricing/"),
    "agent_gb_hour": Rate(0.00945, "GB-hour of AgentCore", "https://aws.amazon.com/bedrock/agentcore/pricing/"),
    "fargate_vcpu_hour": Rate(0.04048, "vCPU-hour of Fargate", "https://aws.amazon.com/fargate/pricing/"),
    "fargate_gb_hour": Rate(0.004445, "GB-hour of Fargate", "https://aws.amazon.com/fargate/pricing/"),
    "balancer_hour": Rate(
        0.0225, "hour of a load balancer", "https://aws.amazon.com/elasticloadbalancing/pricing/", "unconfirmed"
    ),
}


@dataclass(frozen=True)
class Chat:
    """What was measured of one chat: how long its stream was open, CPU, bytes sent, and the process's memory."""

    seconds: float
    cpu_s: float
    sent_bytes: int
    memory_mb: float


@dataclass(frozen=True)
class Door:
    """Dollars of a month, and of each chat in it."""

    month: float
    of_chat: Callable[[Chat], float]

    def dollars(self, chat: Chat, chats: int) -> float:
        """Of a month with so many chats of one kind."""
        return self.month + chats * self.of_chat(chat)

    def cheaper_from(self, other: "Door", chat: Chat) -> float:
        """With how many chats a month this door, which costs more when idle, costs as much as another one."""
        return (self.month - other.month) / (other.of_chat(chat) - self.of_chat(chat))


def _rate(name: str) -> float:
    return RATES[name].dollars


def _function(chat: Chat) -> float:
    return chat.seconds * MEMORY_MB / 1024 * _rate("lambda_gb_s") + _rate("lambda_request")


def _sent(chat: Chat, rate: str = "transfer_gb") -> float:
    return chat.sent_bytes / 1e9 * _rate(rate)


def _url(chat: Chat) -> float:
    return _function(chat) + _sent(chat)


def _cloudfront(chat: Chat) -> float:
    return _function(chat) + _sent(chat, "cloudfront_gb") + _rate("cloudfront_request") + _rate("waf_request")


def _rest(chat: Chat) -> float:
    return _url(chat) + -(-chat.sent_bytes // REST_CALL_BYTES) * _rate("rest_call")


def _agent(chat: Chat) -> float:
    """In a session of its own."""
    gb_hours = chat.memory_mb / 1024 * (chat.seconds + IDLE_S) / 3600
    return chat.cpu_s / 3600 * _rate("agent_vcpu_hour") + gb_hours * _rate("agent_gb_hour") + _sent(chat)


_WAF: Final = _rate("waf_acl") + _rate("waf_rule")
_INSTANCES: Final = INSTANCES * _rate("instance_hour") * (1 + _rate("instance_fee")) * HOURS
_TASK_HOUR: Final = TASK_VCPU * _rate("fargate_vcpu_hour") + TASK_GB * _rate("fargate_gb_hour")

DOORS: Final = {
    "function URL": Door(0, _url),
    "function URL behind CloudFront with WAF": Door(_WAF, _cloudfront),
    "REST API": Door(0, _rest),
    "REST API with WAF": Door(_WAF, lambda chat: _rest(chat) + _rate("waf_request")),
    "Managed Instances": Door(_INSTANCES, lambda chat: _rate("lambda_request") + _sent(chat)),
    "AgentCore Runtime": Door(0, _agent),
    "two containers on Fargate": Door((TASKS * _TASK_HOUR + _rate("balancer_hour")) * HOURS, _sent),
}
"""Lambda Web Functions are missing: their rates are not published where they could be read."""
