"""Function URL endpoint: requests become invocations; streamed, buffered and failed responses become HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from tests.local.sinks import until
from winterbourne.local.cors import Cors
from winterbourne.local.function_url import FunctionUrl
from winterbourne.local.http_server import HttpServer, RequestPolicy
from winterbourne.local.invocation import HTTP_INTEGRATION_CONTENT_TYPE, FunctionError, Invocation

FunctionBehavior = Callable[[Invocation], Awaitable[None]]
HERE = {"origin": "https://here.example"}
VALUE_ERROR = FunctionError.from_message("Function.ValueError", "no")


@dataclass
class RunningUrl:
    """A function URL in front of a function that the test supplies as a coroutine."""

    http: httpx.AsyncClient
    port: int
    invocations: list[Invocation] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    async def line(self) -> str:
        """The access log line of the only request; it is written once the response is complete."""
        await until(lambda: bool(self.lines))
        (line,) = self.lines
        return line


@contextlib.asynccontextmanager
async def serving_url(act: FunctionBehavior, cors: Cors | None = None) -> AsyncIterator[RunningUrl]:
    async def invoke(invocation: Invocation) -> None:
        made.invocations.append(invocation)
        await act(invocation)

    lines: list[str] = []
    url = FunctionUrl(invoke, cors=cors or Cors(), log_access=lines.append)
    async with HttpServer(url.handle_request) as server:
        await server.listen("127.0.0.1", policy=RequestPolicy())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            made = RunningUrl(http, server.port, lines=lines)
            yield made


def streams(*parts: bytes, prelude: object = None, error: FunctionError | None = None) -> FunctionBehavior:
    async def act(invocation: Invocation) -> None:
        await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
        for part in (json.dumps(prelude or {"statusCode": 200}).encode() + bytes(8), *parts):
            await invocation.write(part)
        await invocation.finish(error)

    return act


def answers(document: bytes) -> FunctionBehavior:
    async def act(invocation: Invocation) -> None:
        await invocation.begin("application/json", streaming=False)
        await invocation.write(document)
        await invocation.finish()

    return act


def fails(error: FunctionError) -> FunctionBehavior:
    async def act(invocation: Invocation) -> None:
        await invocation.finish(error)

    return act


class TestARequest:
    async def test_reaches_the_function_as_an_event(self) -> None:
        async with serving_url(streams()) as at:
            await at.http.post("/a?b=c", content=b"hi", headers={"content-type": "text/plain", "cookie": "d=e"})
        event = json.loads(at.invocations[0].payload)
        assert event["rawPath"] == "/a"
        assert event["body"] == "hi"
        assert event["cookies"] == ["d=e"]
        assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
        assert event["requestContext"]["requestId"] == at.invocations[0].request_id
        assert event["headers"]["x-forwarded-port"] == str(at.port)

    async def test_passes_its_trace_id_on(self) -> None:
        async with serving_url(streams()) as at:
            response = await at.http.get("/", headers={"x-amzn-trace-id": "Root=1-a-b"})
        assert at.invocations[0].trace_id == response.headers["x-amzn-trace-id"] == "Root=1-a-b"
        assert json.loads(at.invocations[0].payload)["headers"]["x-amzn-trace-id"] == "Root=1-a-b"

    async def test_without_a_trace_id_gets_one(self) -> None:
        async with serving_url(streams()) as at:
            await at.http.get("/")
        assert at.invocations[0].trace_id.startswith("Root=1-")

    async def test_that_is_too_large_never_reaches_the_function(self) -> None:
        async with serving_url(streams()) as at:
            response = await at.http.post("/", content=bytes(6 * 1024 * 1024 + 1))
        assert response.status_code == 413
        assert "6291456" in response.json()["Message"]
        assert not at.invocations


class TestAStream:
    async def test_has_status_headers_and_cookies_of_its_prelude(self) -> None:
        prelude = {"statusCode": 201, "headers": {"content-type": "text/event-stream"}, "cookies": ["a=1", "b=2"]}
        async with serving_url(streams(b"hello", prelude=prelude)) as at:
            response = await at.http.get("/")
        assert (response.status_code, response.text) == (201, "hello")
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers["x-amzn-requestid"] == at.invocations[0].request_id
        assert "date" in response.headers

    async def test_arrives_while_it_is_being_produced(self) -> None:
        more = asyncio.Event()

        async def act(invocation: Invocation) -> None:
            await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
            await invocation.write(b'{"statusCode":200}' + bytes(8) + b"one")
            await more.wait()
            await invocation.write(b"two")
            await invocation.finish()

        async with serving_url(act) as at, at.http.stream("GET", "/") as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"one"
            more.set()
            assert [piece async for piece in pieces] == [b"two"]

    async def test_sends_its_head_before_there_is_a_body(self) -> None:
        more = asyncio.Event()

        async def act(invocation: Invocation) -> None:
            await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
            await invocation.write(b'{"statusCode":200}' + bytes(8))
            await more.wait()
            await invocation.finish()

        async with serving_url(act) as at, at.http.stream("GET", "/") as response:
            assert response.status_code == 200
            more.set()

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 302), ("GET", 304)])
    async def test_without_a_body_ends_as_it_should(self, method: str, status: int) -> None:
        async with serving_url(streams(prelude={"statusCode": status, "headers": {"location": "/x"}})) as at:
            response = await at.http.request(method, "/")
        assert (response.status_code, response.content, response.headers["location"]) == (status, b"", "/x")

    async def test_of_another_content_type_is_sent_unchanged(self) -> None:
        async def act(invocation: Invocation) -> None:
            await invocation.begin("text/csv", streaming=True)
            await invocation.write(b"a,b")
            await invocation.finish()

        async with serving_url(act) as at:
            response = await at.http.get("/")
        assert (response.status_code, response.headers["content-type"], response.text) == (200, "text/csv", "a,b")

    @pytest.mark.parametrize("sent", [b"no prelude" + bytes(8), b'{"statusCode":1}' + bytes(8), b'{"statusCode":200}'])
    async def test_without_a_valid_prelude_gives_a_502(self, sent: bytes) -> None:
        async def act(invocation: Invocation) -> None:
            await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
            await invocation.write(sent)
            await invocation.finish()

        async with serving_url(act) as at:
            response = await at.http.get("/")
            assert "InvalidResponse" in await at.line()
        assert (response.status_code, response.text) == (502, "Internal Server Error")

    async def test_with_invalid_headers_gives_a_502(self) -> None:
        async with serving_url(streams(b"x", prelude={"headers": {"a b": "c"}})) as at:
            assert (await at.http.get("/")).status_code == 502

    async def test_continues_after_the_client_disconnects(self) -> None:
        left, written = asyncio.Event(), []

        async def act(invocation: Invocation) -> None:
            await invocation.begin(HTTP_INTEGRATION_CONTENT_TYPE, streaming=True)
            await invocation.write(b'{"statusCode":200}' + bytes(8))
            await left.wait()
            for _ in range(20):
                await invocation.write(bytes(100_000))
                written.append(1)
                await asyncio.sleep(0)
            await invocation.finish()

        async with serving_url(act) as at:
            async with at.http.stream("GET", "/"):
                pass
            left.set()
            assert "the client disconnected before the end" in await at.line()
        assert len(written) == 20


class TestABufferedResponse:
    async def test_is_read_as_payload_format_2(self) -> None:
        document = {"statusCode": 404, "headers": {"x": "y"}, "cookies": ["a=1"], "body": "nothing here"}
        async with serving_url(answers(json.dumps(document).encode())) as at:
            response = await at.http.get("/")
        assert (response.status_code, response.text, response.headers["x"]) == (404, "nothing here", "y")
        assert response.headers["content-length"] == "12"
        assert response.headers["set-cookie"] == "a=1"

    async def test_to_a_head_request_has_its_content_length(self) -> None:
        async with serving_url(answers(b'{"statusCode": 200, "body": "four"}')) as at:
            response = await at.http.head("/")
        assert (response.content, response.headers["content-length"]) == (b"", "4")

    async def test_that_cannot_be_sent_gives_a_502(self) -> None:
        async with serving_url(answers(b"not json")) as at:
            assert (await at.http.get("/")).status_code == 502


class TestAFailure:
    async def test_before_the_response_gives_a_502(self) -> None:
        async with serving_url(fails(VALUE_ERROR)) as at:
            response = await at.http.get("/")
            assert "Function.ValueError: no" in await at.line()
        assert (response.status_code, response.text) == (502, "Internal Server Error")

    async def test_by_timeout_gives_a_502_too(self) -> None:
        async with serving_url(fails(FunctionError.from_message("Sandbox.Timedout", "late"))) as at:
            assert (await at.http.get("/")).status_code == 502

    async def test_during_the_response_breaks_the_stream_off_after_what_was_sent(self) -> None:
        async with serving_url(streams(b"half", error=VALUE_ERROR)) as at, at.http.stream("GET", "/") as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"half"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(pieces)
            assert "Function.ValueError: no" in await at.line()


class TestCors:
    CORS = Cors(allow_origins=("https://here.example",), allow_methods=("POST",))

    async def test_preflights_are_answered_without_invoking_the_function(self) -> None:
        async with serving_url(streams(), self.CORS) as at:
            response = await at.http.options("/", headers={**HERE, "access-control-request-method": "POST"})
        assert (response.status_code, response.headers["access-control-allow-methods"]) == (200, "POST")
        assert not at.invocations

    async def test_other_responses_get_the_headers_beside_the_functions_own(self) -> None:
        prelude = {"headers": {"access-control-allow-origin": "*"}}
        async with serving_url(streams(prelude=prelude), self.CORS) as at:
            response = await at.http.get("/", headers=HERE)
        assert response.headers.get_list("access-control-allow-origin") == ["*", "https://here.example"]

    async def test_failures_get_them_too_so_that_a_page_can_read_the_status(self) -> None:
        async with serving_url(fails(VALUE_ERROR), self.CORS) as at:
            response = await at.http.get("/", headers=HERE)
        assert response.headers["access-control-allow-origin"] == "https://here.example"

    async def test_unconfigured_preflights_reach_the_function(self) -> None:
        async with serving_url(streams()) as at:
            await at.http.options("/", headers={**HERE, "access-control-request-method": "POST"})
        assert len(at.invocations) == 1


async def test_every_request_is_one_line_of_the_access_log() -> None:
    async with serving_url(streams(b"hello")) as at:
        await at.http.get("/a?b")
        line = await at.line()
    assert line.startswith("GET /a?b 200 5 bytes in 0.0")
    assert "first byte after 0.0" in line


class TestTheSizeOfARequest:
    MOST = 6 * 1024 * 1024

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            (b"x" * 6_000_000, "text/plain", 200),
            ("港".encode() * 2_000_000, "text/plain", 200),
            (b'"' * 3_200_000, "text/plain", 413),
            (b"\n" * 3_200_000, "application/json", 413),
            (b"\0" * 1_100_000, "text/plain", 413),
            (b"\xff" * 4_700_000, "application/octet-stream", 200),
            (b"\xff" * 5_200_000, "application/octet-stream", 413),
            (b"\xff" * 5_200_000, "text/plain", 413),
        ],
    )
    async def test_is_that_of_its_event(self, body: bytes, content_type: str, status: int) -> None:
        async with serving_url(streams(b"")) as at:
            response = await at.http.post("/", content=body, headers={"content-type": content_type})
        assert response.status_code == status
        assert all(len(invocation.payload) <= self.MOST for invocation in at.invocations)
        assert len(at.invocations) == (status == 200)

    async def test_is_told_to_pages_of_other_origins_too(self) -> None:
        async with serving_url(streams(b""), Cors(allow_origins=("*",))) as at:
            response = await at.http.post("/", content=bytes(self.MOST), headers=HERE)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (413, "*")


async def test_why_a_function_does_not_start_is_told_on_this_machine() -> None:
    error = FunctionError("Function.SettingsError", b'{"errorMessage": "MAX_TURNS: expected int"}', at_init=True)
    async with serving_url(fails(error)) as at:
        response = await at.http.get("/")
    assert (response.status_code, response.text) == (502, "MAX_TURNS: expected int")
