"""The service: route, authorise, answer, and every error an answer."""

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
    """Lets in whoever says so."""

    async def prepare(self) -> None:
        pass

    async def authenticate(self, request: Request) -> Caller:
        if request.headers.get("x-name") is None:
            raise RequestRejected(401, "unauthorized", "who are you?", {"www-authenticate": "Bearer"})
        return Caller("id-1", request.headers["x-name"])


async def serve(act: Handler, *, is_open: bool = True, **request: Any) -> RecordedResponse:
    routes = {("GET", "/thing/{id}"): Endpoint(handler=act, is_public=is_open, error_body=other_error_body)}
    service = Service(routes, FakeAuthenticator(), error_body, telemetry.make_logger(), "winterbourne-dev")
    answered = RecordedResponse()
    asked = {"method": "GET", "path": "/thing/7"} | request
    await service.handle(event(**asked), cast("ResponseStream", answered), FakeLambdaContext())
    return answered


async def ok(call: RequestContext) -> None:
    await reply_json(call.stream, {"id": call.path_params["id"], "caller": call.caller.name})


def request_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")


class TestRouting:
    async def test_an_endpoint_gets_what_stands_in_its_path(self) -> None:
        assert (await serve(ok)).json == {"id": "7", "caller": ANONYMOUS.name}

    async def test_an_unknown_path_is_refused_in_the_native_shape(self) -> None:
        answered = await serve(ok, path="/nowhere")
        assert (answered.status, answered.json["code"]) == (404, "not_found")

    async def test_a_wrong_method_names_the_right_ones(self) -> None:
        answered = await serve(ok, method="PUT")
        assert (answered.status, answered.headers["allow"]) == (405, "GET, HEAD")


class TestCallers:
    async def test_an_open_endpoint_asks_nobody(self) -> None:
        assert (await serve(ok)).status == 200

    async def test_a_closed_one_refuses_before_it_acts(self) -> None:
        acted = []

        async def act(call: RequestContext) -> None:
            acted.append(call)

        answered = await serve(act, is_open=False)
        assert (answered.status, answered.json["other"]) == (401, "unauthorized")
        assert answered.headers["www-authenticate"] == "Bearer"
        assert not acted

    async def test_a_closed_one_knows_who_calls(self, caplog: pytest.LogCaptureFixture) -> None:
        answered = await serve(ok, is_open=False, headers={"x-name": "ada"})
        assert answered.json["caller"] == "ada"
        assert request_line(caplog)["caller"] == "ada"


class TestErrors:
    async def test_a_rejection_has_the_shape_of_its_path(self) -> None:
        async def act(call: RequestContext) -> None:
            raise StorageUnavailable

        answered = await serve(act)
        assert (answered.status, answered.json["other"]) == (503, "store_unavailable")

    async def test_a_bug_before_the_stream_is_a_500_without_details(self, caplog: pytest.LogCaptureFixture) -> None:
        async def act(call: RequestContext) -> None:
            raise ZeroDivisionError("secret detail")

        answered = await serve(act)
        assert (answered.status, answered.json["other"]) == (500, "internal_error")
        assert b"secret" not in answered.body
        assert "secret detail" in caplog.text

    async def test_a_bug_after_the_stream_began_is_the_runtimes_to_end_and_tells_nothing(self) -> None:
        async def act(call: RequestContext) -> None:
            await reply(call.stream, 200, b"half", {})
            raise ZeroDivisionError("secret detail")

        with pytest.raises(ChatError, match=r"^an internal error occurred; the log has the details$"):
            await serve(act)

    async def test_no_refusal_has_a_secret_in_it(self) -> None:
        redaction.register("sk-harbour")

        async def act(call: RequestContext) -> None:
            raise RequestRejected(400, "odd", "you wrote sk-harbour")

        assert (await serve(act)).json == {"other": "odd", "message": "you wrote [redacted]"}


class TestEveryRequest:
    async def test_has_one_log_line_with_method_path_and_status(self, caplog: pytest.LogCaptureFixture) -> None:
        await serve(ok, path="/nowhere")
        line = request_line(caplog)
        assert (line["method"], line["path"], line["status"]) == ("GET", "/nowhere", 404)

    async def test_measures_in_the_name_of_its_deployment(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"service":"winterbourne-dev"' in capsys.readouterr().out.replace(" ", "")

    async def test_measures_the_pool(self, capsys: pytest.CaptureFixture[str]) -> None:
        await serve(ok)
        assert '"PoolConnectionsOpen":[0.0]' in capsys.readouterr().out.replace(" ", "")

    async def test_hands_its_trace_on(self) -> None:
        seen: dict[str, str] = {}

        async def act(call: RequestContext) -> None:
            seen.update(http_pool.outgoing_headers.get())
            await ok(call)

        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await serve(act, headers={"traceparent": trace})
        assert seen["traceparent"] == trace
