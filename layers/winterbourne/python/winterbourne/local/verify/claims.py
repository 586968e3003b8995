"""The claims that only AWS can settle: what each says, on which page AWS says so, and what measures it."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from winterbourne.local.verify import measure_callers as callers
from winterbourne.local.verify import measure_incidents as incidents
from winterbourne.local.verify import measure_starts as starts
from winterbourne.local.verify import measure_streams as streams
from winterbourne.local.verify.deployment import Deployment, Verdict, failed, not_measured

__all__ = ["CLAIMS", "Claim", "Verdict"]

Measure = Callable[[Deployment], Verdict]


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
    measure: Measure
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


_MEASURES: Final[Mapping[str, Measure]] = {
    "first-byte": streams.first_byte,
    "pace": streams.pace,
    "small-chunks": streams.small_chunks,
    "bandwidth": streams.bandwidth,
    "terminal-frame": streams.terminal_frame,
    "empty-bodies": streams.empty_bodies,
    "cors": callers.cors,
    "keys": callers.keys,
    "role": callers.role,
    "metrics": incidents.metrics,
    **{f"alarm-{name}": partial(incidents.alarm, incident) for name, incident in incidents.INCIDENTS.items()},
    "lambda-errors": incidents.lambda_errors,
    "trailers": streams.trailers,
    "deadline": streams.deadline,
    "timeout-before-first-byte": streams.timeout_before,
    "timeout-after-first-byte": streams.timeout_after,
    "thaw-1": partial(starts.thaw, idle_s=60),
    "thaw-5": partial(starts.thaw, idle_s=300),
    "thaw-15": partial(starts.thaw, idle_s=900),
    "url-permissions": callers.url_permissions,
    "rollback": incidents.rollback,
    "cold-starts": partial(starts.cold_starts, snap_start=False),
    "cold-starts-snapstart": partial(starts.cold_starts, snap_start=True),
}
"""What measures each claim, in this order: alarms before what else sets them off, what changes the stack at last."""


def _read() -> tuple[Claim, ...]:
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(Claim(id=name, measure=measure, **table[name]) for name, measure in _MEASURES.items())


CLAIMS: Final = _read()
"""In the order in which they are measured."""
