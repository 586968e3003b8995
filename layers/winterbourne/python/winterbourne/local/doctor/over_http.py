"""Checks a chat as its callers see it: reachability, readiness, authentication, clock skew, CORS, model and streaming.

Needs its URL and possibly an API key, but no access to the AWS account. Which door the URL is, its responses say.
"""

import contextlib
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


DOORS: Final = {
    "x-amz-apigw-id": "a REST API",
    "x-amz-cf-id": "CloudFront",
    "x-amzn-requestid": "a function URL",
    "": "a server of your own",
}
"""The doors, by the header that tells each from those that follow.

https://repost.aws/knowledge-center/collect-api-gateway-extended-request-ids
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
"""
AGENTCORE: Final = "AgentCore"

_STREAMING_FIXES: Final = {
    "a REST API": "set responseTransferMode to STREAM",
    "CloudFront": "turn its compression off, and cache nothing: docs/how-to/cloudfront.md#the-distribution",
    "a function URL": "set InvokeMode to RESPONSE_STREAM",
}
_OWN_STREAMING_FIX: Final = "let no proxy buffer: nginx, for one, wants `proxy_buffering off`"


@dataclass(frozen=True)
class Caller:
    """The caller that the checks act as.

    Attributes:
        url: URL of the chat, without a slash at the end; of AgentCore the one that ends with `/invocations`.
        api_key: Value of `x-api-key`, or the token for AgentCore; empty if there is none.
        origin: Origin of a web page that must be able to call, such as `https://app.example.com`; empty if none.
    """

    url: str
    api_key: str = ""
    origin: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call the chat."""
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}

    @property
    def is_agentcore(self) -> bool:
        """Whether the URL is one of Bedrock AgentCore, which lets one path through.

        https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
        """
        return urlsplit(self.url).path.endswith("/invocations")

    @property
    def chat_url(self) -> str:
        """Where questions are asked in the native format."""
        return self.url if self.is_agentcore else f"{self.url}/chat"

    @property
    def key_headers(self) -> dict[str, str]:
        """The headers with the key; CloudFront puts its own signature into `authorization`."""
        header = ("authorization", f"Bearer {self.api_key}") if self.is_agentcore else ("x-api-key", self.api_key)
        return dict([header]) if self.api_key else {}

    def door(self, response: httpx.Response) -> str:
        """Which door has sent a response."""
        if self.is_agentcore:
            return AGENTCORE
        return next(name for header, name in DOORS.items() if not header or header in response.headers)


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
        response = _first_response(caller, client)
    except httpx.HTTPError as error:
        yield _unreachable(caller, error)
        return
    finding = _check_reachable(caller, response)
    yield finding
    if finding.state == "ok":
        try:
            yield from _remaining_checks(caller, client, response, now())
        except httpx.HTTPError as error:
            yield wrong("connection", f"it broke: {error}", "read the function's log: it crashed or timed out")


def _first_response(caller: Caller, client: httpx.Client) -> httpx.Response:
    if caller.is_agentcore:
        return client.post(caller.chat_url, json={})
    return client.get(f"{caller.url}/healthz", headers={"origin": "https://example.com"})


def check_clock_skew(headers: Mapping[str, str], now: datetime) -> Finding:
    """Compare the response's date with our clock."""
    if "date" not in headers:
        return unknown("clock", "the response has no Date header to compare with")
    skew_s = abs((parsedate_to_datetime(headers["date"]) - now).total_seconds())
    if skew_s <= MAX_CLOCK_SKEW_S:
        return ok("clock", f"{skew_s:.0f} s apart")
    message = f"{skew_s:.0f} s apart: signatures and tokens are rejected"
    return wrong("clock", message, "synchronize this machine's clock (NTP)")


def check_cors(headers: httpx.Headers, origin: str, door: str = "") -> Finding:
    """Check for a duplicate header, which browsers reject, and, given an origin, whether its pages may call."""
    allowed = headers.get_list("access-control-allow-origin")
    if len(allowed) > 1:
        message = "access-control-allow-origin is sent twice, which browsers reject"
        return wrong("cors", message, "configure CORS once: at the function URL (template.yaml), else in CORS_ORIGINS")
    if not origin:
        return ok("cors", "no duplicate headers")
    if allowed and allowed[0] in {origin, "*"}:
        return ok("cors", f"pages of {origin} may call")
    own = f"CORS_ORIGINS={origin} in its environment"
    fix = own if door == DOORS[""] else f"make deploy PARAMETERS='AllowedOrigins={origin}'"
    return wrong("cors", f"pages of {origin} may not call", fix)


