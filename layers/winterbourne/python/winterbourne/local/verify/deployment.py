"""What a measurement is given, a deployment to ask and AWS behind it, and what it returns, a verdict."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from winterbourne.local.verify.client import Socket, connect

__all__ = ["Aws", "Deployment", "Figure", "Report", "Rollback", "Verdict", "failed", "judge", "not_measured"]

Figure = float | int | str

State = Literal["proved", "failed", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What a measurement has found.

    Attributes:
        state: `not measured` if the measurement was inconclusive, or could not be made.
        words: Why, in a sentence; empty if the claim is proved.
        figures: What was measured, by name; the unit is the end of the name, as in `first_byte_ms`.
    """

    state: State
    words: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def judge(figures: Mapping[str, Figure], *conditions: tuple[bool, str]) -> Verdict:
    """A verdict: proved if every condition holds, else failed, with the words of those that do not."""
    unmet = [words for holds, words in conditions if not holds]
    return Verdict("failed" if unmet else "proved", "; ".join(unmet), figures)


def failed(words: str, /, **figures: Figure) -> Verdict:
    """The claim does not hold."""
    return Verdict("failed", words, figures)


def not_measured(words: str, /, **figures: Figure) -> Verdict:
    """It cannot be told whether the claim holds."""
    return Verdict("not measured", words, figures)


@dataclass(frozen=True)
class Report:
    """The REPORT line of one invocation; times are in milliseconds.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html

    Attributes:
        request_id: Of the invocation.
        duration_ms: Of the handler.
        init_ms: `Init Duration`; None unless the invocation was a cold start.
        restore_ms: `Restore Duration`; None unless its environment was restored from a snapshot for it.
        memory_mb: `Max Memory Used`.
    """

    request_id: str
    duration_ms: float
    init_ms: float | None = None
    restore_ms: float | None = None
    memory_mb: int = 0


@dataclass(frozen=True)
class Rollback:
    """What became of a stack whose first deployment failed.

    Attributes:
        status: CloudFormation's, at the end.
        left_over: Logical ids of the resources that are still there.
    """

    status: str
    left_over: Sequence[str]


class Aws(Protocol):
    """What only AWS can do or tell of the stack under measurement. Exceptions of boto3 propagate from every method."""

    def reports(self, request_ids: Sequence[str]) -> Sequence[Report]:
        """The REPORT lines of these invocations, once all are in the log; fewer if some do not arrive in time."""

    def renew(self, *, snap_start: bool) -> str:
        """Have every environment made anew, from a snapshot or without; returns the base URL to ask."""

    def metric_sum(self, name: str, start: datetime, end: datetime, *, namespace: str = "Winterbourne") -> float | None:
        """The sum of a metric of the chat between two whole minutes; None while there is no datapoint.

        In the namespace `AWS/Lambda` it is the function's.
        """

    def alarm_states(self) -> Mapping[str, str]:
        """The state of each alarm of the stack, by its name without the stack's: `STACK-errors` is `errors` here."""

    def alarms_fired(self, since: datetime) -> Sequence[str]:
        """The names of those that have gone into ALARM since then, by their history; likewise."""

    def without_url_permission(self, action: str) -> AbstractContextManager[None]:
        """Take one of the URL's two permissions away, `lambda:InvokeFunctionUrl` or `lambda:InvokeFunction`."""

    def denied(self, *actions: str) -> AbstractContextManager[None]:
        """Deny the function's role these actions, by an inline policy; allowed again at the end."""

    def concurrency(self, limit: int) -> AbstractContextManager[None]:
        """Reserve this concurrency for the function; 0 switches it off. As it was at the end."""

    def fail_first_deployment(self) -> Rollback:
        """Deploy another stack, of Stage prod, one of whose resources cannot be made; returns what became of it."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The deployment under measurement; its function is `winterbourne/local/files/verify`.

    Attributes:
        url: Base URL, without a slash at the end.
        api_key: Of a caller, for `x-api-key`.
        token: VERIFY_TOKEN of the function, which opens its probes.
        timeout_s: The function's Timeout.
        memory_mb: The function's MemorySize.
        door: What requests come through: `url`, `cloudfront` or `rest`.
        origin: An origin whose pages may call (AllowedOrigins).
        aws: None where there is no AWS, such as at a local server: then what needs it is not measured.
        connect: Connects to this host and port, with TLS if the last argument says so.
        clock: Monotonic time in seconds.
        now: The wall clock, in UTC.
        sleep: Waits this many seconds.
    """

    url: str
    api_key: str = ""
    token: str = ""
    timeout_s: float = 15.0
    memory_mb: int = 512
    door: str = "url"
    origin: str = ""
    aws: Aws | None = None
    connect: Callable[[str, int, bool], Socket] = connect
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    def wait(self, condition: Callable[[], bool], every_s: float, at_most_s: float) -> float | None:
        """Ask every so often whether a condition holds; seconds until it did, or None if it has not."""
        started_s = self.clock()
        while not condition():
            if self.clock() - started_s >= at_most_s:
                return None
            self.sleep(every_s)
        return self.clock() - started_s
