"""A chat as its callers see it: reachable, ready, closed, on time, one CORS answer, and a stream that really streams.

Knows a URL and perhaps a key, nothing of AWS accounts.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from winterbourne.local.doctor.findings import Finding, ok, unknown, wrong

__all__ = ["Caller", "Heard", "check_clock", "check_cors", "check_streaming", "look"]

QUESTION: Final = "Count from one to twenty, in words."
CLOCK_S: Final = 30.0
"""Seconds our clock may differ: AWS signatures allow 300, tokens are checked with 30."""
AT_ONCE_S: Final = 0.02
"""An answer whose pieces all came within this was not seen to stream."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Args:
        url: Of the chat, without a path.
        key: For `x-api-key`; empty where there is none.
        origin: Of a page that wants to call, such as `https://app.example.com`; empty where none does.
    """

    url: str
    key: str = ""
    origin: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call it."""
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}


@dataclass
class Heard:
    """One streamed answer: when its pieces came (seconds since it was asked for), and its frames."""

    arrivals: list[float] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    whole_at_once: bool = False


def look(
    caller: Caller, client: httpx.Client, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Finding]:
    """Check everything; where nothing answers, that is the one finding, and where a connection breaks, the last."""
    try:
        answer = client.get(f"{caller.url}/healthz", headers={"origin": "https://example.com"})
    except httpx.HTTPError as error:
        yield _unreachable(caller, error)
        return
    yield _reachable(answer)
    if answer.status_code == httpx.codes.OK:
        try:
            yield from _closer(caller, client, answer, now())
        except httpx.HTTPError as error:
            yield wrong("connection", f"it broke: {error}", "read the function's log: it crashed, or ran out of time")


def check_clock(headers: Mapping[str, str], now: datetime) -> Finding:
    """Compare the answer's date with ours."""
    if "date" not in headers:
        return unknown("clock", "the answer has no date to compare with")
    apart_s = abs((parsedate_to_datetime(headers["date"]) - now).total_seconds())
    if apart_s <= CLOCK_S:
        return ok("clock", f"{apart_s:.0f} s apart")
    return wrong(
        "clock", f"{apart_s:.0f} s apart: signatures and tokens are refused", "set this machine's clock by NTP"
    )


def check_cors(headers: httpx.Headers, origin: str) -> Finding:
    """Twice the same header, which browsers refuse; or, with an origin, whether its pages may call."""
    allowed = headers.get_list("access-control-allow-origin")
    if len(allowed) > 1:
        return wrong("cors", "answered twice, which browsers refuse", "leave CORS to the function URL (template.yaml)")
    if not origin:
        return ok("cors", "answered in one place at most")
    if allowed and allowed[0] in {origin, "*"}:
        return ok("cors", f"pages of {origin} may call")
    return wrong("cors", f"pages of {origin} may not call", f"make deploy PARAMETERS='AllowedOrigins={origin}'")


def check_streaming(heard: Heard) -> Finding:
    """From when the pieces came: a buffered answer has no pieces, or all of them at its end."""
    mend = "set InvokeMode to RESPONSE_STREAM, and take every proxy that buffers out of the way"
    if heard.whole_at_once:
        return wrong("streaming", "the answer came with a content-length, so somebody collects it first", mend)
    first_s, last_s = heard.arrivals[0], heard.arrivals[-1]
    times = f"first words after {first_s:.2f} s, last after {last_s:.2f} s, {len(heard.arrivals)} pieces"
    if last_s - first_s > AT_ONCE_S:
        return ok("streaming", times)
    if last_s < 10 * AT_ONCE_S:
        return unknown("streaming", f"{times}: too quick to tell")
    return wrong("streaming", f"{times}: all at once", mend)


# Private functions


def _closer(caller: Caller, client: httpx.Client, answer: httpx.Response, now: datetime) -> Iterator[Finding]:
    yield check_clock(answer.headers, now)
    yield check_cors(answer.headers, "")
    if caller.origin:
        yield check_cors(_preflight(caller, client), caller.origin)
    yield _ready(client.get(f"{caller.url}/readyz"))
    yield _closed(caller, client.post(f"{caller.url}/chat", json={}))
    yield from _chat(caller, client)