def check_streaming(streamed: StreamedResponse, door: str = "") -> Finding:
    """Check the arrival times: a buffered response comes as one chunk, or as several at the same time."""
    fix = _STREAMING_FIXES.get(door, _OWN_STREAMING_FIX)
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
    door = caller.door(response)
    yield check_clock_skew(response.headers, now)
    if not caller.is_agentcore:  # which answers browsers itself, and is asked nothing else
        yield check_cors(response.headers, "")
        if caller.origin:
            yield check_cors(_preflight_headers(caller, client), caller.origin, door)
        yield _check_readiness(client.get(f"{caller.url}/readyz"))
        response = client.post(caller.chat_url, json={})
    yield _check_authentication(caller, response, door)
    yield from _check_chat(caller, client, door)


def _unreachable(caller: Caller, error: httpx.HTTPError) -> Finding:
    fix = "compare it with the output Url of the stack, which may have been deleted"
    if caller.is_local:
        fix = "make run, in another terminal"
    return wrong("reachable", f"no response from {caller.url}: {error}", fix)


_READ_LOG: Final = "read its log with the command in the stack's output FollowLog"
_DENIED: Final = (
    "make deploy, if its permissions were never made (make doctor STACK=… tells); or give CloudFront's URL; or a"
    " firewall refuses, or Auth is iam"
)
_THROTTLED: Final = (
    "if it is switched off, run the stack's output SwitchOn; else raise ReservedConcurrency, the account's quota, or"
    " RequestsPerSecond of a REST API"
)
_NOT_REACHABLE: Final = {
    403: ("access is denied before the function is asked (403)", _DENIED),
    429: ("throttled (429)", _THROTTLED),
    502: ("the function does not start (502)", _READ_LOG),
    504: ("the door did not wait for the function (504)", _READ_LOG),
}


def _check_reachable(caller: Caller, response: httpx.Response) -> Finding:
    status = response.status_code
    if status == httpx.codes.OK and not caller.is_agentcore and _parse_object(response.content) != {"status": "ok"}:
        return wrong("reachable", f"{response.url} is not a chat's response", "check that this is the right URL")
    refused = {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}  # a body without a question
    if status == httpx.codes.OK or (caller.is_agentcore and status in refused):
        return ok("reachable", f"{response.url}, {caller.door(response)}")
    other = f"{response.url.path} responds with status {status}", "check that this is the right URL"
    return wrong("reachable", *_NOT_REACHABLE.get(status, other))


def _check_readiness(response: httpx.Response) -> Finding:
    if response.status_code == httpx.codes.OK:
        return ok("ready", "store, keys, model and tools are there")
    parts = str(_error(response).get("message")).partition("not ready: ")[2].split(", ")
    fixes = [_READY_FIXES[part] for part in parts if part in _READY_FIXES]
    return wrong("ready", _error_text(response), "; ".join(fixes) or "fix what the message names, then make deploy")


_READY_FIXES: Final = {
    "store": "STORE names a table that is there and that the role may read (doctor with --stack checks it)",
    "auth": "put a key into the secret of the callers' keys, or see whether JwtIssuer answers",
    "model": "check ModelBaseUrl, the key in ModelApiKeySecretArn, and the provider's own status page",
    "tools": "a tool hangs: docs/how-to/operate.md#abandoned-threads",
}


def _check_authentication(caller: Caller, response: httpx.Response, door: str) -> Finding:
    status = response.status_code
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        if _is_chats_own(response) or caller.is_agentcore:
            return ok("auth", "requests without a key are rejected")
        message = f"{door} refuses requests with a body, before the chat is asked ({status})"
        return wrong("auth", message, "grant both permissions (make deploy); a firewall may refuse them, too")
    if status != httpx.codes.BAD_REQUEST:  # what an open chat says to a body without a question
        return unknown("auth", f"a body without a question and a key gets status {status}")
    if caller.is_local:
        return ok("auth", "no authentication, but only this machine can call")
    fix = "AUTH=api_key in its environment" if door == DOORS[""] else "make deploy PARAMETERS=Auth=api_key"
    return wrong("auth", "anyone can call, and the model costs money", fix)


