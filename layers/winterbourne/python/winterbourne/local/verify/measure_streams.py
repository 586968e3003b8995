"""Measures how a response arrives: its first byte, its pace, its end, and what is left of one that fails."""

from itertools import accumulate, dropwhile, pairwise
from typing import Final

from winterbourne.local.verify.asking import PROBES, TERMINAL, ask, connection, frames, probe, question
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
STILL_S: Final = 0.5
"""How long at least a function still works that has been heard of early."""
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
    soon = answer.first_byte_s <= FIRST_BYTE_S, "the first byte waited for what came after it"
    went_on = answer.ended_s - answer.first_byte_s > STILL_S, "nothing came after it"
    return judge(figures, _is_ok(answer), soon, went_on)


def pace(deployment: Deployment) -> Verdict:
    """How much longer than the quickest of them a word is under way, by what the function says of its own time."""
    answer = _warm(deployment, "words", count=WORDS, pause_ms=PAUSE_MS)
    lines = answer.lines() if answer.status == 200 else []
    under_way = [at_s - float(sent) for at_s, sent in lines] or [0.0]
    late_s = max(under_way) - min(under_way)
    came = len(lines) == WORDS and answer.is_whole, f"{len(lines)} of {WORDS} words came"
    in_time = late_s <= LATE_S, "words came late, or in heaps"
    return judge({"words": len(lines), "latest_ms": _ms(late_s)}, _is_ok(answer), came, in_time)


def small_chunks(deployment: Deployment) -> Verdict:
    """How many of the chunks that were written alone arrived alone."""
    answer = _warm(deployment, "words", count=WORDS, pause_ms=PAUSE_MS, text=".")
    times = [at_s for at_s, _ in answer.lines()]
    alone = sum(later > earlier for earlier, later in pairwise([-1.0, *times]))
    came = len(times) == WORDS, f"{len(times)} of {WORDS} chunks came"
    flushed = alone >= ALONE * WORDS, "chunks were held back and came together"
    return judge({"chunks": len(times), "alone": alone}, _is_ok(answer), came, flushed)


def bandwidth(deployment: Deployment) -> Verdict:
    """How fast the first 6 MB and the next 4 MB arrive."""
    answer = _warm(deployment, "bytes", size=BURST + REST)
    sizes = list(accumulate(len(piece) for _, piece in answer.pieces))
    burst_s = next(
        (at_s for (at_s, _), size in zip(answer.pieces, sizes, strict=True) if size >= BURST), answer.ended_s
    )
    fast, slow = _mbps(BURST, burst_s - answer.first_byte_s), _mbps(REST, answer.ended_s - burst_s)
    arrived = sizes[-1] if sizes else 0
    return judge(
        {"arrived_mb": round(arrived / MB, 2), "first_6_mb_mbps": fast, "next_4_mb_mbps": slow},
        _is_ok(answer),
        (arrived == BURST + REST and answer.is_whole, f"{arrived} of {BURST + REST} bytes came"),
        (fast > 2, "the first 6 MB were throttled, or the network of this machine is slow"),
        (slow >= AT_LEAST_MBPS, "the rest was slower than Lambda says"),
    )


def terminal_frame(deployment: Deployment) -> Verdict:
    """The last frames of an answer that succeeds and of one that fails, and how their bodies end."""
    good, bad = question(deployment), question(deployment, "Please fail halfway")
    answered, failing = _terminal(good), _terminal(bad)
    return judge(
        {"answered": answered, "failing": failing, "failing_body": _end(bad)},
        _is_ok(good),
        (answered == "done", "an answer did not end with `done` alone"),
        (good.is_whole, "the body of an answer was cut"),
        (failing == "error", "an answer that failed did not end with `error` alone"),
    )


def trailers(deployment: Deployment) -> Verdict:
    """What a client gets of a response whose handler raises after its first byte: cut, trailers, or neither."""
    answer = probe(deployment, "fail")
    arrived = answer.body == b"begun\n", "what was written before the failure did not arrive"
    return judge({"body": _end(answer)}, _is_ok(answer), arrived, _looks_broken(answer))


