"""Measures how a response arrives: its first byte, its pace, its end, and what is left of one that fails."""

from itertools import pairwise
from typing import Final

from winterbourne.local.verify.asking import TERMINAL, ask, connection, frames, probe, question
from winterbourne.local.verify.client import Answer
from winterbourne.local.verify.deployment import Deployment, Figure, Verdict, failed, judge

__all__ = [
    "bandwidth",
    "deadline",
    "empty_bodies",
    "first_byte",
    "pace",
    "small_chunks",
    "terminal_frame",
    "timeout_after",
    "timeout_before",
    "trailers",
]

MB: Final = 1 << 20
WORDS, PAUSE_MS = 40, 50
"""How many words the function writes, and how long it waits between two of them."""
FIRST_BYTE_S, LATE_S, GRACE_S = 1.0, 0.25, 5.0
"""Limits: of the first byte, of a word behind the quickest one, of an end behind the timeout."""
ALONE: Final = 0.9
"""The share of chunks that have to arrive by themselves."""
BURST: Final = 6 * MB
"""What Lambda does not throttle; the rest is sent at 2 MB/s.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html#config-rs-bandwidth
"""
REST: Final = 4 * MB
AT_LEAST_MBPS: Final = 1.6


def first_byte(deployment: Deployment) -> Verdict:
    """How long after the request the first byte comes, while the function goes on for two seconds."""
    answer = _warm(deployment, "words", count=2, pause_ms=2000)
    figures = {"first_byte_ms": _ms(answer.first_byte_s), "last_byte_ms": _ms(answer.ended_s)}
    return _unless_refused(
        answer, judge(figures, (answer.first_byte_s <= FIRST_BYTE_S, "the first byte waited for what came after it"))
    )


def pace(deployment: Deployment) -> Verdict:
    """How much longer than the quickest of them a word is under way, by what the function says of its own time."""
    answer = _warm(deployment, "words", count=WORDS, pause_ms=PAUSE_MS)
    lines = answer.lines()
    under_way = [at_s - float(sent) for at_s, sent in lines] if answer.status == 200 else []
    late_s = max(under_way, default=0.0) - min(under_way, default=0.0)
    figures: dict[str, Figure] = {"words": len(lines), "latest_ms": _ms(late_s)}
    came = len(lines) == WORDS and answer.is_whole, f"{len(lines)} of {WORDS} words came"
    return _unless_refused(answer, judge(figures, came, (late_s <= LATE_S, "words came late, or in heaps")))


def small_chunks(deployment: Deployment) -> Verdict:
    """How many of the chunks that were written alone arrived alone."""
    answer = _warm(deployment, "words", count=WORDS, pause_ms=PAUSE_MS, text=".")
    times = [at_s for at_s, _ in answer.lines()]
    alone = sum(later > earlier for earlier, later in pairwise(times)) + 1 if times else 0
    figures: dict[str, Figure] = {"chunks": len(times), "alone": alone}
    return _unless_refused(
        answer,
        judge(
            figures,
            (len(times) == WORDS, f"{len(times)} of {WORDS} chunks came"),
            (alone >= ALONE * WORDS, "chunks were held back and came together"),
        ),
    )


def bandwidth(deployment: Deployment) -> Verdict:
    """How fast the first 6 MB and the next 4 MB arrive."""
    size = BURST + REST
    answer = _warm(deployment, "bytes", size=size)
    arrived, burst_s = 0, 0.0
    for at_s, piece in answer.pieces:
        arrived += len(piece)
        if not burst_s and arrived >= BURST:
            burst_s = at_s
    speed = [_mbps(BURST, burst_s - answer.first_byte_s), _mbps(REST, answer.ended_s - burst_s)]
    figures: dict[str, Figure] = {"arrived_mb": arrived / MB, "first_6_mb_mbps": speed[0], "next_4_mb_mbps": speed[1]}
    return _unless_refused(
        answer,
        judge(
            figures,
            (arrived == size and answer.is_whole, f"{arrived} of {size} bytes came"),
            (speed[0] > 2, "the first 6 MB were throttled, or the network of this machine is slow"),
            (speed[1] >= AT_LEAST_MBPS, "the rest was slower than Lambda says"),
        ),
    )


def terminal_frame(deployment: Deployment) -> Verdict:
    """The last frames of an answer that succeeds and of one that fails, and how their bodies end."""
    good, bad = question(deployment), question(deployment, "Please fail halfway")
    ends = [_terminal(good), _terminal(bad)]
    figures: dict[str, Figure] = {
        "answered": ",".join(ends[0]),
        "failing": ",".join(ends[1]),
        "failing_body": _end(bad),
        "failing_trailers": len(bad.trailers),
    }
    return _unless_refused(
        good,
        judge(
            figures,
            (ends[0] == ["done"], "an answer did not end with `done` alone"),
            (good.is_whole, "the body of an answer was cut"),
            (ends[1] == ["error"], "an answer that failed did not end with `error` alone"),
        ),
    )


