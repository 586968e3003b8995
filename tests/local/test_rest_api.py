"""A REST API's stage: requests as events of payload 1.0, preludes with lists, what the gateway refuses and cuts."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.clock import jumping
from winterbourne.local.event_door import HttpResponseSink
from winterbourne.local.http_server import HttpServer
from winterbourne.local.invocation import HTTP_INTEGRATION_CONTENT_TYPE, FunctionError, Invocation
from winterbourne.local.request_event import Request
from winterbourne.local.rest_api import RestApi, build_rest_event

NOW = datetime(2026, 7, 10, 19, 19, 4, 836_000, tzinfo=UTC)


def event(target: str, *headers: tuple[str, str], body: bytes = b"", base_path: str = "") -> dict[str, Any]:
    request = Request("POST", target, headers, body, "192.0.2.7", 443)
    return build_rest_event(request, request_id="r", trace_id="Root=1-a-b", now=NOW, base_path=base_path)


class TestAnEvent:
    """As API Gateway's was captured: doors.md, section 2.1."""

    def test_has_the_form_of_a_captured_one(self) -> None:
        sent = (
            ("host", "api.example"),
            ("user-agent", "curl/8.7.1"),
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("cookie", "session=abc; theme=dark"),
            ("x-probe", "first"),
            ("x-probe", "second"),
        )
        query = "repeat=one&repeat=two&link=https%3A%2F%2Fa.example%2Fb&plus=a+b&encoded=a%2Bb&empty="
        made = event(f"/v1/capture/space%20value?{query}", *sent, body=b"{}")
        assert (made["resource"], made["path"]) == ("/{proxy+}", "/capture/space%20value")
        assert made["pathParameters"] == {"proxy": "capture/space%20value"}
        assert made["headers"] == {
            "Host": "api.example",
            "User-Agent": "curl/8.7.1",
            "X-Amzn-Trace-Id": "Root=1-a-b",
            "X-Forwarded-For": "192.0.2.7",
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "http",
            "accept": "*/*",
            "content-type": "application/json",
            "cookie": "session=abc; theme=dark",
            "x-probe": "second",
        }
        assert made["multiValueHeaders"].keys() == made["headers"].keys()
        assert made["multiValueHeaders"]["x-probe"] == ["first", "second"]
        values = {"link": "https://a.example/b", "plus": "a b", "encoded": "a+b", "empty": ""}
        assert made["queryStringParameters"] == {"repeat": "two", **values}
        lists = {name: [value] for name, value in values.items()}
        assert made["multiValueQueryStringParameters"] == {"repeat": ["one", "two"], **lists}
        assert (made["body"], made["isBase64Encoded"], made["stageVariables"]) == ("{}", False, None)
        context = made["requestContext"]
        assert (context["stage"], context["path"]) == ("v1", "/v1/capture/space%20value")
        assert (context["requestTime"], context["requestTimeEpoch"]) == ("10/Jul/2026:19:19:04 +0000", 1783711144836)
        assert (
            context["identity"].items() >= {"sourceIp": "192.0.2.7", "userAgent": "curl/8.7.1", "userArn": ""}.items()
        )
        assert {"requestId", "extendedRequestId", "domainName", "authorizer"} <= context.keys()
        assert "cookies" not in made

    @pytest.mark.parametrize("target", ["/v1", "/v1/"])
    def test_of_the_root_has_nulls_for_what_is_absent(self, target: str) -> None:
        made = event(target)
        assert (made["resource"], made["path"]) == ("/", "/")
        absent = ("pathParameters", "queryStringParameters", "multiValueQueryStringParameters", "body")
        assert [made[name] for name in absent] == [None] * 4

    @pytest.mark.parametrize("path", ["/a%2Fb", "/a%3Fb", "/a%252Fb", "/a+b", "/a//b/", "/v1/v1"])
    def test_keeps_a_path_as_it_was_sent(self, path: str) -> None:
        made = event(f"/v1{path}")
        assert (made["path"], made["pathParameters"]["proxy"]) == (path, path[1:])

    def test_behind_a_base_path_has_it_in_both_paths_and_not_in_proxy(self) -> None:
        made = event("/tiler/bar", base_path="tiler")
        assert (made["path"], made["requestContext"]["path"]) == ("/tiler/bar", "/tiler/bar")
        assert made["pathParameters"] == {"proxy": "bar"}


Act = Callable[[Invocation], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(act: Act, base_path: str = "") -> AsyncIterator[tuple[httpx.AsyncClient, list[Invocation]]]:
    invocations: list[Invocation] = []

    async def invoke(invocation: Invocation) -> None:
        invocations.append(invocation)
        await act(invocation)

    door = RestApi(invoke, log_access=lambda _: None, base_path=base_path)
    async with HttpServer(door.handle_request) as server:
        await server.listen("127.0.0.1")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}{door.root}") as http:
            yield http, invocations


def streams(prelude: object, body: bytes = b"") -> Act:
    async def act(invocation: Invocation) -> None:
        await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
        await invocation.write(json.dumps(prelude).encode() + bytes(8) + body)
        await invocation.finish()

    return act