def _is_chats_own(response: httpx.Response) -> bool:
    """Whether the chat has refused, and not what stands before it."""
    return "x-error-code" in response.headers


def _preflight_headers(caller: Caller, client: httpx.Client) -> httpx.Headers:
    request_headers = {"origin": caller.origin, "access-control-request-method": "POST"}
    request_headers["access-control-request-headers"] = "content-type,x-api-key"
    return client.options(f"{caller.url}/chat", headers=request_headers).headers


def _check_chat(caller: Caller, client: httpx.Client, door: str) -> Iterator[Finding]:
    """Ask one short question, which costs some tokens."""
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    with client.stream("POST", caller.chat_url, json=body, headers=caller.key_headers) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
            yield _check_error_response(caller, response)
            return
        streamed = _read_stream(response)
    yield _check_model(streamed.frames)
    if streamed.arrivals:
        yield check_streaming(streamed, door)


def _read_stream(response: httpx.Response) -> StreamedResponse:
    arrivals, started, body = [], time.monotonic(), b""
    for piece in response.iter_raw():
        arrivals.append(time.monotonic() - started)
        body += piece
    lines = [line.removeprefix("data: ") for line in body.decode(errors="replace").splitlines()]
    frames = [frame for line in lines if (frame := _parse_object(line))]
    return StreamedResponse(arrivals, frames, "content-length" in response.headers)


def _check_error_response(caller: Caller, response: httpx.Response) -> Finding:
    code = response.headers.get("x-error-code", "")
    if response.status_code not in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return wrong("model", _error_text(response), _FIXES.get(code, "fix what the message names"))
    if not caller.api_key:
        return unknown("model", "not asked, because there is no API key: set KEY, or give the stack's name")
    if caller.is_agentcore:
        fix = "KEY has to be a token of the issuer in customJWTAuthorizer; a runtime that takes signatures is not asked"
    elif not code:
        fix = "what stands before the chat refuses it: see `auth`"
    else:
        fix = "fetch it again with the command in the stack's output FetchKey"
    return wrong("key", _error_text(response), fix)


def _check_model(frames: Sequence[Mapping[str, Any]]) -> Finding:
    last = frames[-1] if frames else {}
    if last.get("type") == "done":
        return ok("model", f"{frames[0].get('model') or 'the model'} answers")
    if last.get("type") == "error":
        code, request_id = str(last.get("code")), last.get("request_id")
        found = f"{code}: {last.get('message')}" + (f" (request {request_id})" if request_id else "")
        return wrong("model", found, _FIXES.get(code, "read the function's log for this request"))
    return wrong("model", "the stream ended without a terminal event", "read the function's log")


_FIXES: Final = {
    "auth_unavailable": "see whether the secret of the callers' keys, or the token issuer, can be read",
    "credentials_missing": "make deploy PARAMETERS='ModelApiKeySecretArn=…'",
    "deadline_reached": "make deploy PARAMETERS=Timeout=… with more, or a quicker model",
    "model_busy": "wait, or ask the provider for a higher quota",
    "model_refused": "check ModelId, the key in ModelApiKeySecretArn, and on Bedrock BedrockModels and model access",
    "model_silent": "look at the provider's status page, or raise MODEL_IDLE_TIMEOUT",
    "model_unreachable": "check ModelBaseUrl, and whether the function can reach it",
    "rate_limited": "the key has used what RequestsPerMinute, TokensPerDay or DollarsPerDay allow: wait, or raise it",
    "store_unavailable": "see docs/how-to/operate.md#store",
}


def _error(response: httpx.Response) -> dict[str, Any]:
    """The error object of a body; empty if there is none."""
    error = _parse_object(response.content).get("error", {})
    return error if isinstance(error, dict) else {"message": error}


def _parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object; empty for what is none, such as a frame that was cut off."""
    with contextlib.suppress(ValueError):
        if isinstance(value := json.loads(text), dict):
            return value
    return {}


def _error_text(response: httpx.Response) -> str:
    error = _error(response)
    if not error:
        return f"{response.status_code}: {response.text[:200]}"
    return " ".join(filter(None, (str(response.status_code), error.get("code")))) + f": {error.get('message')}"
