"""Checks a chat as its callers see it: reachability, readiness, authentication, clock skew, CORS, model and streaming.

Needs its URL and possibly an API key, but no access to the AWS account.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from winterbourne.chat.http_library import httpx
from winterbourne.local.doctor.findings import Finding, ok, unknown, wrong

__all__ = ["Caller", "StreamedResponse", "check_clock_skew", "check_cors", "check_streaming", "run_checks"]

QUESTION: Final = "Count from one to twenty, in words."
MAX_CLOCK_SKEW_S: Final = 30.0
"""Allowed clock skew in seconds: AWS signatures allow 300, tokens are checked with 30."""
MIN_STREAM_SPREAD_S: Final = 0.02
"""If all chunks of a response arrive within this many seconds, it does not count as streamed."""


@dataclass(frozen=True)
class Caller:
    """The caller that the checks act as.

    Attributes:
        url: URL of the chat, without a path.
        api_key: Value of `x-api-key`; empty if there is none.
        origin: Origin of a web page that must be able to call, such as `https://app.example.com`; empty if none.
    """

    url: str
    api_key: str = ""
    origin: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call the chat."""
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}


@dataclass
class StreamedResponse:
    """A streamed response: when its chunks arrived (in seconds since its headers), and its frames."""

    arrivals: list[float] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    has_content_length: bool = False


def run_checks(
    caller: Caller, client: httpx.Client, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Finding]:
    """Run all checks. If nothing responds, that is the only finding; if a connection breaks, that is the last."""
    try:
        response = client.get(f"{caller.url}/healthz", headers={"origin": "https://example.com"})
    except httpx.HTTPError as error:
        yield _unreachable(caller, error)
        return
    yield _check_reachable(response)
    if response.status_code == httpx.codes.OK:
        try:
            yield from _remaining_checks(caller, client, response, now())
        except httpx.HTTPError as error:
            yield wrong("connection", f"it broke: {error}", "read the function's log: it crashed or timed out")


def check_clock_skew(headers: Mapping[str, str], now: datetime) -> Finding:
    """Compare the response's date with our clock."""
    if "date" not in headers:
        return unknown("clock", "the response has no Date header to compare with")
    skew_s = abs((parsedate_to_datetime(headers["date"]) - now).total_seconds())
    if skew_s <= MAX_CLOCK_SKEW_S:
        return ok("clock", f"{skew_s:.0f} s apart")
    message = f"{skew_s:.0f} s apart: signatures and tokens are rejected"
    return wrong("clock", message, "synchronize this machine's clock (NTP)")


def check_cors(headers: httpx.Headers, origin: str) -> Finding:
    """Check for a duplicate header, which browsers reject, and, given an origin, whether its pages may call."""
    allowed = headers.get_list("access-control-allow-origin")
    if len(allowed) > 1:
        message = "access-control-allow-origin is sent twice, which browsers reject"
        return wrong("cors", message, "configure CORS once: at the function URL (template.yaml), else in CORS_ORIGINS")
    if not origin:
        return ok("cors", "no duplicate headers")
    if allowed and allowed[0] in {origin, "*"}:
        return ok("cors", f"pages of {origin} may call")
    return wrong("cors", f"pages of {origin} may not call", f"make deploy PARAMETERS='AllowedOrigins={origin}'")


def check_streaming(streamed: StreamedResponse) -> Finding:
    """Check the arrival times: a buffered response comes as one chunk, or as several at the same time."""
    fix = "set InvokeMode to RESPONSE_STREAM (REST API: responseTransferMode STREAM), and let no proxy buffer"
    if streamed.has_content_length:
        return wrong("streaming", "the response has a content-length, so something buffers it", fix)
    first_s, last_s = streamed.arrivals[0], streamed.arrivals[-1]
    timing = f"first chunk after {first_s:.2f} s, last after {last_s:.2f} s, {len(streamed.arrivals)} chunks"
    if last_s - first_s > MIN_STREAM_SPREAD_S:
        return ok("streaming", timing)
    if last_s < 10 * MIN_STREAM_SPREAD_S:
        return unknown("streaming", f"{timing}: too fast to tell")
    return wrong("streaming", f"{timing}: all at the same time", fix)


def _remaining_checks(
    caller: Caller, client: httpx.Client, response: httpx.Response, now: datetime
) -> Iterator[Finding]:
    yield check_clock_skew(response.headers, now)
    yield check_cors(response.headers, "")
    if caller.origin:
        yield check_cors(_preflight_headers(caller, client), caller.origin)
    yield _check_readiness(client.get(f"{caller.url}/readyz"))
    yield _check_authentication(caller, client.post(f"{caller.url}/chat", json={}))
    yield from _check_chat(caller, client)


