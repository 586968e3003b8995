"""Service: routing, authentication, error responses, and the log line and metrics of every request."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import httpx
import pytest

from tests import emf
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.clock import jumping
from winterbourne.chat.auth.base import ANONYMOUS, Caller, Credentials, auth_unavailable
from winterbourne.chat.errors import (
    ChatError,
    ConversationBusy,
    ConversationNotFound,
    DeadlineReached,
    RateLimitExceeded,
    RequestRejected,
    StorageError,
    StorageUnavailable,
)
from winterbourne.chat.http.router import Router
from winterbourne.chat.http.service import (
    JSON_HEADERS,
    MAX_CLAIM_CHARS,
    Endpoint,
    Handler,
    RequestContext,
    Service,
    reply,
    reply_json,
)
from winterbourne.chat.infra import http_pool, redaction, telemetry
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.invocation import TRACE_ID
from winterbourne.override import override


def make_limiter(requests_per_minute: int) -> RateLimiter:
    store = Store(MemoryBackend, threads=0, is_shared=True, now=lambda: 60.0)
    return RateLimiter(store, LimitSettings(limit_requests_per_minute=requests_per_minute))


UNLIMITED = make_limiter(0)


def encode_error(status: int, code: str, message: str, _request_id: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"status": status, "code": code, "message": message}).encode()


def encode_other_error(_status: int, code: str, message: str, _request_id: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"other": code, "message": message}).encode()


class FakeAuthenticator:
    """Authenticates any request that has a name in `x-name`."""

    async def prepare(self) -> None:
        pass

    async def authenticate(self, request: Credentials) -> Caller:
        if request.headers.get("x-name") is None:
            raise RequestRejected(401, "unauthorized", "who are you?", {"www-authenticate": "Bearer"})
        return Caller("id-1", request.headers["x-name"])


async def serve(
    handler: Handler,
    *,
    is_public: bool = True,
    prepare: Callable[[], Awaitable[None]] | None = None,
    after_request: Callable[[], None] = lambda: None,
    limiter: RateLimiter = UNLIMITED,
    is_chat: bool = False,
    remaining_ms: int = 60_000,
    cors_origins: str = "",
    through_rest: bool = False,
    logs_clients: bool = True,
    **fields: Any,
) -> RecordedResponse:
    endpoint = Endpoint(
        handler=handler, prepare=prepare, is_public=is_public, encode_error=encode_other_error, is_chat=is_chat
    )
    service = Service(
        Router({("GET", "/thing/{id}"): endpoint}),
        FakeAuthenticator(),
        limiter,
        encode_error,
        telemetry.make_logger(),
        "winterbourne-dev",
        after_request,
        frozenset(cors_origins.split()),
        logs_clients,
    )
    response = RecordedResponse()
    request = {"method": "GET", "path": "/thing/7"} | fields
    given = _rest_event(event(**request)) if through_rest else event(**request)
    await handle(service, given, response, FakeLambdaContext(remaining_ms=remaining_ms))
    return response


def _rest_event(event: Any) -> Any:
    """The same request through a REST API."""
    path, method = event["rawPath"], event["requestContext"]["http"]["method"]
    named = {"path": path, "resource": path, "httpMethod": method, "headers": event["headers"]}
    return {**named, "requestContext": {"path": f"/v1{path}"}, "body": event["body"]}


async def ok(context: RequestContext) -> None:
    await reply_json(context.stream, {"id": context.path_params["id"], "caller": context.caller.name})


async def outgoing_headers(**headers: str) -> dict[str, str]:
    """What an outgoing HTTP request carries that an endpoint sends while it answers a request with these headers."""
    received: dict[str, str] = {}

    async def respond(request: httpx.Request) -> httpx.Response:
        received.update(request.headers)
        return httpx.Response(200)

    async def handler(context: RequestContext) -> None:
        transport = http_pool.PoolTransport(lambda: cast("httpx.AsyncHTTPTransport", httpx.MockTransport(respond)))
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get("http://upstream/")
        await ok(context)

    await serve(handler, headers=headers)
    return {name: value for name, value in received.items() if name in {"traceparent", "x-amzn-trace-id"}}


def request_log_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")


class TestRequestLimit:
    async def test_every_request_of_an_authenticated_route_counts(self) -> None:
        limiter, headers = make_limiter(1), {"x-name": "Ada"}
        responses = [await serve(ok, limiter=limiter, is_public=False, headers=headers) for _ in range(6)]
        assert [response.status for response in responses] == [200] * 5 + [429]
        assert responses[-1].headers["retry-after"] == "60"

    async def test_chats_count_themselves(self) -> None:
        """So a conversation can still be stopped when no other may be begun."""
        limiter, headers = make_limiter(1), {"x-name": "Ada"}
        serve_one = partial(serve, ok, limiter=limiter, is_public=False, headers=headers)
        assert [(await serve_one(is_chat=True)).status for _ in range(6)] == [200] * 6
        assert (await serve_one()).status == 200

    async def test_public_routes_and_unknown_callers_are_not_counted(self) -> None:
        limiter = make_limiter(1)
        assert [(await serve(ok, limiter=limiter)).status for _ in range(3)] == [200] * 3
        assert [(await serve(ok, limiter=limiter, is_public=False)).status for _ in range(3)] == [401] * 3


class TestRouting:
    async def test_an_endpoint_gets_its_path_parameters(self) -> None:
        assert (await serve(ok)).json == {"id": "7", "caller": ANONYMOUS.name}

    async def test_an_unknown_path_is_rejected_in_the_native_format(self) -> None:
        response = await serve(ok, path="/nowhere")
        assert (response.status, response.json["code"]) == (404, "not_found")

    async def test_an_unsupported_method_gets_a_list_of_the_supported_ones(self) -> None:
        response = await serve(ok, method="PUT")
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


class TestRequestId:
    @pytest.mark.parametrize("path", ["/thing/7", "/nowhere"])
    async def test_is_in_every_response_through_a_door_that_adds_none(self, path: str) -> None:
        assert (await serve(ok, path=path, through_rest=True)).headers["x-request-id"] == "r-1"

    async def test_is_in_refusals_alone_where_lambda_adds_its_own(self) -> None:
        assert "x-request-id" not in (await serve(ok)).headers
        assert (await serve(ok, path="/nowhere")).headers["x-request-id"] == "r-1"


PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "POST"}


class TestCors:
    """Of doors that leave it to the chat: a function URL answers preflights itself, and adds its own headers."""

    @pytest.mark.parametrize("origins", ["https://a.example https://b.example", "*"])
    async def test_a_page_that_may_call_is_told_so(self, origins: str) -> None:
        headers = (await serve(ok, through_rest=True, cors_origins=origins, headers=PREFLIGHT)).headers
        assert headers["access-control-allow-origin"] == ("*" if origins == "*" else "https://a.example")
        assert headers.get("vary") == (None if origins == "*" else "Origin")
        assert "x-request-id" in headers["access-control-expose-headers"]
        refused = (await serve(ok, through_rest=True, cors_origins=origins, path="/nowhere", headers=PREFLIGHT)).headers
        assert refused["access-control-allow-origin"] == headers["access-control-allow-origin"]

    async def test_a_preflight_is_answered_without_credentials(self) -> None:
        rest: Any = {"through_rest": True, "cors_origins": "https://a.example", "is_public": False}
        response = await serve(ok, method="OPTIONS", headers=PREFLIGHT, **rest)
        assert (response.status, response.body) == (204, b"")
        assert response.headers["access-control-allow-methods"] == "GET,POST,PATCH,DELETE"
        assert "authorization" in response.headers["access-control-allow-headers"]

    @pytest.mark.parametrize(
        ("settings", "origin"),
        [
            ({"cors_origins": "https://a.example"}, "https://c.example"),
            ({"cors_origins": "https://a.example"}, ""),
            ({"cors_origins": ""}, "https://a.example"),
            ({"cors_origins": "*", "through_rest": False}, "https://a.example"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    async def test_nobody_else_is_told_anything(self, settings: dict[str, Any], origin: str, method: str) -> None:
        headers = {**PREFLIGHT, "origin": origin} if origin else {}
        response = await serve(ok, method=method, headers=headers, **{"through_rest": True, **settings})
        assert not [name for name in response.headers if name.startswith("access-control")]

    async def test_other_options_are_refused(self) -> None:
        rest: Any = {"through_rest": True, "cors_origins": "*"}
        assert (await serve(ok, method="OPTIONS", headers={"origin": "https://a.example"}, **rest)).status == 405


class TestCallers:
    async def test_a_public_endpoint_needs_no_credentials(self) -> None:
        assert (await serve(ok)).status == 200

    async def test_a_protected_endpoint_rejects_before_its_handler_runs(self) -> None:
        handled = []

        async def handler(context: RequestContext) -> None:
            handled.append(context)

        response = await serve(handler, is_public=False)
        assert (response.status, response.json["other"]) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert not handled

    async def test_a_protected_endpoint_gets_the_caller(self, caplog: pytest.LogCaptureFixture) -> None:
        response = await serve(ok, is_public=False, headers={"x-name": "ada"})
        assert response.json["caller"] == "ada"
        assert request_log_line(caplog)["caller"] == "ada"


class TestPreparing:
    async def test_an_endpoint_is_prepared_before_each_request_once_the_caller_is_known(self) -> None:
        steps: list[str] = []

        async def prepare() -> None:
            steps.append("prepared")

        async def handler(context: RequestContext) -> None:
            steps.append(context.caller.name)
            await ok(context)

        await serve(handler, is_public=False, prepare=prepare, headers={"x-name": "ada"})
        assert steps == ["prepared", "ada"]
        await serve(handler, is_public=False, prepare=prepare)
        assert steps == ["prepared", "ada"]


class TestErrors:
    async def test_a_rejection_has_the_format_of_its_path(self) -> None:
        async def handler(context: RequestContext) -> None:
            raise RequestRejected(418, "teapot", "no coffee", {"retry-after": "9"})

        response = await serve(handler)
        assert (response.status, response.json["other"]) == (418, "teapot")
        assert response.headers["retry-after"] == "9"

    async def test_a_bug_before_the_stream_is_a_500_without_details(self, caplog: pytest.LogCaptureFixture) -> None:
        async def handler(context: RequestContext) -> None:
            raise ZeroDivisionError("secret detail")

        response = await serve(handler)
        assert (response.status, response.json["other"]) == (500, "internal_error")
        assert b"secret" not in response.body
        assert "secret detail" in caplog.text

    async def test_a_bug_during_the_stream_is_raised_to_the_runtime_without_details(self) -> None:
        async def handler(context: RequestContext) -> None:
            await reply(context.stream, 200, b"half", {})
            raise ZeroDivisionError("secret detail")

        with pytest.raises(ChatError, match=r"^Something went wrong on our side\.$"):
            await serve(handler)

    async def test_no_rejection_contains_a_secret(self) -> None:
        redaction.register("sk-harbour")

        async def handler(context: RequestContext) -> None:
            raise RequestRejected(400, "odd", "you wrote sk-harbour")

        assert (await serve(handler)).json == {"other": "odd", "message": "you wrote [redacted]"}


class TestAStall:
    async def test_is_an_error_of_its_endpoint_if_that_has_not_begun(self) -> None:
        async def handler(context: RequestContext) -> None:
            response = cast("RecordedResponse", context.stream)
            assert response.last_words
            assert response.last_words(False) == b""  # noqa: FBT003 - as the watchdog asks
            await response.write(response.last_words(True))  # noqa: FBT003

        response = await serve(handler)
        assert (response.status, response.headers["x-error-code"]) == (504, "deadline_reached")
        assert response.json == {"other": "deadline_reached", "message": DeadlineReached.public_message}


class TestStorageErrors:
    @pytest.mark.parametrize(
        ("error", "status", "code", "headers"),
        [
            (ConversationNotFound(), 404, "conversation_not_found", {}),
            (ConversationBusy(), 409, "conversation_busy", {"retry-after": "1"}),
            (RateLimitExceeded("2 requests per minute", 30), 429, "rate_limited", {"retry-after": "30"}),
            (StorageUnavailable(), 503, "store_unavailable", {"retry-after": "5"}),
        ],
    )
    async def test_become_the_response_that_fits(
        self, error: StorageError, status: int, code: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handler(context: RequestContext) -> None:
            raise error

        response = await serve(handler)
        assert (response.status, response.json) == (status, {"other": code, "message": str(error)})
        assert response.headers == JSON_HEADERS | {"x-error-code": code, "x-request-id": "r-1"} | headers
        assert (request_log_line(caplog)["status"], request_log_line(caplog)["error_type"]) == (status, code)

    def test_each_has_a_status_of_its_own(self) -> None:
        assert len({error.status for error in StorageError.__subclasses__()}) == len(StorageError.__subclasses__())


class TestAfterTheResponse:
    @jumping
    async def test_a_lease_can_be_released_even_if_the_runtime_has_cancelled_the_request(self) -> None:
        done: list[str] = []

        async def release(until: float) -> None:
            async with asyncio.timeout_at(until):
                await asyncio.sleep(0.05)
                done.append("released")

        async def cancelled(context: RequestContext) -> None:
            context.after_response.append(release)
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await serve(cancelled, remaining_ms=250)
        assert done == ["released"]


class TestEveryRequest:
    async def test_is_followed_by_a_look_at_the_environment_even_if_it_fails(self) -> None:
        async def broken(context: RequestContext) -> None:
            raise ZeroDivisionError

        looks: list[int] = []
        for handler in (ok, broken):
            await serve(handler, after_request=lambda: looks.append(1))
        assert looks == [1, 1]

    async def test_has_one_log_line_with_method_path_and_status(self, caplog: pytest.LogCaptureFixture) -> None:
        await serve(ok, path="/nowhere")
        line = request_log_line(caplog)
        assert (line["method"], line["path"], line["status"]) == ("GET", "/nowhere", 404)

    @pytest.mark.parametrize("is_public", [True, False])
    async def test_says_where_it_came_from_even_if_it_is_refused(
        self, caplog: pytest.LogCaptureFixture, *, is_public: bool
    ) -> None:
        headers = {"user-agent": "scraper/7 " + "x" * 900, "x-forwarded-for": "spoofed, " * 90 + "203.0.113.9"}
        response = await serve(ok, is_public=is_public, headers=headers)
        assert response.status == (200 if is_public else 401)
        line = request_log_line(caplog)
        assert (line["client_address"], line["user_agent"][:10]) == ("127.0.0.1", "scraper/7 ")
        assert line["forwarded_for"].endswith(", 203.0.113.9")
        assert {len(line["user_agent"]), len(line["forwarded_for"])} == {MAX_CLAIM_CHARS}

    async def test_says_what_proxies_say_only_if_that_is_more(self, caplog: pytest.LogCaptureFixture) -> None:
        await serve(ok, headers={"x-forwarded-for": "127.0.0.1"})
        assert not {"user_agent", "forwarded_for"} & request_log_line(caplog).keys()

    async def test_says_nothing_of_it_where_that_may_not_be_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        await serve(ok, headers={"user-agent": "a", "x-forwarded-for": "b"}, logs_clients=False)
        assert not {"client_address", "user_agent", "forwarded_for"} & request_log_line(caplog).keys()

    async def test_emits_metrics_under_its_service_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"service":"winterbourne-dev"' in capsys.readouterr().out.replace(" ", "")

    async def test_measures_the_connection_pool(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"PoolConnectionsOpen":[0.0]' in capsys.readouterr().out.replace(" ", "")

    async def test_propagates_its_trace(self) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert (await outgoing_headers(traceparent=trace))["traceparent"] == trace

    async def test_propagates_the_trace_of_its_own_invocation_among_several(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        monkeypatch.setenv("_X_AMZN_TRACE_ID", own.replace("Sampled=1", "Sampled=0"))
        TRACE_ID.set(own)
        assert (await outgoing_headers())["x-amzn-trace-id"] == own
        TRACE_ID.set("")
        assert await outgoing_headers() == {}

    async def test_propagates_the_trace_of_the_environment_before_the_callers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Lambda's own has the function's segment as the parent, so that the calls it makes hang below it."""
        own = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        monkeypatch.setenv("_X_AMZN_TRACE_ID", own)
        callers = own.replace("Parent=53995c3f42cd8ad8", "Parent=00f067aa0ba902b7")
        assert await outgoing_headers(**{"x-amzn-trace-id": callers}) == {
            "x-amzn-trace-id": own,
            "traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        }


class BrokenAuthenticator(FakeAuthenticator):
    """Cannot check anybody: its keys cannot be read, or it has a bug."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @override
    async def authenticate(self, request: Credentials) -> Caller:
        raise self.error


class TestCounts:
    """What the metrics say of a request: each error once, by whose mistake it was."""

    @pytest.mark.parametrize(
        ("error", "counted"),
        [
            (RequestRejected(400, "invalid_request", "no"), {"Rejections": 1}),
            (RateLimitExceeded("1 request per minute", 60), {"Rejections": 1}),
            (ConversationBusy(), {"Rejections": 1}),
            (StorageUnavailable(), {"Errors": 1, "Chats": 1, "FailedChats": 1}),
            (RequestRejected(503, "away", "no"), {"Errors": 1, "Chats": 1, "FailedChats": 1}),
            (ZeroDivisionError(), {"Errors": 1, "Chats": 1, "FailedChats": 1}),
        ],
    )
    async def test_a_chat_that_is_refused_as_failed_unless_its_caller_has_to_mend_it(
        self, error: Exception, counted: dict[str, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def refuse(_: RequestContext) -> None:
            raise error

        await serve(refuse, is_chat=True)
        assert told(capsys) == counted

    async def test_no_other_request_as_a_chat(self, capsys: pytest.CaptureFixture[str]) -> None:
        async def refuse(_: RequestContext) -> None:
            raise StorageUnavailable

        for handler in (ok, refuse):
            await serve(handler)
        await serve(ok, path="/nowhere")
        await serve(ok, is_chat=True, method="OPTIONS", headers={"origin": "https://a.example"})
        assert told(capsys) == {"Errors": 1, "Rejections": 2}

    @pytest.mark.parametrize("error", [auth_unavailable("no keys"), ZeroDivisionError()])
    async def test_callers_whom_nobody_can_check(
        self, error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(globals(), "FakeAuthenticator", partial(BrokenAuthenticator, error))
        await serve(ok, is_public=False, is_chat=True)
        assert told(capsys) == {"AuthErrors": 1, "Errors": 1, "Chats": 1, "FailedChats": 1}

    async def test_a_stranger_as_rejected(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok, is_public=False, is_chat=True)
        assert told(capsys) == {"Rejections": 1}

    @pytest.mark.parametrize(("has_left", "failed"), [(False, 1), (True, 0)])
    async def test_a_chat_that_is_cut_short_as_failed_unless_its_reader_has_left(
        self, *, has_left: bool, failed: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def cancelled(context: RequestContext) -> None:
            context.stream.reader_left = has_left
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await serve(cancelled, is_chat=True)
        assert told(capsys) == {"Chats": 1, "FailedChats": failed}


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    counts = "AuthErrors", "Chats", "Errors", "FailedChats", "Rejections"
    totals = emf.totals(emf.read(capsys.readouterr().out))
    return {name: totals[name, ""] for name in counts if (name, "") in totals}


async def test_a_format_that_cannot_encode_an_error_tells_nobody_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[str, bytes]:
        raise ValueError("made-up text of an exception")

    async def refuse(_: RequestContext) -> None:
        raise RequestRejected(400, "invalid_request", "a question is needed")

    monkeypatch.setitem(globals(), "encode_other_error", fail)
    response = await serve(refuse)
    assert (response.status, response.body) == (400, b"a question is needed (request r-1)")
    assert response.headers["x-error-code"] == "invalid_request"
