"""How a response arrives: proved of a door that does as it should, failed of each that does one thing wrong."""

import json
from collections.abc import Callable

import pytest

from tests.local.verify.scripted_door import Door, Response, changed, healthy
from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.deployment import Verdict

CLAIM = {claim.id: claim for claim in CLAIMS}
STREAMS = (
    "first-byte",
    "pace",
    "small-chunks",
    "bandwidth",
    "terminal-frame",
    "trailers",
    "empty-bodies",
    "deadline",
    "timeout-before-first-byte",
    "timeout-after-first-byte",
)

Distortion = Callable[[Response], Response]


def _check(claim: str, distort: Distortion = lambda response: response) -> Verdict:
    return CLAIM[claim].check(Door(healthy, distort).deployment())


def buffered(response: Response) -> Response:
    """All that was written, once it is complete."""
    waits = [step for step in response.body if isinstance(step, float)]
    return changed(response, body=(sum(waits, 0.0), b"".join(_chunks(response))))


def in_heaps(response: Response) -> Response:
    """Eight chunks at a time."""
    steps: list[float | bytes] = []
    waits, heap = 0.0, list[bytes]()
    for step in response.body:
        if isinstance(step, float):
            waits += step
            continue
        heap.append(step)
        if len(heap) == 8 or step is response.body[-1]:
            steps += [waits, *heap]
            waits, heap = 0.0, []
    return changed(response, body=tuple(steps))


def late(response: Response) -> Response:
    return changed(response, body=(3.0, *response.body))


def cut(response: Response) -> Response:
    """Without its last chunk, and broken off."""
    last = max((at for at, step in enumerate(response.body) if isinstance(step, bytes)), default=0)
    return changed(response, body=response.body[:last], is_whole=False)


def throttled(response: Response) -> Response:
    """At 1 MB/s."""
    steps = [(len(step) / (1 << 20), step) for step in response.body if isinstance(step, bytes)]
    return changed(response, body=tuple(each for pair in steps for each in pair))


def slow_at_last(response: Response) -> Response:
    """At 1 MB/s from 6 MB on."""
    return changed(response, body=tuple(s * 2 if isinstance(s, float) and s > 0.01 else s for s in response.body))


def looks_whole(response: Response) -> Response:
    """Ended as if nothing had been missing."""
    return changed(response, is_whole=True)


def endless(response: Response) -> Response:
    """An end that comes a minute later."""
    return changed(response, body=(*response.body, 60.0))


def says_twice(response: Response) -> Response:
    """With a last frame after the last frame."""
    done = f"data: {json.dumps({'type': 'done'})}\n\n".encode()
    return changed(response, body=(*response.body, done))


def says_nothing_last(response: Response) -> Response:
    return changed(response, body=response.body[:-1])


def hides_failures(response: Response) -> Response:
    """An answer that failed as one that did not."""
    steps = [step if isinstance(step, float) else step.replace(b'"error"', b'"done"') for step in response.body]
    return changed(response, body=tuple(steps))


def refused(response: Response) -> Response:
    return changed(response, status=429, is_whole=True)


def with_body(response: Response) -> Response:
    """Where none may be."""
    if response.body:
        return response
    head = f"HTTP/1.1 {response.status} -\r\ncontent-length: 4\r\n\r\n"
    return Response(raw=head.encode() + b"body")


def waits_for_a_body(response: Response) -> Response:
    return response if response.body else changed(response, body=(20.0,))


def says_nothing(response: Response) -> Response:
    return changed(response, body=())


def at_once(response: Response) -> Response:
    return changed(response, body=tuple(_chunks(response)))


def hangs_up(response: Response) -> Response:
    """But for whoever asks after its health."""
    return response if response.body == (b"{}",) else Response(raw=b"")


def ends_well(response: Response) -> Response:
    """A failure as a success."""
    return changed(response, status=200)


def _chunks(response: Response) -> list[bytes]:
    return [step for step in response.body if isinstance(step, bytes)]


@pytest.mark.parametrize("claim", STREAMS)
def test_a_door_that_does_as_it_should_proves_the_claim(claim: str) -> None:
    verdict = _check(claim)
    assert (verdict.state, verdict.words) == ("proved", "")
    assert verdict.figures


WRONG: list[tuple[str, Distortion, str]] = [
    ("first-byte", buffered, "waited"),
    ("first-byte", late, "waited"),
    ("first-byte", says_nothing, "nothing came after it"),
    ("first-byte", at_once, "nothing came after it"),
    ("pace", buffered, "late"),
    ("pace", in_heaps, "late"),
    ("pace", cut, "39 of 40"),
    ("pace", refused, "429"),
    ("small-chunks", buffered, "held back"),
    ("small-chunks", in_heaps, "held back"),
    ("small-chunks", cut, "39 of 40"),
    ("bandwidth", throttled, "first 6 MB"),
    ("bandwidth", slow_at_last, "slower than Lambda says"),
    ("bandwidth", cut, "bytes came"),
    ("terminal-frame", says_nothing_last, "did not end with `done`"),
    ("terminal-frame", says_twice, "`done` alone"),
    ("terminal-frame", cut, "cut"),
    ("terminal-frame", hides_failures, "did not end with `error`"),
    ("trailers", looks_whole, "looks like a whole"),
    ("trailers", says_nothing_last, "did not arrive"),
    ("trailers", refused, "429"),
    ("empty-bodies", with_body, "GET_204"),
    ("empty-bodies", waits_for_a_body, "GET_204"),
    ("empty-bodies", hangs_up, "of no use"),
    ("deadline", cut, "no terminal frame"),
    ("deadline", at_once, "long before the deadline"),
    ("deadline", endless, "long after Lambda's timeout"),
    ("deadline", hangs_up, "connection broke"),
    ("timeout-before-first-byte", ends_well, "not told of an error"),
    ("timeout-before-first-byte", endless, "when Lambda's timeout was over"),
    ("timeout-before-first-byte", hangs_up, "connection broke"),
    ("timeout-after-first-byte", looks_whole, "looks like a whole"),
    ("timeout-after-first-byte", buffered, "did not arrive then"),
    ("timeout-after-first-byte", endless, "did not end"),
]


@pytest.mark.parametrize(("claim", "distort", "words"), WRONG)
def test_a_door_that_does_it_wrong_fails_the_claim(claim: str, distort: Distortion, words: str) -> None:
    verdict = _check(claim, distort)
    assert verdict.state == "failed"
    assert words in verdict.words


def test_each_claim_has_doors_that_fail_it() -> None:
    assert {claim for claim, _, _ in WRONG} == {*STREAMS}


def test_an_empty_body_has_no_cold_start() -> None:
    """Of an environment that is new, as where only this is measured."""
    cold = [3.0]

    def distort(response: Response) -> Response:
        return changed(response, body=(cold.pop() if cold else 0.0, *response.body))

    assert _check("empty-bodies", distort).state == "proved"


class TestTrailers:
    def test_trailers_tell_a_client_of_the_failure_as_well_as_a_broken_connection(self) -> None:
        told = (("lambda-runtime-function-error-type", "RuntimeError"),)
        verdict = _check("trailers", lambda response: changed(response, is_whole=True, trailers=told))
        assert verdict.state == "proved"
        assert verdict.figures["body"] == "whole lambda-runtime-function-error-type"


class TestTries:
    def test_a_hiccup_of_the_network_fails_no_claim_of_pace(self) -> None:
        hiccups = [buffered, buffered]  # the first of them for the request that warms up

        def distort(response: Response) -> Response:
            return hiccups.pop()(response) if hiccups else response

        assert _check("pace", distort).state == "proved"