def _unreachable(caller: Caller, error: httpx.HTTPError) -> Finding:
    fix = "compare it with the output Url of the stack, which may have been deleted"
    if caller.is_local:
        fix = "make run, in another terminal"
    return wrong("reachable", f"no response from {caller.url}: {error}", fix)


_NOT_REACHABLE: Final = {
    403: (
        "access is denied before the function is asked (403)",
        "make deploy (grants the permissions); with Auth=iam, requests must be signed; or a firewall (AWS WAF) refuses",
    ),
    429: ("throttled (429)", "raise ReservedConcurrency, the account's quota, or RequestsPerSecond of a REST API"),
    502: ("the function does not start (502)", "read its log with the command in the stack's output FollowLog"),
}


def _check_reachable(response: httpx.Response) -> Finding:
    if response.status_code == httpx.codes.OK:
        return ok("reachable", str(response.url))
    other = f"/healthz responds with status {response.status_code}", "check that this is the right URL"
    return wrong("reachable", *_NOT_REACHABLE.get(response.status_code, other))


def _check_readiness(response: httpx.Response) -> Finding:
    if response.status_code == httpx.codes.OK:
        return ok("ready", "everything the function needs is available")
    return wrong("ready", _error_text(response), "fix what the message names, then make deploy")


def _check_authentication(caller: Caller, response: httpx.Response) -> Finding:
    if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return ok("auth", "requests without a key are rejected")
    if caller.is_local:
        return ok("auth", "no authentication, but only this machine can call")
    return wrong("auth", "anyone can call, and the model costs money", "make deploy PARAMETERS=Auth=api_key")


def _preflight_headers(caller: Caller, client: httpx.Client) -> httpx.Headers:
    request_headers = {"origin": caller.origin, "access-control-request-method": "POST"}
    request_headers["access-control-request-headers"] = "content-type,x-api-key"
    return client.options(f"{caller.url}/chat", headers=request_headers).headers


def _check_chat(caller: Caller, client: httpx.Client) -> Iterator[Finding]:
    """Ask one short question, which costs some tokens."""
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    auth_headers = {"x-api-key": caller.api_key} if caller.api_key else {}
    with client.stream("POST", f"{caller.url}/chat", json=body, headers=auth_headers) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
            yield _check_error_response(caller, response)
            return
        streamed = _read_stream(response)
    yield _check_model(streamed.frames)
    yield check_streaming(streamed)


def _read_stream(response: httpx.Response) -> StreamedResponse:
    arrivals, started, body = [], time.monotonic(), b""
    for piece in response.iter_raw():
        arrivals.append(time.monotonic() - started)
        body += piece
    lines = [line.removeprefix("data: ") for line in body.decode(errors="replace").splitlines()]
    frames = [json.loads(line) for line in lines if line.startswith("{")]
    return StreamedResponse(arrivals, frames, "content-length" in response.headers)


def _check_error_response(caller: Caller, response: httpx.Response) -> Finding:
    if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        if not caller.api_key:
            return unknown("model", "not asked, because there is no API key: set KEY, or give the stack's name")
        return wrong("key", _error_text(response), "fetch it again with the command in the stack's output FetchKey")
    return wrong("model", _error_text(response), "fix what the message names")


def _check_model(frames: Sequence[Mapping[str, Any]]) -> Finding:
    last = frames[-1] if frames else {}
    if last.get("type") == "done":
        return ok("model", f"{frames[0].get('model') or 'the model'} answers")
    if last.get("type") == "error":
        fix = _FIXES.get(str(last.get("code")), "read the function's log for this request")
        return wrong("model", f"{last.get('code')}: {last.get('message')}", fix)
    return wrong("model", "the stream ended without a terminal event", "read the function's log")


_FIXES: Final = {
    "credentials_missing": "make deploy PARAMETERS='ModelApiKeySecretArn=…'",
    "model_busy": "wait, or ask the provider for a higher quota",
    "model_refused": "check ModelId, the key in ModelApiKeySecretArn, and on Bedrock BedrockModels and model access",
    "model_unreachable": "check ModelBaseUrl, and whether the function can reach it",
}


def _error_text(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}: {response.text[:200]}"
    if isinstance(error, dict):
        return f"{response.status_code} {error['code']}: {error['message']}"
    return f"{response.status_code}: {error}"
