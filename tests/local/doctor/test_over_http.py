"""Doctor checks over HTTP: a chat with one fault at a time, and the finding that names it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from winterbourne import __version__
from winterbourne.local.doctor import __main__ as command
from winterbourne.local.doctor import over_http
from winterbourne.local.doctor.findings import Finding
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
        return httpx.Response(401, headers=headers, json={"error": error})
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
        ("status", "fix"), [(403, "permissions"), (429, "ReservedConcurrency"), (502, "log"), (404, "right URL")]
    )
    def test_something_else_answers(self, status: int, fix: str) -> None:
        (finding,) = run_checks_by_subject(lambda _: httpx.Response(status)).values()
        assert finding.state == "wrong"
        assert fix in finding.fix


class TestReady:
    def test_a_missing_setting_is_named(self) -> None:
        def unready(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/readyz":
                return httpx.Response(503, json={"error": {"code": "settings_error", "message": "no key"}})
            return chat(request)

        assert run_checks_by_subject(unready)["ready"].message == "503 settings_error: no key"


class TestClosed:
    def test_a_public_chat_without_authentication_is_wrong(self) -> None:
        def open_to_all(request: httpx.Request) -> httpx.Response:
            return httpx.Response(400) if request.content == b"{}" else chat(request)

        assert run_checks_by_subject(open_to_all)["auth"].fix == "make deploy PARAMETERS=Auth=api_key"
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
        assert ("AllowedOrigins=https://a.example" in found.fix) == (state == "wrong")


class TestModel:
    @pytest.mark.parametrize(
        ("code", "fix"), [("model_refused", "ModelId"), ("model_busy", "quota"), ("internal_error", "log")]
    )
    def test_an_error_event_is_repeated_with_its_fix(self, code: str, fix: str) -> None:
        frames = [{"type": "start", "model": "m"}, {"type": "error", "code": code, "message": "no"}]
        found = run_checks_by_subject(lambda request: chat(request, frames=frames))["model"]
        assert found.message == f"{code}: no"
        assert fix in found.fix

    def test_a_stream_without_a_terminal_event_is_wrong(self) -> None:
        assert run_checks_by_subject(lambda request: chat(request, frames=DONE[:2]))["model"].state == "wrong"

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
