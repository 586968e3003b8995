"""Measures environments: how they start, from REPORT lines, and how they go on after having been frozen."""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, cast

from winterbourne.local.verify.asking import frames, probe, question
from winterbourne.local.verify.deployment import Aws, Deployment, Figure, Verdict, failed, judge, not_measured

__all__ = ["cold_starts", "thaw"]

STARTS: Final = 20
AT_ONCE: Final = 5
"""Requests at once, each of which needs an environment; a new account may have ten."""
ROUNDS: Final = 12
HOLD_MS: Final = 1500
"""How long each request keeps its environment, so that the next one gets another."""
MEDIAN_MS: Final = 1000
THAW_S: Final = 2.0


def cold_starts(deployment: Deployment, *, snap_start: bool) -> Verdict:
    """Durations of starts, from the REPORT lines of requests that met new environments."""
    aws, found, memory_mb = cast("Aws", deployment.aws), list[float](), 0
    for _ in range(ROUNDS):
        if len(found) >= STARTS:
            break
        renewed = replace(deployment, url=aws.renew(snap_start=snap_start))
        for report in aws.reports(_ask_at_once(renewed)):
            took_ms = report.restore_ms if snap_start else report.init_ms
            found += [] if took_ms is None else [took_ms]
            memory_mb = max(memory_mb, report.memory_mb)
    if len(found) < STARTS:
        return not_measured(f"{len(found)} cold starts in {ROUNDS} rounds, {STARTS} are needed", starts=len(found))
    tenths = statistics.quantiles(found, n=10, method="inclusive")
    figures: dict[str, Figure] = {"starts": len(found), "p50_ms": tenths[4], "p90_ms": tenths[8]}
    figures |= {"longest_ms": max(found), "memory_mb": memory_mb, "of_mb": deployment.memory_mb}
    return judge(figures, (tenths[4] < MEDIAN_MS, f"half of them took more than {MEDIAN_MS} ms"))


def _ask_at_once(deployment: Deployment) -> list[str]:
    """The request ids of several requests at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda _: probe(deployment, "environment", hold_ms=HOLD_MS), range(AT_ONCE))
        return [str(json.loads(answer.body)["request_id"]) for answer in answers if answer.status == 200]


def thaw(deployment: Deployment, *, idle_s: float) -> Verdict:
    """A chat before and one after the function has been left alone; both ask the store and another server."""
    _reach(deployment)
    before_s, last_before, before = _reach(deployment)
    deployment.sleep(idle_s)
    after_s, last_after, after = _reach(deployment)
    figures: dict[str, Figure] = {
        "before_ms": round(before_s * 1000),
        "after_ms": round(after_s * 1000),
        "tool_before_ms": before.get("ms", 0),
        "tool_after_ms": after.get("ms", 0),
    }
    if last_before != "done" or "status" not in before:
        return not_measured(f"the chat or its tool failed before it was left alone: {last_before}", **figures)
    if last_after != "done" or "status" not in after:
        return failed(f"the chat or its tool failed after it: {last_after}", **figures)
    if after["environment"] != before["environment"]:
        return not_measured("Lambda has ended the environment meanwhile, and another one answered", **figures)
    return judge(figures, (after_s - before_s < THAW_S, "the chat after it was slow"))


def _reach(deployment: Deployment) -> tuple[float, str, dict[str, Any]]:
    """A chat whose tool asks a server over the pool: its seconds, its last frame, and the tool's result."""
    answer = question(deployment, "Call reach")
    found = frames(answer)
    results = [frame["result"] for frame in found if frame["type"] == "tool_call" and frame["status"] == "completed"]
    last = str(found[-1]["type"]) if found else f"status {answer.status}"
    return answer.ended_s, last, results[0] if results else {}
