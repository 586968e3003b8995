"""Doctor checks over HTTP: a chat with one fault at a time, and the finding that names it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar

import httpx
import pytest

from winterbourne import __version__
from winterbourne.chat import app, errors
from winterbourne.chat.settings import Settings
from winterbourne.local.doctor import __main__ as command
from winterbourne.local.doctor import on_aws, over_http
from winterbourne.local.doctor.findings import WHY, Finding, format_finding
from winterbourne.local.doctor.over_http import Caller, StreamedResponse
from winterbourne.override import override

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DONE = [{"type": "start", "model": "scripted"}, {"type": "content", "delta": "one"}, {"type": "done"}]

Handler = Callable[[httpx.Request], httpx.Response]


class Pieces(httpx.SyncByteStream):
    def __init__(self, frames: list[dict[str, str]]) -> None:
        self.frames = frames

    @override
    def __iter__(self) -> Iterator[bytes]:
        for frame in self.frames:
            yield f"data: {json.dumps(frame)}\n\n".encode()


def chat(request: httpx.Request, *, key: str = "sesame", frames: list[dict[str, str]] | None = None) -> httpx.Response:
    """The responses of a healthy deployment."""
    headers = {"date": format_datetime(NOW, usegmt=True)}
    if request.url.path != "/chat":
        return httpx.Response(200, headers=headers, json={"status": "ok"})
    if request.headers.get("x-api-key") != key:
        error = {"code": "unauthorized", "message": "this key is not known"}
        return httpx.Response(401, headers={**headers, "x-error-code": "unauthorized"}, json={"error": error})
    return httpx.Response(200, headers=headers, stream=Pieces(frames or DONE))


def _is_question(request: httpx.Request) -> bool:
    return request.url.path == "/chat" and "x-api-key" in request.headers


def run_checks_by_subject(handler: Handler, caller: Caller | None = None) -> dict[str, Finding]:
    caller = caller or Caller("https://x.lambda-url.eu-central-1.on.aws", "sesame")
    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        return {f.subject: f for f in over_http.run_checks(caller, client, lambda: NOW)}


def requests_of_command(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    requests, client = [], httpx.Client

    def note(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return chat(request)

    monkeypatch.setattr(httpx, "Client", lambda **given: client(transport=httpx.MockTransport(note), **given))
    command.main(["--url", "https://x.lambda-url.eu-central-1.on.aws"])
    return requests


class TestAHealthyDeployment:
    def test_sees_in_its_log_who_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert {r.headers["user-agent"] for r in requests_of_command(monkeypatch)} == {f"winterbourne/{__version__}"}

    def test_gets_the_digest_of_each_body_which_cloudfront_does_not_sign(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = [(r.content, r.headers.get("x-amz-content-sha256")) for r in requests_of_command(monkeypatch)]
        assert any(body for body, _ in said)
        assert all(digest == (hashlib.sha256(body).hexdigest() if body else None) for body, digest in said)

    def test_has_nothing_wrong(self) -> None:
        found = run_checks_by_subject(chat)
        assert [f for f in found.values() if f.state == "wrong"] == []
        assert found["model"].message == "scripted answers"
        assert found["auth"].state == "ok"


class TestReachable:
    def test_a_stream_that_breaks_is_a_finding(self) -> None:
        class Broken(Pieces):
            @override
            def __iter__(self) -> Iterator[bytes]:
                yield from super().__iter__()
                raise httpx.RemoteProtocolError("peer closed connection")

        def dies(request: httpx.Request) -> httpx.Response:
            healthy = chat(request)
            return (
                httpx.Response(200, headers=healthy.headers, stream=Broken(DONE[:2]))
                if _is_question(request)
                else healthy
            )

        found = run_checks_by_subject(dies)["connection"]
        assert found.state == "wrong"
        assert "peer closed connection" in found.message

    def test_nothing_answers(self) -> None:
        def nobody(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

        (finding,) = run_checks_by_subject(nobody, Caller("http://127.0.0.1:3000")).values()
        assert (finding.state, finding.fix) == ("wrong", "make run, in another terminal")

    @pytest.mark.parametrize(
        ("status", "fix"),
        [(403, "permissions"), (429, "ReservedConcurrency"), (502, "log"), (504, "log"), (404, "right URL")],
    )
    def test_something_else_answers(self, status: int, fix: str) -> None:
        (finding,) = run_checks_by_subject(lambda _: httpx.Response(status)).values()
        assert finding.state == "wrong"
        assert fix in finding.fix

    @pytest.mark.parametrize("body", ["", "<html>\n{ x }", "[]", '{"status": "up"}', "é"])
    def test_a_site_that_answers_everything_is_not_taken_for_the_chat(self, body: str) -> None:
        (finding,) = run_checks_by_subject(lambda _: httpx.Response(200, content=body.encode("latin-1"))).values()
        assert (finding.subject, finding.state, finding.fix) == (
            "reachable",
            "wrong",
            "check that this is the right URL",
        )

    @pytest.mark.parametrize("url", ["chat.example.com", "https://", "http://[", "ftp://x", "https://a:b"])
    def test_what_is_no_url_is_refused_with_a_sentence(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            command.main(["--url", url])
        assert "expected a URL such as http" in capsys.readouterr().err


class TestDoors:
    """What a URL leads to is told from its responses, and so is how it is mended there."""

    HEADERS: ClassVar = {
        "a REST API": {"x-amz-apigw-id": "a", "x-amzn-requestid": "r"},
        "CloudFront": {"x-amz-cf-id": "a", "x-amzn-requestid": "r"},
        "a function URL": {"x-amzn-requestid": "r"},
        "a server of your own": {},
    }

    def behind(self, door: str, handler: Handler = chat) -> Handler:
        def answer(request: httpx.Request) -> httpx.Response:
            response = handler(request)
            response.headers.update(self.HEADERS[door])
            return response

        return answer

    @pytest.mark.parametrize("door", HEADERS)
    def test_are_told_apart(self, door: str) -> None:
        assert run_checks_by_subject(self.behind(door))["reachable"].message.endswith(f", {door}")

    @pytest.mark.parametrize(
        ("door", "cors", "streaming"),
        [
            ("a REST API", "AllowedOrigins=", "responseTransferMode"),
            ("CloudFront", "AllowedOrigins=", "compression"),
            ("a function URL", "AllowedOrigins=", "InvokeMode"),
            ("a server of your own", "CORS_ORIGINS=", "proxy_buffering"),
        ],
    )
    def test_are_mended_each_in_its_own_way(self, door: str, cors: str, streaming: str) -> None:
        def buffered(request: httpx.Request) -> httpx.Response:
            healthy = chat(request)
            if _is_question(request):
                healthy.headers["content-length"] = "99"
            return healthy

        caller = Caller("https://chat.example", "sesame", "https://a.example")
        found = run_checks_by_subject(self.behind(door, buffered), caller)
        assert (found["cors"].state, found["streaming"].state) == ("wrong", "wrong")
        assert cors in found["cors"].fix
        assert streaming in found["streaming"].fix

    def test_one_that_refuses_bodies_is_not_taken_for_the_chat(self) -> None:
        """As CloudFront's signature does without a digest: the chat is never asked, so nothing is known of its keys."""

        def refuse(request: httpx.Request) -> httpx.Response:
            return httpx.Response(403, json={"Message": "Forbidden"}) if request.content else chat(request)

        found = run_checks_by_subject(self.behind("CloudFront", refuse))
        assert found["auth"].message == "CloudFront refuses requests with a body, before the chat is asked (403)"
        assert found["key"].fix == "what stands before the chat refuses it: see `auth`"

    URL: ClassVar = "https://bedrock-agentcore.eu-west-1.amazonaws.com/runtimes/arn%3Aaws/invocations?qualifier=DEFAULT"

    def runtime(self, request: httpx.Request) -> httpx.Response:
        """AgentCore, whose authorizer knows one token."""
        headers = {"date": format_datetime(NOW, usegmt=True)}
        if str(request.url) != self.URL:
            return httpx.Response(404)
        if request.headers.get("authorization") != "Bearer sesame":
            return httpx.Response(403, headers=headers, json={"message": "Authorization method mismatch"})
        return httpx.Response(200, headers=headers, stream=Pieces(DONE))

    def test_agentcore_is_asked_by_its_one_path(self) -> None:
        found = run_checks_by_subject(self.runtime, Caller(self.URL, "sesame"))
        assert [f for f in found.values() if f.state == "wrong"] == []
        assert set(found) == {"reachable", "clock", "auth", "model", "streaming"}

    def test_agentcores_token_is_the_one_of_its_issuer(self) -> None:
        assert "customJWTAuthorizer" in run_checks_by_subject(self.runtime, Caller(self.URL, "old"))["key"].fix
        assert run_checks_by_subject(self.runtime, Caller(self.URL))["model"].state == "unknown"


