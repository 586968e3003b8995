"""Service: routing, authentication, error responses, and the log line and metrics of every request."""

import json
from typing import Any, cast

import pytest

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS, Caller
from winterbourne.chat.errors import ChatError, RequestRejected, StorageUnavailable
from winterbourne.chat.http.request import Request
from winterbourne.chat.http.service import Endpoint, Handler, RequestContext, Service, reply, reply_json
from winterbourne.chat.infra import http_pool, redaction, telemetry


def error_body(status: int, code: str, message: str) -> bytes:
    return json.dumps({"status": status, "code": code, "message": message}).encode()


def other_error_body(_status: int, code: str, message: str) -> bytes:
    return json.dumps({"other": code, "message": message}).encode()


class FakeAuthenticator:
    """Authenticates any request that has a name in `x-name`."""

    async def prepare(self) -> None:
        pass

    async def authenticate(self, request: Request) -> Caller:
        if request.headers.get("x-name") is None:
            raise RequestRejected(401, "unauthorized", "who are you?", {"www-authenticate": "Bearer"})
        return Caller("id-1", request.headers["x-name"])


async def serve(handler: Handler, *, is_public: bool = True, **fields: Any) -> RecordedResponse:
    routes = {("GET", "/thing/{id}"): Endpoint(handler=handler, is_public=is_public, error_body=other_error_body)}
    service = Service(routes, FakeAuthenticator(), error_body, telemetry.make_logger(), "winterbourne-dev")
    response = RecordedResponse()
    request = {"method": "GET", "path": "/thing/7"} | fields
    await service.handle(event(**request), cast("ResponseStream", response), FakeLambdaContext())
    return response


async def ok(context: RequestContext) -> None:
    await reply_json(context.stream, {"id": context.path_params["id"], "caller": context.caller.name})


def request_log_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")


class TestRouting:
    async def test_an_endpoint_gets_its_path_parameters(self) -> None:
        assert (await serve(ok)).json == {"id": "7", "caller": ANONYMOUS.name}

    async def test_an_unknown_path_is_rejected_in_the_native_format(self) -> None:
        response = await serve(ok, path="/nowhere")
        assert (response.status, response.json["code"]) == (404, "not_found")

    async def test_an_unsupported_method_gets_a_list_of_the_supported_ones(self) -> None:
        response = await serve(ok, method="PUT")
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


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


class TestErrors:
    async def test_a_rejection_has_the_format_of_its_path(self) -> None:
        async def handler(context: RequestContext) -> None:
            raise StorageUnavailable

        response = await serve(handler)
        assert (response.status, response.json["other"]) == (503, "store_unavailable")

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

        with pytest.raises(ChatError, match=r"^an internal error occurred; the log has the details$"):
            await serve(handler)

    async def test_no_rejection_contains_a_secret(self) -> None:
        redaction.register("sk-harbour")

        async def handler(context: RequestContext) -> None:
            raise RequestRejected(400, "odd", "you wrote sk-harbour")

        assert (await serve(handler)).json == {"other": "odd", "message": "you wrote [redacted]"}


class TestEveryRequest:
    async def test_has_one_log_line_with_method_path_and_status(self, caplog: pytest.LogCaptureFixture) -> None:
        await serve(ok, path="/nowhere")
        line = request_log_line(caplog)
        assert (line["method"], line["path"], line["status"]) == ("GET", "/nowhere", 404)

    async def test_emits_metrics_under_its_service_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"service":"winterbourne-dev"' in capsys.readouterr().out.replace(" ", "")

    async def test_measures_the_connection_pool(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"PoolConnectionsOpen":[0.0]' in capsys.readouterr().out.replace(" ", "")

    async def test_propagates_its_trace(self) -> None:
        outgoing: dict[str, str] = {}

        async def handler(context: RequestContext) -> None:
            outgoing.update(http_pool.outgoing_headers.get())
            await ok(context)

        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await serve(handler, headers={"traceparent": trace})
        assert outgoing["traceparent"] == trace
