"""The claims that only AWS can settle: what each says, on which page AWS says so, and what measures it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from winterbourne.local.verify import measure_callers, measure_incidents, measure_starts, measure_streams
from winterbourne.local.verify.deployment import Deployment, Verdict, failed, not_measured

__all__ = ["CLAIMS", "Claim", "Verdict"]

LAMBDA: Final = "https://docs.aws.amazon.com/lambda/latest/dg/"
CLOUDWATCH: Final = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/"
CLOUDFORMATION: Final = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim.

    Attributes:
        id: A short name, unique, of lower-case words and hyphens.
        title: What is claimed, with its limit.
        page: The page of AWS's documentation that it rests on.
        lasts_s: About how many seconds its measurement takes on AWS.
        needs_aws: Whether it is measured only where `Deployment.aws` is set.
        tries: How often it is measured until it counts as failed: the network of who measures has its own hiccups.
        doors: The doors that it holds for.
    """

    id: str
    title: str
    page: str
    measure: Callable[[Deployment], Verdict]
    lasts_s: int
    needs_aws: bool = False
    tries: int = 1
    doors: tuple[str, ...] = ("url", "cloudfront", "rest")

    def check(self, deployment: Deployment) -> Verdict:
        """Measure it; a connection that breaks where it should not is a claim that failed.

        Raises:
            BotoCoreError, ClientError: From `Deployment.aws`.
        """
        if deployment.door not in self.doors:
            return not_measured(f"it does not concern the door {deployment.door}")
        if self.needs_aws and deployment.aws is None:
            return not_measured("only AWS can tell")
        for _ in range(self.tries - 1):
            if (verdict := self._measure(deployment)).state != "failed":
                return verdict
        return self._measure(deployment)

    def _measure(self, deployment: Deployment) -> Verdict:
        try:
            return self.measure(deployment)
        except OSError as error:
            return failed(f"the connection broke: {error}")