class TestAResponse:
    async def test_has_the_lists_of_its_prelude_which_win_over_single_values(self) -> None:
        lists = {"set-cookie": ["a=1", "b=2"], "X-Both": ["list"]}
        prelude = {"statusCode": 201, "headers": {"x-one": "1", "x-both": "single"}, "multiValueHeaders": lists}
        async with serving(streams(prelude, b"hello")) as (http, _):
            response = await http.get("/")
        assert (response.status_code, response.text, response.headers["x-one"]) == (201, "hello", "1")
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers.get_list("x-both") == ["list"]
        assert {"x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id", "date"} <= response.headers.keys()

    @pytest.mark.parametrize("lists", [["a"], {"a": "b"}])
    async def test_with_lists_that_are_none_is_an_error(self, lists: object) -> None:
        async with serving(streams({"multiValueHeaders": lists})) as (http, _):
            assert (await http.get("/")).status_code == 502

    @pytest.mark.parametrize(("content_type", "streaming"), [("application/json", False), ("text/csv", True)])
    async def test_without_a_prelude_is_an_error(self, content_type: str, streaming: bool) -> None:  # noqa: FBT001
        async def act(invocation: Invocation) -> None:
            await invocation.begin(content_type, streaming=streaming)
            await invocation.write(b'{"statusCode":200,"body":"x"}')
            await invocation.finish()

        async with serving(act) as (http, _):
            response = await http.get("/")
        assert (response.status_code, response.json()) == (502, {"message": "Internal server error"})

    async def test_gets_no_cors_headers_and_a_preflight_reaches_the_function(self) -> None:
        preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
        async with serving(streams({"statusCode": 200})) as (http, invocations):
            response = await http.options("/", headers=preflight)
        assert json.loads(invocations[0].payload)["httpMethod"] == "OPTIONS"
        assert not [name for name in response.headers if name.startswith("access-control")]


class TestTheGateway:
    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("GET", "/other/healthz", {}, 403),
            ("GET", "/v1x", {}, 403),
            ("TRACE", "/v1/", {}, 403),
            ("GET", "/v1/", {"x-long": "x" * 10_240}, 431),
        ],
    )
    async def test_refuses(self, method: str, path: str, headers: dict[str, str], status: int) -> None:
        async with serving(streams({"statusCode": 200})) as (http, invocations):
            url = f"{str(http.base_url).removesuffix('/v1/')}{path}"
            response = await http.request(method, url, headers=headers)
        assert (response.status_code, response.json().keys()) == (status, {"message"})
        assert not invocations

    async def test_refuses_a_request_that_is_too_large(self) -> None:
        async with serving(streams({"statusCode": 200})) as (http, invocations):
            response = await http.post("/", content=bytes(6 * 1024 * 1024 + 1))
        assert response.status_code == 413
        assert not invocations


class _Client:
    """What a sink does to its client."""

    def __init__(self) -> None:
        self.response_started = self.aborted = False
        self.status = 0

    async def respond(self, status: int, *_: object) -> None:
        self.status, self.response_started = status, True

    def abort(self) -> None:
        self.aborted = True


async def invoking(act: Callable[[HttpResponseSink], Awaitable[None]]) -> _Client:
    """What the client gets of a function that acts so."""
    client = _Client()

    async def invoke(invocation: Invocation) -> None:
        await act(sink)
        await sink.finish(None)

    door = RestApi(invoke, log_access=lambda _: None)
    sink = HttpResponseSink(client, door, [])  # type: ignore[arg-type]  # as much of an exchange as it needs
    await door._run(Invocation(payload=b"", sink=sink), sink)
    return client


class TestAResponseThatTakesLong:
    @jumping
    async def test_to_begin_is_a_504_after_five_minutes(self) -> None:
        async def act(sink: HttpResponseSink) -> None:
            await asyncio.sleep(299)
            assert not client_of(sink).status
            await asyncio.sleep(2)
            assert client_of(sink).status == 504
            await sink.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
            await sink.write(b"unheard")

        await invoking(act)

    @jumping
    async def test_is_cut_off_after_five_idle_minutes_and_not_by_more_that_comes(self) -> None:
        async def act(sink: HttpResponseSink) -> None:
            client_of(sink).response_started = True
            for _ in range(3):
                await asyncio.sleep(299)
                sink.was_written.set()
            assert not client_of(sink).aborted
            await asyncio.sleep(301)
            assert client_of(sink).aborted

        await invoking(act)

    @jumping
    async def test_is_cut_off_after_fifteen_minutes_even_if_more_comes(self) -> None:
        async def act(sink: HttpResponseSink) -> None:
            client_of(sink).response_started = True
            for _ in range(89):
                await asyncio.sleep(10)
                sink.was_written.set()
            assert not client_of(sink).aborted
            await asyncio.sleep(11)
            assert client_of(sink).aborted

        await invoking(act)


def client_of(sink: HttpResponseSink) -> _Client:
    client = sink.exchange
    assert isinstance(client, _Client)
    return client


async def test_a_function_that_fails_is_a_502_without_its_reason() -> None:
    async def act(invocation: Invocation) -> None:
        await invocation.finish(FunctionError.from_message("Function.ValueError", "secret"))

    async with serving(act) as (http, _):
        response = await http.get("/")
    assert (response.status_code, response.text) == (502, '{"message":"Internal server error"}')