def empty_bodies(deployment: Deployment) -> Verdict:
    """Responses without a body, on one connection, each followed by one with a body."""
    headers, figures, unmet = [("x-verify-token", deployment.token)], dict[str, Figure](), list[str]()
    ask(deployment, "GET", "/healthz")  # it has the cold start
    with connection(deployment) as connected:
        for method, status in (("GET", 204), ("GET", 304), ("HEAD", 200)):
            name = f"{method}_{status}"
            try:
                answer = connected.ask(method, f"{PROBES}empty?status={status}", headers)
                after = connected.ask("GET", f"{PROBES}words?count=1", headers)
            except OSError as error:
                return failed(f"after {name} the connection was of no use: {error}", **figures)
            figures[f"{name}_ms"] = _ms(answer.ended_s)
            is_empty = answer.status == status and not answer.body and answer.ended_s <= FIRST_BYTE_S
            if not is_empty or after.status != 200 or not after.body:
                unmet.append(f"{name} came as {answer.status}, with {len(answer.body)} bytes, then {after.status}")
    return judge(figures, (not unmet, "; ".join(unmet)))


def deadline(deployment: Deployment) -> Verdict:
    """When an answer that would take for ever is ended by the chat."""
    answer = question(deployment, "Count to 99999")
    terminal = _terminal(answer)
    return judge(
        {"ended_s": round(answer.ended_s, 2), "terminal": terminal},
        _is_ok(answer),
        (terminal == "error", "no terminal frame came"),
        (answer.ended_s >= deployment.timeout_s / 2, "it ended long before the deadline"),
        (answer.ended_s <= deployment.timeout_s + GRACE_S, "it came long after Lambda's timeout"),
    )


def timeout_before(deployment: Deployment) -> Verdict:
    """What a client gets of a function that says nothing."""
    answer = probe(deployment, "hang")
    figures = {"status": answer.status, "ended_s": round(answer.ended_s, 2)}
    told = answer.status >= 500, "the client was not told of an error"
    return judge(figures, told, _ends_at_timeout(deployment, answer))


def timeout_after(deployment: Deployment) -> Verdict:
    """What a client gets of a response that stops in its midst."""
    answer = probe(deployment, "hang", begin=1)
    is_early = answer.body == b"begun\n" and answer.ended_s - answer.first_byte_s > deployment.timeout_s / 2
    return judge(
        {"first_byte_ms": _ms(answer.first_byte_s), "ended_s": round(answer.ended_s, 2), "body": _end(answer)},
        _is_ok(answer),
        (is_early, "what was written before did not arrive then"),
        _ends_at_timeout(deployment, answer),
        _looks_broken(answer),
    )


def _warm(deployment: Deployment, name: str, **query: object) -> Answer:
    """The answer of a probe, when a first request has had its cold start."""
    ask(deployment, "GET", "/healthz")
    return probe(deployment, name, **query)


def _is_ok(answer: Answer) -> tuple[bool, str]:
    return answer.status == 200, f"status {answer.status}"


def _looks_broken(answer: Answer) -> tuple[bool, str]:
    return not answer.is_whole or bool(answer.trailers), "it looks like a whole response"


def _ends_at_timeout(deployment: Deployment, answer: Answer) -> tuple[bool, str]:
    is_in_time = deployment.timeout_s - 1 <= answer.ended_s <= deployment.timeout_s + GRACE_S
    return is_in_time, "it did not end when Lambda's timeout was over"


def _terminal(answer: Answer) -> str:
    """The types of the terminal frames, and of any frame after the first of them."""
    types = [str(frame["type"]) for frame in frames(answer)]
    return ",".join(dropwhile(lambda name: name not in TERMINAL, types))


def _end(answer: Answer) -> str:
    """How a body ended, with the names of its trailers."""
    return " ".join(["whole" if answer.is_whole else "cut", *(name for name, _ in answer.trailers)])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _mbps(size: int, seconds: float) -> float:
    return round(size / MB / max(seconds, 1e-6), 2)
