"""ASGI applications as handlers: scope, FastAPI's streaming examples, Starlette's responses, lifespan, raw ASGI."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse as FastApiStreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from tests.runtime.harness import serving, url_event
from tests.runtime.runtime_api import Outcome, RuntimeApi
from winterbourne import lifecycle
from winterbourne.asgi import build_scope
from winterbourne.errors import RuntimeFault
from winterbourne.handlers import adapt_handler
from winterbourne.override import override

REST_EVENT = {
    "resource": "/{proxy+}",
    "path": "/items/a b",
    "httpMethod": "POST",
    "headers": {"Host": "api.example.com"},
    "multiValueHeaders": {"Host": ["api.example.com"], "X-Two": ["1", "2"], "Cookie": ["a=b"]},
    "queryStringParameters": {"q": "2"},
    "multiValueQueryStringParameters": {"q": ["1", "2"], "name": ["a&b"]},
    "requestContext": {"path": "/prod/items/a b", "stage": "prod", "identity": {"sourceIp": "203.0.113.9"}},
    "body": base64.b64encode(b"\xff\x00").decode(),
    "isBase64Encoded": True,
}


def alb_event(*, multi_value: bool = False) -> dict[str, Any]:
    headers = {"host": "h", "x-forwarded-for": "192.0.2.1, 203.0.113.9"}
    query = {"q": "a%20b", "c%26d": ""}
    lists = {"multiValueHeaders": {k: [v] for k, v in headers.items()}}
    lists["multiValueQueryStringParameters"] = {k: [v] for k, v in query.items()}
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "GET",
        "path": "/ports/%C3%96land%20East",
        **(lists if multi_value else {"headers": headers, "queryStringParameters": query}),
        "body": "",
        "isBase64Encoded": False,
    }


async def answer(app: Any, event: Any = None) -> Outcome:
    async with serving(app) as api:
        return await api.invoke(url_event() if event is None else event)


def routed(endpoint: Any, **options: Any) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "HEAD"])], **options)


class TestScope:
    def test_of_a_function_url(self) -> None:
        event = url_event("POST", "/caf%C3%A9/x", query="a=1&a=2", cookies=["a=b", "c=d"])
        scope = build_scope(event)
        assert scope["type"] == "http"
        assert scope["method"] == "POST"
        assert scope["path"] == "/café/x"
        assert scope["raw_path"] == b"/caf%C3%A9/x"
        assert scope["root_path"] == ""
        assert scope["query_string"] == b"a=1&a=2"
        assert scope["client"] == ("203.0.113.7", 0)
        assert scope["server"] == ("abc.lambda-url.us-east-1.on.aws", 443)
        assert scope["scheme"] == "https"
        assert (b"cookie", b"a=b; c=d") in scope["headers"]

    @pytest.mark.parametrize(
        ("host", "server"),
        [
            ("127.0.0.1:3000", ("127.0.0.1", 3000)),
            ("[::1]:3000", ("::1", 3000)),
            ("[::1]", ("::1", 80)),
            ("localhost", ("localhost", 80)),
            ("localhost:\xb2", ("localhost", 80)),
        ],
    )
    def test_names_the_server_the_caller_named(self, host: str, server: tuple[str, int]) -> None:
        assert build_scope(url_event(headers={"host": host, "x-forwarded-proto": "http"}))["server"] == server

    def test_of_a_rest_api(self) -> None:
        scope = build_scope(REST_EVENT)
        assert scope["method"] == "POST"
        assert scope["root_path"] == "/prod"
        assert scope["path"] == "/prod/items/a b"
        assert scope["query_string"] == b"q=1&q=2&name=a%26b"
        assert scope["client"] == ("203.0.113.9", 0)
        assert [value for name, value in scope["headers"] if name == b"x-two"] == [b"1", b"2"]

    def test_of_a_rest_api_under_a_custom_domain_has_no_root_path(self) -> None:
        event = REST_EVENT | {"requestContext": {"path": "/items/a b"}}
        assert build_scope(event)["root_path"] == ""

    @pytest.mark.parametrize(
        ("more", "root_path", "path", "raw_path"),
        [
            # A stage in front, on the default domain.
            ({"path": "/a%20b/%C3%B6", "in": "/live/a%20b/%C3%B6"}, "/live", "/live/a b/ö", b"/live/a%20b/%C3%B6"),
            ({"path": "/100%2525", "in": "/live/100%2525"}, "/live", "/live/100%25", b"/live/100%2525"),
            ({"path": "/a%2Fb", "in": "/live/a%2Fb"}, "/live", "/live/a/b", b"/live/a%2Fb"),
            ({"path": "/", "resource": "/", "in": "/live/"}, "/live", "/live/", b"/live/"),
            ({"path": "/", "resource": "/", "in": "/live"}, "/live", "/live/", b"/live/"),
            # A custom domain, without and with a base path mapping.
            ({"path": "/bar", "proxy": "bar", "in": "/bar"}, "", "/bar", b"/bar"),
            ({"path": "/tiler/bar", "proxy": "bar", "in": "/tiler/bar"}, "/tiler", "/tiler/bar", b"/tiler/bar"),
            (
                {"path": "/tiler/b%20r/", "proxy": "b%20r", "in": "/tiler/b%20r/"},
                "/tiler",
                "/tiler/b r/",
                b"/tiler/b%20r/",
            ),
            ({"path": "/tiler/b%20r", "proxy": "b r", "in": "/tiler/b%20r"}, "/tiler", "/tiler/b r", b"/tiler/b%20r"),
            ({"path": "/tiler", "resource": "/", "in": "/tiler"}, "/tiler", "/tiler/", b"/tiler/"),
            # A nested proxy.
            (
                {"path": "/v1/user/a/b", "resource": "/user/{proxy+}", "proxy": "a/b", "in": "/v1/user/a/b"},
                "/v1",
                "/v1/user/a/b",
                b"/v1/user/a/b",
            ),
            # Fields that are null, or not there.
            ({"path": "/bar", "proxy": None, "in": None}, "", "/bar", b"/bar"),
            ({"path": None, "proxy": None, "in": None}, "", "/", b"/"),
        ],
    )
    def test_of_a_rest_api_splits_its_path(
        self, more: dict[str, Any], root_path: str, path: str, raw_path: bytes
    ) -> None:
        proxy = more.get("proxy")
        event = REST_EVENT | {
            "path": more["path"],
            "resource": more.get("resource", "/{proxy+}"),
            "pathParameters": proxy and {"proxy": proxy},
            "requestContext": {"path": more["in"], "identity": None},
        }
        scope = build_scope(event)
        assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root_path, path, raw_path)

    def test_of_a_rest_api_with_null_fields(self) -> None:
        names = ["headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "body"]
        scope = build_scope(REST_EVENT | dict.fromkeys(names))
        assert (scope["headers"], scope["query_string"]) == ([], b"")

    def test_of_a_function_url_with_null_fields(self) -> None:
        scope = build_scope(url_event() | dict.fromkeys(["headers", "cookies", "rawQueryString", "body", "rawPath"]))
        assert (scope["headers"], scope["query_string"], scope["path"]) == ([], b"", "/")

    def test_counts_cookies_once(self) -> None:
        event = url_event(cookies=["a=b", "c=d"])
        event["headers"]["cookie"] = "a=b; c=d"
        assert [each for each in build_scope(event)["headers"] if each[0] == b"cookie"] == [(b"cookie", b"a=b; c=d")]

    @pytest.mark.parametrize("multi_value", [False, True])
    def test_of_a_load_balancer_keeps_the_query_as_it_came(self, *, multi_value: bool) -> None:
        event = alb_event(multi_value=multi_value)
        scope = build_scope(event)
        assert (scope["path"], scope["raw_path"]) == ("/ports/Öland East", b"/ports/%C3%96land%20East")
        assert scope["query_string"] == b"q=a%20b&c%26d="
        assert scope["client"] == ("203.0.113.9", 0)

    @pytest.mark.parametrize("event", [None, {}, {"Records": []}, "text"])
    def test_of_anything_else_is_a_clear_error(self, event: Any) -> None:
        with pytest.raises(RuntimeFault, match="this one is from an unknown sender"):
            build_scope(event)

    @given(st.dictionaries(st.text("abc-XYZ", min_size=1), st.text(st.characters()), max_size=5), st.text())
    def test_any_headers_and_path_make_a_scope(self, headers: dict[str, str], path: str) -> None:
        scope = build_scope(url_event(path=path, headers=headers))
        assert all(name == name.lower() for name, _ in scope["headers"])

    async def test_holds_event_and_context(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = f"{scope['aws.event']['rawPath']} {scope['aws.context'].aws_request_id}".encode()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": body})

        assert (await answer(app, url_event(path="/here"))).payload == b"/here request-1"


class TestFastApi:
    """The streaming examples of its documentation."""

    async def test_an_async_generator(self) -> None:
        app = FastAPI()

        async def fake_video_streamer() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"some fake video bytes"

        @app.get("/")
        async def main() -> FastApiStreamingResponse:
            return FastApiStreamingResponse(fake_video_streamer(), media_type="text/plain")

        outcome = await answer(app)
        assert outcome.streamed
        assert outcome.payload == b"some fake video bytes" * 10
        assert outcome.prelude["headers"]["content-type"].startswith("text/plain")

    async def test_a_file_read_by_a_generator_in_a_thread(self, tmp_path: Path) -> None:
        (tmp_path / "large.mp4").write_bytes(b"\x00\xff" * 50_000)
        app = FastAPI()

        @app.get("/")
        def main() -> FastApiStreamingResponse:
            def iterfile() -> Iterator[bytes]:
                with (tmp_path / "large.mp4").open("rb") as file_like:
                    yield from file_like

            return FastApiStreamingResponse(iterfile(), media_type="video/mp4")

        assert (await answer(app)).payload == b"\x00\xff" * 50_000

    async def test_validation_dependencies_and_json(self) -> None:
        app = FastAPI()

        @app.post("/items/{number}")
        async def create(number: int, body: dict[str, int]) -> dict[str, int]:
            return {"number": number, **body}

        event = url_event("POST", "/items/5", body='{"a": 1}')
        event["headers"]["content-type"] = "application/json"
        outcome = await answer(app, event)
        assert outcome.prelude["statusCode"] == 200
        assert outcome.payload == b'{"number":5,"a":1}'
        assert (await answer(app, url_event("POST", "/items/x"))).prelude["statusCode"] == 422


class TestStarlettesResponses:
    async def test_text(self) -> None:
        outcome = await answer(routed(lambda request: PlainTextResponse("hello")))
        assert outcome.payload == b"hello"
        assert "content-length" not in outcome.prelude["headers"]

    async def test_streaming_sends_piece_by_piece(self) -> None:
        go_on = asyncio.Event()

        async def numbers() -> AsyncIterator[str]:
            yield "1"
            await go_on.wait()
            yield "2"

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(numbers())

        async with serving(routed(endpoint)) as api:
            invocation = api.submit(url_event())
            await invocation.arrived.wait()
            while not (invocation.partial and invocation.partial.body.endswith(b"1")):  # noqa: ASYNC110 - over a socket
                await asyncio.sleep(0)
            go_on.set()
            assert (await invocation.outcome).payload == b"12"

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_file(self, method: str, tmp_path: Path) -> None:
        (tmp_path / "file.bin").write_bytes(b"content")
        outcome = await answer(routed(lambda request: FileResponse(tmp_path / "file.bin")), url_event(method))
        assert outcome.prelude["statusCode"] == 200
        assert "etag" in outcome.prelude["headers"]
        assert outcome.payload == (b"content" if method == "GET" else b"")

    async def test_a_redirect(self) -> None:
        outcome = await answer(routed(lambda request: RedirectResponse("/there")))
        assert outcome.prelude["statusCode"] == 307
        assert outcome.prelude["headers"]["location"] == "/there"
        assert outcome.payload == b""
        assert outcome.complete

    async def test_no_content(self) -> None:
        outcome = await answer(routed(lambda request: Response(status_code=204)))
        assert outcome.prelude["statusCode"] == 204

    async def test_cookies(self) -> None:
        def endpoint(request: Request) -> Response:
            response = PlainTextResponse(request.cookies["a"])
            response.set_cookie("c", "d")
            response.set_cookie("e", "f", httponly=True)
            return response

        outcome = await answer(routed(endpoint), url_event(cookies=["a=b"]))
        assert outcome.payload == b"b"
        cookies = outcome.prelude["cookies"]
        assert [cookie.split(";")[0] for cookie in cookies] == ["c=d", "e=f"]

    async def test_cookies_of_a_rest_api(self) -> None:
        def endpoint(request: Request) -> Response:
            response = PlainTextResponse("")
            response.set_cookie("c", "d")
            return response

        prelude = (await answer(routed(endpoint), REST_EVENT)).prelude
        assert prelude["multiValueHeaders"]["set-cookie"][0].startswith("c=d")

    async def test_a_binary_body_arrives(self) -> None:
        async def endpoint(request: Request) -> Response:
            return Response(await request.body())

        assert (await answer(routed(endpoint), REST_EVENT)).payload == b"\xff\x00"

    async def test_background_tasks_run_after_the_client_has_its_response(self) -> None:
        go_on, ran = asyncio.Event(), asyncio.Event()

        async def later() -> None:
            await go_on.wait()
            ran.set()

        async def endpoint(request: Request) -> Response:
            return JSONResponse({}, background=BackgroundTask(later))

        async with serving(routed(endpoint)) as api:
            assert (await api.invoke(url_event())).payload == b"{}"
            assert not ran.is_set()
            go_on.set()
            await ran.wait()

    async def test_middleware_that_wraps_the_stream(self) -> None:
        class Adds(BaseHTTPMiddleware):
            @override
            async def dispatch(self, request: Request, call_next: Any) -> Response:
                response: Response = await call_next(request)
                response.headers["x-added"] = "yes"
                return response

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(iter(["a", "b"]))

        outcome = await answer(routed(endpoint, middleware=[Middleware(Adds)]))
        assert outcome.payload == b"ab"
        assert outcome.prelude["headers"]["x-added"] == "yes"

    async def test_an_exception_is_its_500_page_and_our_log_line(self, logged: list[str]) -> None:
        async def endpoint(request: Request) -> Response:
            raise ValueError("broken")

        async with serving(routed(endpoint)) as api:
            outcome = await api.invoke(url_event())
            await api.invoke(url_event())
        assert outcome.prelude["statusCode"] == 500
        assert outcome.payload == b"Internal Server Error"
        assert any("[ERROR] ValueError: broken" in line for line in logged)

    async def test_an_exception_after_the_first_byte_ends_in_trailers(self) -> None:
        async def breaks() -> AsyncIterator[str]:
            yield "half"
            raise ValueError("under way")

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(breaks())

        outcome = await answer(routed(endpoint))
        assert outcome.payload == b"half"
        assert outcome.trailing_error["errorMessage"] == "under way"


class TestLifespan:
    async def test_surrounds_all_invocations_and_provides_its_state(self) -> None:
        phases = []

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
            phases.append("up")
            yield {"pool": "the pool"}
            phases.append("down")

        def endpoint(request: Request) -> Response:
            return PlainTextResponse(request.state.pool)

        async with serving(routed(endpoint, lifespan=lifespan)) as api:
            await lifecycle.run_startup()
            assert [(await api.invoke(url_event())).payload for _ in range(2)] == [b"the pool"] * 2
            assert phases == ["up"]
            await lifecycle.run_shutdown()
        assert phases == ["up", "down"]

    async def test_that_fails_is_an_init_error(self) -> None:
        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            if app:
                raise OSError("no database")
            yield

        adapt_handler(routed(None, lifespan=lifespan))
        with pytest.raises(RuntimeFault, match="no database"):
            await lifecycle.run_startup()

    async def test_an_application_without_one_still_runs(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        async with serving(app) as api:
            await lifecycle.run_startup()
            assert (await api.invoke(url_event())).prelude["statusCode"] == 204
            await lifecycle.run_shutdown()


class TestTheBareProtocol:
    async def test_the_prelude_is_sent_before_the_first_piece_of_body(self) -> None:
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"x"})

        async with serving(app) as api:
            invocation = api.submit(url_event())
            await invocation.arrived.wait()
            assert invocation.partial is not None
            assert invocation.partial.prelude["statusCode"] == 200
            go_on.set()
            await invocation.outcome

    async def test_a_disconnect_is_received_once_the_response_has_ended(self) -> None:
        received = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            received.append((await receive())["type"])
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})
            received.append((await receive())["type"])

        async with serving(app) as api:
            await api.invoke(url_event())
            await api.invoke(url_event())
        assert received[:2] == ["http.request", "http.disconnect"]

    async def test_a_broken_connection_raises_an_os_error_and_sends_a_disconnect(self) -> None:
        received: list[str] = []
        handler_done = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200})
            try:
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
                    await asyncio.sleep(0)
            except OSError as error:
                received.extend([type(error).__name__, (await receive())["type"]])
                handler_done.set()

        async with serving(app, RuntimeApi(cut_after=500)) as api:
            await api.invoke(url_event())
            await handler_done.wait()
        assert received == ["StreamLost", "http.disconnect"]

    async def test_no_response_at_all_is_an_error(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            pass

        assert (await answer(app)).json["errorMessage"] == "the application returned without a response"

    async def test_an_event_that_is_not_http_is_an_error(self) -> None:
        outcome = await answer(FastAPI(), {"Records": []})
        assert outcome.headers["lambda-runtime-function-error-type"] == "Runtime.NotAnHttpEvent"


async def start(send: Any, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


class TestAResponseThatIsCut:
    """It ends in trailers, is logged, and is never told as a whole one."""

    async def outcome(self, *messages: dict[str, Any], length: bytes = b"", method: str = "GET") -> Outcome:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await start(send, *([(b"content-length", length)] if length else []))
            for message in messages:
                await send({"type": "http.response.body", **message})

        return await answer(app, url_event(method))

    async def test_after_its_start(self, logged: list[str]) -> None:
        outcome = await self.outcome()
        assert outcome.trailing_error["errorMessage"] == "the application returned before the end of its response"
        assert "[ERROR] StreamMisused" in logged[0]

    async def test_in_the_middle_of_its_body(self) -> None:
        outcome = await self.outcome({"body": b"port,tide\n", "more_body": True})
        assert outcome.payload == b"port,tide\n"
        assert outcome.trailing_error["errorType"] == "StreamMisused"

    @pytest.mark.parametrize("pieces", [(b"five!",), (b"fi", b"ve!"), ()])
    async def test_before_its_declared_length(self, pieces: tuple[bytes, ...]) -> None:
        more = [{"body": piece, "more_body": True} for piece in pieces]
        outcome = await self.outcome(*more, {"body": b""}, length=b"9")
        assert "shorter than the content-length" in outcome.trailing_error["errorMessage"]

    async def test_is_whole_at_its_declared_length_and_for_head_without_a_body(self) -> None:
        assert (await self.outcome({"body": b"five!"}, length=b"5")).trailers == {}
        head = await self.outcome({"body": b"five!"}, length=b"9", method="HEAD")
        assert (head.trailers, head.payload) == ({}, b"")
        assert "content-type" not in head.prelude["headers"]

    async def test_a_body_without_a_start_is_an_error(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.body", "body": b"x"})

        assert "before the start" in (await answer(app)).json["errorMessage"]

    async def test_after_its_end_it_is_whole(self) -> None:
        outcome = await self.outcome({"body": b"a", "more_body": True}, {"body": b"b"})
        assert (outcome.payload, outcome.trailers) == (b"ab", {})


class TestFrontEndsThatCannotStream:
    """They get one JSON document in their own shape."""

    HTTP_API: ClassVar = url_event() | {"requestContext": {"http": {"method": "GET"}, "routeKey": "GET /x"}}
    HTTP_API_1: ClassVar = REST_EVENT | {"version": "1.0"}

    @pytest.mark.parametrize("event", [alb_event(), alb_event(multi_value=True), HTTP_API, HTTP_API_1])
    async def test_are_answered_in_one_piece(self, event: Any) -> None:
        def endpoint(request: Request) -> Response:
            response = PlainTextResponse("here", 201)
            response.set_cookie("c", "d")
            return response

        outcome = await answer(routed(endpoint), event)
        assert not outcome.streamed
        assert (outcome.json["statusCode"], outcome.json["body"]) == (201, "here")
        assert "c=d" in str(outcome.json)

    async def test_also_by_handlers_that_are_no_application(self) -> None:
        async def handler(event: Any, context: Any) -> AsyncIterator[str]:
            yield "he"
            yield "re"

        outcome = await answer(handler, alb_event())
        assert (outcome.streamed, outcome.json["body"]) == (False, "here")

    async def test_get_an_error_instead_of_a_part(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await start(send)

        assert (await answer(app, alb_event())).path.endswith("/error")