def trailers(deployment: Deployment) -> Verdict:
    """What a client gets of a response whose handler raises after its first byte: cut, trailers, or neither."""
    answer = probe(deployment, "fail")
    names = ",".join(name for name, _ in answer.trailers)
    figures: dict[str, Figure] = {"arrived_bytes": len(answer.body), "body": _end(answer), "trailers": names}
    return _unless_refused(
        answer,
        judge(
            figures,
            (answer.body == b"begun\n", "what was written before the failure did not arrive"),
            (not answer.is_whole or bool(names), "it looks like a whole response"),
        ),
    )


def empty_bodies(deployment: Deployment) -> Verdict:
    """Responses without a body, on one connection, each followed by one with a body."""
    headers = [("x-verify-token", deployment.token)]
    figures: dict[str, Figure] = {}
    unmet = []
    with connection(deployment) as connected:
        for method, status in (("GET", 204), ("GET", 304), ("HEAD", 200)):
            name = f"{method}_{status}"
            try:
                answer = connected.ask(method, f"/verify/empty?status={status}", headers)
                after = connected.ask("GET", "/verify/words?count=1", headers)
            except OSError as error:
                return failed(f"after {name} the connection was of no use: {error}", **figures)
            figures[f"{name}_ms"] = _ms(answer.ended_s)
            is_right = answer.status == status and not answer.body and answer.ended_s <= FIRST_BYTE_S
            if not is_right or after.status != 200 or not after.body:
                unmet.append(f"{name} came as {answer.status}, with {len(answer.body)} bytes, then {after.status}")
    return judge(figures, (not unmet, "; ".join(unmet)))


def deadline(deployment: Deployment) -> Verdict:
    """When an answer that would take for ever is ended by the chat."""
    answer = question(deployment, "Count to 99999")
    ends = _terminal(answer)
    figures: dict[str, Figure] = {"ended_s": round(answer.ended_s, 2), "terminal": ",".join(ends)}
    return _unless_refused(
        answer,
        judge(
            figures,
            (ends == ["error"], "no terminal frame came"),
            (answer.ended_s < deployment.timeout_s, "it came after Lambda's timeout"),
        ),
    )


def timeout_before(deployment: Deployment) -> Verdict:
    """What a client gets of a function that says nothing."""
    answer = probe(deployment, "hang")
    figures: dict[str, Figure] = {"status": answer.status, "ended_s": round(answer.ended_s, 2)}
    return judge(
        figures,
        (answer.status >= 500, "the client was not told of an error"),
        (_is_in_time(deployment, answer), "it was not told when Lambda's timeout was over"),
    )


def timeout_after(deployment: Deployment) -> Verdict:
    """What a client gets of a response that stops in its midst."""
    answer = probe(deployment, "hang", begin=1)
    figures: dict[str, Figure] = {
        "first_byte_ms": _ms(answer.first_byte_s),
        "ended_s": round(answer.ended_s, 2),
        "body": _end(answer),
        "trailers": len(answer.trailers),
    }
    arrived = answer.body == b"begun\n" and answer.first_byte_s < deployment.timeout_s
    return _unless_refused(
        answer,
        judge(
            figures,
            (arrived, "what was written before did not arrive then"),
            (_is_in_time(deployment, answer), "it did not end when Lambda's timeout was over"),
            (not answer.is_whole or bool(answer.trailers), "it looks like a whole response"),
        ),
    )


def _warm(deployment: Deployment, name: str, **query: object) -> Answer:
    """The answer of a probe, when a first request has had its cold start."""
    ask(deployment, "GET", "/healthz")
    return probe(deployment, name, **query)


def _unless_refused(answer: Answer, verdict: Verdict) -> Verdict:
    if answer.status == 200:
        return verdict
    return failed(f"status {answer.status}: {answer.body[:200].decode(errors='replace')}", **verdict.figures)


def _is_in_time(deployment: Deployment, answer: Answer) -> bool:
    return deployment.timeout_s - 1 <= answer.ended_s <= deployment.timeout_s + GRACE_S


def _terminal(answer: Answer) -> list[str]:
    """The terminal frames, and any frame after the first of them."""
    types = [str(frame["type"]) for frame in frames(answer)]
    return types[next((at for at, name in enumerate(types) if name in TERMINAL), len(types)) :]


def _end(answer: Answer) -> str:
    return "whole" if answer.is_whole else "cut"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _mbps(size: int, seconds: float) -> float:
    return round(size / MB / max(seconds, 1e-6), 2)