def _unreachable(caller: Caller, error: httpx.HTTPError) -> Finding:
    mend = "make run, in another terminal" if caller.is_local else "see the output Url of the stack: was it deleted?"
    return wrong("reachable", f"nothing answers at {caller.url}: {error}", mend)


def _reachable(answer: httpx.Response) -> Finding:
    match answer.status_code:
        case httpx.codes.OK:
            return ok("reachable", str(answer.url))
        case httpx.codes.FORBIDDEN:
            mend = "make deploy (both permissions of a public URL); with Auth iam calls must be signed"
            return wrong("reachable", "the function URL lets nobody in", mend)
        case httpx.codes.TOO_MANY_REQUESTS:
            return wrong("reachable", "throttled", "raise ReservedConcurrency, or the account's quota")
        case httpx.codes.BAD_GATEWAY:
            return wrong("reachable", "the function does not start", "read its log: the output FollowLog of the stack")
        case status:
            return wrong("reachable", f"/healthz says {status}", "is this the right URL?")


def _ready(answer: httpx.Response) -> Finding:
    if answer.status_code == httpx.codes.OK:
        return ok("ready", "what the function needs is there")
    return wrong("ready", _words(answer), "mend what the message names, then make deploy")


def _closed(caller: Caller, answer: httpx.Response) -> Finding:
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return ok("closed", "without a key nobody is let in")
    if caller.is_local:
        return ok("closed", "open, and only this machine can call it")
    return wrong("closed", "anybody can call, and the model costs money", "make deploy PARAMETERS=Auth=api_key")


def _preflight(caller: Caller, client: httpx.Client) -> httpx.Headers:
    asks = {"origin": caller.origin, "access-control-request-method": "POST"}
    asks["access-control-request-headers"] = "content-type,x-api-key"
    return client.options(f"{caller.url}/chat", headers=asks).headers


def _chat(caller: Caller, client: httpx.Client) -> Iterator[Finding]:
    """One short question, which costs some tokens."""
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    keys = {"x-api-key": caller.key} if caller.key else {}
    with client.stream("POST", f"{caller.url}/chat", json=body, headers=keys) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
            yield _refused(caller, response)
            return
        heard = _hear(response)
    yield _model(heard.frames)
    yield check_streaming(heard)


def _hear(response: httpx.Response) -> Heard:
    heard, started, text = Heard(), time.monotonic(), b""
    heard.whole_at_once = "content-length" in response.headers
    for piece in response.iter_raw():
        heard.arrivals.append(time.monotonic() - started)
        text += piece
    lines = [line.removeprefix("data: ") for line in text.decode(errors="replace").splitlines()]
    heard.frames = [json.loads(line) for line in lines if line.startswith("{")]
    return heard


def _refused(caller: Caller, response: httpx.Response) -> Finding:
    if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        if not caller.key:
            return unknown("model", "not asked, for want of a key: set KEY, or give the stack's name")
        return wrong("key", _words(response), "fetch it anew: the output FetchKey of the stack")
    return wrong("model", _words(response), "mend what the message names")


def _model(frames: Sequence[Mapping[str, Any]]) -> Finding:
    last = frames[-1] if frames else {}
    if last.get("type") == "done":
        return ok("model", f"{_name(frames)} answers")
    if last.get("type") == "error":
        return wrong("model", f"{last.get('code')}: {last.get('message')}", _MENDS.get(str(last.get("code")), _MEND))
    return wrong("model", "the stream ended without a last word", "read the function's log")


def _name(frames: Sequence[Mapping[str, Any]]) -> str:
    return str(frames[0].get("model") or "the model")


_MEND: Final = "read the function's log for this request"
_MENDS: Final = {
    "credentials_missing": "make deploy PARAMETERS='ModelApiKeySecretArn=…'",
    "model_busy": "wait, or ask the provider for a higher quota",
    "model_refused": "check ModelId, the key in ModelApiKeySecretArn, and on Bedrock the access to that model",
    "model_unreachable": "check ModelBaseUrl, and whether the function can reach it",
}


def _words(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: {answer.text[:200]}"
    return (
        f"{answer.status_code} {error['code']}: {error['message']}"
        if isinstance(error, dict)
        else f"{answer.status_code}: {error}"
    )