def _claims() -> Iterator[Claim]:
    streams, starts, callers, incidents = measure_streams, measure_starts, measure_callers, measure_incidents
    yield Claim(
        id="first-byte",
        title="The first byte arrives within a second of being written, while the function still works",
        page=f"{LAMBDA}configuration-response-streaming.html",
        measure=streams.first_byte,
        tries=3,
        lasts_s=5,
    )
    yield Claim(
        id="pace",
        title="What is written 20 times a second arrives at that pace, nothing more than 250 ms late",
        page=f"{LAMBDA}configuration-response-streaming.html",
        measure=streams.pace,
        tries=3,
        lasts_s=10,
    )
    yield Claim(
        id="small-chunks",
        title="Chunks of two bytes are passed on one by one: nine of ten arrive by themselves",
        page=f"{LAMBDA}configuration-response-streaming.html",
        measure=streams.small_chunks,
        tries=3,
        lasts_s=5,
    )
    yield Claim(
        id="bandwidth",
        title="The first 6 MB of a response are faster than 2 MB/s, the rest is not slower than 1.6 MB/s",
        page=f"{LAMBDA}configuration-response-streaming.html#config-rs-bandwidth",
        measure=streams.bandwidth,
        tries=3,
        lasts_s=15,
    )
    yield Claim(
        id="terminal-frame",
        title="An answer ends with exactly one terminal frame, `done`, or `error` where it failed",
        page=f"{LAMBDA}configuration-response-streaming.html",
        measure=streams.terminal_frame,
        lasts_s=10,
    )
    yield Claim(
        id="trailers",
        title="A response whose handler fails after the first byte does not look whole to its client",
        page=f"{LAMBDA}runtimes-custom.html#runtimes-custom-response-streaming",
        measure=streams.trailers,
        lasts_s=5,
    )
    yield Claim(
        id="empty-bodies",
        title="Responses to HEAD, and with status 204 and 304, come at once, empty, and keep the connection usable",
        page=f"{LAMBDA}urls-invocation.html",
        measure=streams.empty_bodies,
        lasts_s=5,
    )
    yield Claim(
        id="deadline",
        title="An answer that takes too long ends with the chat's own terminal frame before Lambda's timeout",
        page=f"{LAMBDA}configuration-timeout.html",
        measure=streams.deadline,
        lasts_s=20,
    )
    yield Claim(
        id="timeout-before-first-byte",
        title="A function that says nothing until its timeout gives its client a 5xx, at most five seconds later",
        page=f"{LAMBDA}configuration-timeout.html",
        measure=streams.timeout_before,
        lasts_s=20,
    )
    yield Claim(
        id="timeout-after-first-byte",
        title="A response cut by the timeout arrives as far as it was written, and does not look whole to its client",
        page=f"{LAMBDA}configuration-timeout.html",
        measure=streams.timeout_after,
        lasts_s=20,
    )
    for minutes in (1, 5, 15):
        yield Claim(
            id=f"thaw-{minutes}",
            title=f"After {minutes} min frozen no stale connection fails the next chat, or makes it 2 s slower",
            page=f"{LAMBDA}lambda-runtime-environment.html",
            measure=partial(starts.thaw, idle_s=60.0 * minutes),
            lasts_s=60 * minutes + 10,
        )
    for name, snap_start, words in (("cold-starts", False, "without"), ("cold-starts-snapstart", True, "with")):
        yield Claim(
            id=name,
            title=f"Of 20 cold starts {words} SnapStart, by their REPORT lines, half take less than a second",
            page=f"{LAMBDA}snapstart-monitoring.html" if snap_start else f"{LAMBDA}lambda-runtime-environment.html",
            measure=partial(starts.cold_starts, snap_start=snap_start),
            lasts_s=600 if snap_start else 120,
            needs_aws=True,
        )
    yield Claim(
        id="cors",
        title="Pages of an allowed origin may call and read the request id, others may not, and no header comes twice",
        page=f"{LAMBDA}urls-configuration.html#urls-cors",
        measure=callers.cors,
        lasts_s=5,
    )
    yield Claim(
        id="keys",
        title="Without a key, and with a wrong one, a chat is refused with 401; with the right one it is answered",
        page="https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets.html",
        measure=callers.keys,
        lasts_s=5,
    )
    yield Claim(
        id="url-permissions",
        title="The public URL needs both permissions: without either of them callers get a 403",
        page=f"{LAMBDA}urls-auth.html",
        measure=callers.url_permissions,
        lasts_s=240,
        needs_aws=True,
        doors=("url",),
    )
    yield Claim(
        id="role",
        title="The function's role is refused what the chat does not need",
        page=f"{LAMBDA}lambda-intro-execution-role.html",
        measure=callers.role,
        lasts_s=5,
    )
    yield Claim(
        id="metrics",
        title="Metrics arrive: of five chats CloudWatch counts five, and the tokens that their answers name",
        page=f"{CLOUDWATCH}CloudWatch_Embedded_Metric_Format_Specification.html",
        measure=incidents.metrics,
        lasts_s=240,
        needs_aws=True,
    )
    yield Claim(
        id="lambda-errors",
        title="A response that fails under way is an error in Lambda's own count",
        page=f"{LAMBDA}monitoring-metrics-types.html",
        measure=incidents.lambda_errors,
        lasts_s=240,
        needs_aws=True,
    )
    for incident in incidents.INCIDENTS:
        yield Claim(
            id=f"alarm-{incident.name}",
            title=f"The alarm `{incident.alarm}` fires when {incident.what}",
            page=f"{CLOUDWATCH}alarm-evaluation.html",
            measure=partial(incidents.alarm, incident),
            lasts_s=300,
            needs_aws=True,
        )
    yield Claim(
        id="rollback",
        title="A first deployment of prod that fails is rolled back, and leaves nothing",
        page=f"{CLOUDFORMATION}stack-failure-options.html",
        measure=incidents.rollback,
        lasts_s=300,
        needs_aws=True,
    )


CLAIMS: Final = tuple(_claims())
"""In the order in which they are measured."""