class TestReady:
    def test_a_missing_setting_is_named(self) -> None:
        def unready(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/readyz":
                return httpx.Response(503, json={"error": {"code": "settings_error", "message": "no key"}})
            return chat(request)

        assert run_checks_by_subject(unready)["ready"].message == "503 settings_error: no key"

    @pytest.mark.parametrize(
        ("parts", "fixes"), [("store", ["STORE"]), ("auth, model", ["key", "ModelBaseUrl"]), ("tools", ["hangs"])]
    )
    def test_each_part_that_is_not_ready_is_told_how_to_mend(self, parts: str, fixes: list[str]) -> None:
        def unready(request: httpx.Request) -> httpx.Response:
            error = {"code": "not_ready", "message": f"not ready: {parts}"}
            return httpx.Response(503, json={"error": error}) if request.url.path == "/readyz" else chat(request)

        finding = run_checks_by_subject(unready)["ready"]
        assert finding.state == "wrong"
        assert len(finding.fix.split("; ")) == len(fixes)
        assert all(fix in told for fix, told in zip(fixes, finding.fix.split("; "), strict=True))

    def test_every_part_that_readyz_names_has_its_fix(self) -> None:
        service = Settings.of(auth="none")
        parts = app._make_parts(service, [], app.OwnParts())
        assert app._readiness_checks(parts).keys() <= over_http._READY_FIXES.keys()


class TestClosed:
    def test_a_public_chat_without_authentication_is_wrong(self) -> None:
        def open_to_all(request: httpx.Request) -> httpx.Response:
            return httpx.Response(400) if request.content == b"{}" else chat(request)

        assert run_checks_by_subject(open_to_all)["auth"].fix == "AUTH=api_key in its environment"
        on_aws = run_checks_by_subject(TestDoors().behind("a function URL", open_to_all))
        assert on_aws["auth"].fix == "make deploy PARAMETERS=Auth=api_key"
        assert run_checks_by_subject(open_to_all, Caller("http://127.0.0.1:3000", "sesame"))["auth"].state == "ok"


class TestClock:
    def test_a_skewed_clock_is_wrong(self) -> None:
        headers = {"date": format_datetime(NOW - timedelta(minutes=6), usegmt=True)}
        assert "360 s apart" in over_http.check_clock_skew(headers, NOW).message
        assert over_http.check_clock_skew(headers, NOW).state == "wrong"

    def test_without_a_date_header_it_is_unknown(self) -> None:
        assert over_http.check_clock_skew({}, NOW).state == "unknown"


class TestCors:
    def test_two_allow_origin_headers_are_wrong(self) -> None:
        headers = httpx.Headers([("access-control-allow-origin", "*"), ("access-control-allow-origin", "*")])
        assert over_http.check_cors(headers, "").state == "wrong"

    @pytest.mark.parametrize(("allowed", "state"), [("https://a.example", "ok"), ("*", "ok"), ("", "wrong")])
    def test_an_origin_is_allowed_or_the_fix_says_how_to_allow_it(self, allowed: str, state: str) -> None:
        def configured(request: httpx.Request) -> httpx.Response:
            if request.method == "OPTIONS":
                return httpx.Response(200, headers={"access-control-allow-origin": allowed} if allowed else {})
            return chat(request)

        found = run_checks_by_subject(configured, Caller("https://x.on.aws", "sesame", "https://a.example"))["cors"]
        assert found.state == state
        assert ("CORS_ORIGINS=https://a.example" in found.fix) == (state == "wrong")


class TestModel:
    @pytest.mark.parametrize(
        ("code", "fix"), [("model_refused", "ModelId"), ("model_busy", "quota"), ("internal_error", "log")]
    )
    def test_an_error_event_is_repeated_with_its_fix(self, code: str, fix: str) -> None:
        frames = [{"type": "start", "model": "m"}, {"type": "error", "code": code, "message": "no"}]
        found = run_checks_by_subject(lambda request: chat(request, frames=frames))["model"]
        assert found.message == f"{code}: no"
        assert fix in found.fix

    def test_a_refusal_is_repeated_with_its_fix(self) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            error = {"code": "rate_limited", "message": "no"}
            headers = {"x-error-code": "rate_limited"}
            return (
                httpx.Response(429, headers=headers, json={"error": error}) if _is_question(request) else chat(request)
            )

        found = run_checks_by_subject(refuse)["model"]
        assert found.message == "429 rate_limited: no"
        assert "TokensPerDay" in found.fix

    def test_every_code_that_has_a_fix_is_one_of_the_errors(self) -> None:
        codes = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
        assert over_http._FIXES.keys() - {"auth_unavailable"} <= codes

    def test_a_stream_without_a_terminal_event_is_wrong(self) -> None:
        assert run_checks_by_subject(lambda request: chat(request, frames=DONE[:2]))["model"].state == "wrong"

    @pytest.mark.parametrize("body", [b"", b'data: {"type":"content"}\n\ndata: {"type":"done","usa'])
    def test_an_answer_that_is_cut_off_is_wrong(self, body: bytes) -> None:
        def cut(request: httpx.Request) -> httpx.Response:
            response = chat(request)
            return httpx.Response(200, stream=httpx.ByteStream(body)) if _is_question(request) else response

        assert "without a terminal event" in run_checks_by_subject(cut)["model"].message

    def test_without_a_key_it_is_not_called(self) -> None:
        assert run_checks_by_subject(chat, Caller("https://x.on.aws"))["model"].state == "unknown"

    def test_a_rejected_key_is_wrong(self) -> None:
        assert "FetchKey" in run_checks_by_subject(chat, Caller("https://x.on.aws", "old"))["key"].fix


class TestStreaming:
    @pytest.mark.parametrize(
        ("response", "state"),
        [
            (StreamedResponse([0.4, 0.5, 2.1]), "ok"),
            (StreamedResponse([2.1, 2.1, 2.101]), "wrong"),
            (StreamedResponse([2.1]), "wrong"),
            (StreamedResponse([0.01, 0.011]), "unknown"),
            (StreamedResponse([0.4, 2.1], has_content_length=True), "wrong"),
        ],
    )
    def test_is_judged_by_when_the_chunks_arrived(self, response: StreamedResponse, state: str) -> None:
        assert over_http.check_streaming(response).state == state


def _breaking(request: httpx.Request) -> httpx.Response:
    if _is_question(request):
        raise httpx.RemoteProtocolError("peer closed connection", request=request)
    return chat(request)


def _answering(path: str, **response: Any) -> Handler:
    """A chat that answers one path so."""
    given: dict[str, Any] = {"status_code": 200, "json": {"status": "ok"}} | response
    return lambda request: httpx.Response(**given) if request.url.path == path else chat(request)


def _buffering(request: httpx.Request) -> httpx.Response:
    response = chat(request)
    response.headers["content-length"] = "99"
    return response


TWICE = [("access-control-allow-origin", "*"), ("access-control-allow-origin", "*")]
FAILING: dict[str, tuple[Handler, str]] = {
    "reachable": (lambda _: httpx.Response(502), "sesame"),
    "clock": (_answering("/healthz", headers={"date": "Sun, 22 Nov 2026 11:00:00 GMT"}), "sesame"),
    "cors": (_answering("/healthz", headers=TWICE), "sesame"),
    "ready": (_answering("/readyz", status_code=503, json={"error": {"message": "not ready: store"}}), "sesame"),
    "auth": (_answering("/chat", status_code=400), "sesame"),
    "key": (chat, "an old one"),
    "model": (lambda request: chat(request, frames=DONE[:2]), "sesame"),
    "streaming": (_buffering, "sesame"),
    "connection": (_breaking, "sesame"),
}
"""A chat that fails each check, and the key it is asked with."""


class TestEveryCheck:
    @pytest.mark.parametrize("subject", FAILING)
    def test_fails_when_it_should_and_says_what_why_and_how_to_mend_it(self, subject: str) -> None:
        handler, key = FAILING[subject]
        finding = run_checks_by_subject(handler, Caller("https://x.lambda-url.eu-central-1.on.aws", key))[subject]
        assert finding.state == "wrong"
        what, why, how = format_finding(finding).splitlines()
        assert finding.message in what
        assert why.strip() == f"({WHY[subject]})"
        assert how.strip() == f"→ {finding.fix}"

    def test_is_explained_and_there_is_no_other(self) -> None:
        of_the_stack = {"stack", "settings", "callers", *on_aws.CHECKS}  # shown failing in test_on_aws
        assert WHY.keys() == of_the_stack | FAILING.keys()
