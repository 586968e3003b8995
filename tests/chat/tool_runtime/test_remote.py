"""Remote tools: tools that run in another Lambda function."""

import asyncio
import contextlib
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from tests.chat.stores import Clock
from tests.chat.tool_keys import keys_of
from tests.chat.tool_runtime.approving import memory_store
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.errors import StorageUnavailable, ToolError, ToolUnavailable
from winterbourne.chat.infra.decompression import decompress
from winterbourne.chat.infra.spans import Span, Trace
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.tool_runtime import remote
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.remote import encode_progress, remote_tool
from winterbourne.local.event_stream import encode_message, invoke_complete, payload_chunk
from winterbourne.local.invocation import FunctionError
from winterbourne.override import override

SETTINGS = Settings.of(aws_region="eu-central-1", tool_worker_function="worker:live").values()


@remote_tool("{TOOL_WORKER_FUNCTION}", timeout_s=5)
async def double(number: Annotated[int, Meta(ge=0)], label: str = "x") -> None:
    """Double a number."""


async def halve(number: int) -> None:
    """Halve a number."""


ENDED = invoke_complete(None, "")


def streamed(*lines: bytes) -> list[bytes]:
    """The messages of a function that streams these lines."""
    return [*map(payload_chunk, lines), ENDED]


def answering(*pieces: bytes) -> Callable[[], httpx.Response]:
    """A response that is sent in these pieces."""
    return lambda: httpx.Response(200, stream=Pieces(pieces))


class Pieces(httpx.AsyncByteStream):
    """The body of a response, in pieces; an exception among them breaks it off."""

    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self.pieces, self.closed = pieces, False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    @override
    async def aclose(self) -> None:
        self.closed = True


class StubLambda(httpx.AsyncBaseTransport):
    """A stub of Lambda's API that sends a preset answer."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[], httpx.Response] = answering(*streamed(b'{"content":"42"}'))

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
async def api() -> AsyncIterator[tuple[StubLambda, ToolContext]]:
    api = StubLambda()
    async with httpx.AsyncClient(transport=api) as client:
        clients = HttpClients(asynchronous=lambda: client)
        yield (
            api,
            ToolContext(request_id="r-1", caller="ada", keys=keys_of(double, SETTINGS), clients=clients, deadline=1e12),
        )


async def run(tool: Tool, arguments: str, context: ToolContext) -> Any:
    return await tool.call(tool.validate_arguments(arguments), context)


class TestInvocation:
    async def test_goes_to_the_function_that_the_setting_names(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        assert str(api[0].requests[0].url) == (
            "https://lambda.eu-central-1.amazonaws.com"
            "/2021-11-15/functions/worker%3Alive/response-streaming-invocations"
        )

    async def test_is_signed_for_lambda(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        assert "/eu-central-1/lambda/aws4_request" in api[0].requests[0].headers["authorization"]

    async def test_carries_the_validated_arguments_and_the_caller(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        payload = json.loads(api[0].requests[0].content)
        assert payload.pop("timeout_s") > 0
        assert payload == {
            "tool": "double",
            "arguments": {"number": 21, "label": "x"},
            "request_id": "r-1",
            "caller": "ada",
            "stream": True,
            "stop_key": "",
            "idempotency_key": "",
            "traceparent": "",
            "wants_spans": False,
        }

    async def test_of_a_traced_chat_carries_its_span_and_brings_back_those_of_the_worker(
        self, api: tuple[StubLambda, ToolContext]
    ) -> None:
        workers = b'{"resource":{"attributes":[]},"scopeSpans":[]}'
        api[0].answer = answering(*streamed(b'{"content":"42","spans":%b}' % workers))
        with Span(Trace("a" * 32, {}), "POST /chat", "server") as request, request.tool("double", "call_1") as span:
            assert await run(double, '{"number":21}', api[1]) == 42
        payload = json.loads(api[0].requests[0].content)
        assert (payload["traceparent"], payload["wants_spans"]) == (f"00-{'a' * 32}-{span.span_id}-01", True)
        assert request.trace.others == [workers]

    async def test_carries_the_key_of_a_call_that_runs_once(self) -> None:
        api, store = StubLambda(), memory_store(Clock())
        pay = remote_tool("{TOOL_WORKER_FUNCTION}", once=True)(halve)
        async with httpx.AsyncClient(transport=api) as client:
            clients = HttpClients(asynchronous=lambda: client)
            executor = ToolExecutor([pay], records=CallRecords(store), keys=SETTINGS, clients=clients)
            for call in (tool_call("halve", "a", number=4), tool_call("halve", "b", number=4)):
                await run_turn(executor, call)
            await run_turn(executor, tool_call("halve", "c", number=6))
        sent = [json.loads(request.content)["idempotency_key"] for request in api.requests]
        assert (len(sent), len(set(filter(None, sent)))) == (2, 2)

    async def test_returns_the_result(self, api: tuple[StubLambda, ToolContext]) -> None:
        assert await run(double, '{"number":21}', api[1]) == 42

    async def test_has_the_schema_of_its_signature(self) -> None:
        properties: Any = double.schema.parameters["properties"]
        assert properties["number"] == {"type": "integer", "minimum": 0}

    async def test_with_invalid_arguments_is_not_sent(self, api: tuple[StubLambda, ToolContext]) -> None:
        with pytest.raises(ToolError, match=r"\$\.number"):
            await run(double, '{"number":-1}', api[1])
        assert not api[0].requests

    async def test_goes_to_another_endpoint_if_one_is_set(self, api: tuple[StubLambda, ToolContext]) -> None:
        settings = Settings.of(
            aws_region="eu-central-1", tool_worker_function="w", aws_endpoint_url_lambda="http://127.0.0.1:1"
        )
        clients = HttpClients(asynchronous=lambda: api[1].http)
        context = ToolContext(keys=keys_of(double, settings.values()), clients=clients, deadline=1e12)
        await run(double, '{"number":21}', context)
        assert api[0].requests[0].url.host == "127.0.0.1"


class TestFunctionArn:
    @pytest.mark.parametrize(
        ("arn", "region", "host"),
        [
            ("arn:aws:lambda:us-west-2:123456789012:function:w:live", "us-west-2", "lambda.us-west-2.amazonaws.com"),
            (
                "arn:aws-cn:lambda:cn-north-1:123456789012:function:w",
                "cn-north-1",
                "lambda.cn-north-1.amazonaws.com.cn",
            ),
            ("123456789012:function:w", "eu-central-1", "lambda.eu-central-1.amazonaws.com"),
        ],
    )
    async def test_is_called_in_its_own_region(
        self, api: tuple[StubLambda, ToolContext], arn: str, region: str, host: str
    ) -> None:
        tool = remote_tool(arn)(halve)
        await run(tool, '{"number":21}', api[1])
        (request,) = api[0].requests
        assert request.url.host == host
        assert f"/{region}/lambda/aws4_request" in request.headers["authorization"]


class TestCaller:
    async def caller_sent(self, api: tuple[StubLambda, ToolContext], **options: Any) -> tuple[Tool, str]:
        tool = remote_tool("w", **options)(halve)
        clients = HttpClients(asynchronous=lambda: api[1].http)
        caller = None if tool.is_cache_shared else "ada"
        context = ToolContext(caller=caller, keys=keys_of(tool, SETTINGS), clients=clients, deadline=1e12)
        await run(tool, '{"number":21}', context)
        return tool, msgspec.json.decode(api[0].requests[-1].content)["caller"]

    @pytest.mark.parametrize("options", [{}, {"cache_ttl_s": 60}, {"cache_ttl_s": 60, "cache_per_caller": True}])
    async def test_is_sent_to_the_function_and_separates_cached_results(
        self, api: tuple[StubLambda, ToolContext], options: dict[str, Any]
    ) -> None:
        tool, caller = await self.caller_sent(api, **options)
        assert (tool.is_cache_shared, caller) == (False, "ada")

    async def test_is_not_sent_if_all_callers_share_the_results(self, api: tuple[StubLambda, ToolContext]) -> None:
        tool, caller = await self.caller_sent(api, cache_ttl_s=60, cache_per_caller=False)
        assert (tool.is_cache_shared, caller) == (True, "")


FAILED = invoke_complete(FunctionError("Function.ValueError", b'{"errorMessage":"no"}'), "")
THROTTLED = encode_message({":message-type": "exception", ":exception-type": "TooManyRequestsException"}, b"{}")


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "error", "sentence"),
        [
            (lambda: httpx.Response(429), ToolUnavailable, "busy or broken"),
            (lambda: httpx.Response(500), ToolUnavailable, "busy or broken"),
            (lambda: httpx.Response(403), ToolError, "cannot be called"),
            (lambda: httpx.Response(404), ToolError, "cannot be called"),
            (answering(*streamed(b"null")), ToolUnavailable, "cannot be read"),
            (answering(*streamed(b'{"content":"{"}')), ToolUnavailable, "cannot be read"),
            (answering(*streamed(b'{"content":"too odd","is_error":true}')), ToolError, "^too odd$"),
            (answering(payload_chunk(b"{}"), FAILED), ToolUnavailable, "failed while it ran"),
            (answering(FAILED), ToolUnavailable, "failed while it ran"),
            (answering(THROTTLED), ToolUnavailable, "failed while it ran"),
        ],
    )
    async def test_is_one_sentence_for_the_model(
        self,
        api: tuple[StubLambda, ToolContext],
        answer: Callable[[], httpx.Response],
        error: type[ToolError],
        sentence: str,
    ) -> None:
        api[0].answer = answer
        with pytest.raises(error, match=sentence):
            await run(double, '{"number":21}', api[1])

    async def test_to_be_allowed_is_named_in_the_log_with_the_right_that_is_needed(
        self, api: tuple[StubLambda, ToolContext], caplog: pytest.LogCaptureFixture
    ) -> None:
        api[0].answer = lambda: httpx.Response(403)
        with pytest.raises(ToolError):
            await run(double, '{"number":21}', api[1])
        assert "worker:live: HTTP 403" in caplog.text
        assert "lambda:InvokeFunction" in caplog.text

    async def test_of_the_network_means_unavailable(self, api: tuple[StubLambda, ToolContext]) -> None:
        def fail() -> httpx.Response:
            raise httpx.ConnectError("no route")

        api[0].answer = fail
        with pytest.raises(ToolUnavailable, match="cannot be reached"):
            await run(double, '{"number":21}', api[1])

    @pytest.mark.parametrize("encoding", ["gzip, gzip", "br"])
    async def test_to_decompress_is_an_answer_that_cannot_be_read(
        self, api: tuple[StubLambda, ToolContext], encoding: str
    ) -> None:
        packed = httpx.ByteStream(gzip.compress(gzip.compress(b"{}")))
        api[0].answer = lambda: decompress(httpx.Response(200, headers={"content-encoding": encoding}, stream=packed))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await run(double, '{"number":21}', api[1])

    async def test_an_answer_larger_than_lambda_allows_cannot_be_read(
        self, api: tuple[StubLambda, ToolContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "MAX_PAYLOAD_BYTES", 1000)
        monkeypatch.setattr(remote, "MAX_PROGRESS_BYTES", 0)
        api[0].answer = answering(*streamed(b'{"content":"%b"}' % (b"1" * 1000)))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await run(double, '{"number":21}', api[1])

    async def test_a_payload_over_the_limit_is_rejected_before_it_is_sent(
        self, api: tuple[StubLambda, ToolContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "MAX_PAYLOAD_BYTES", 100)
        with pytest.raises(ToolError, match="accepts 100"):
            await run(double, json.dumps({"number": 1, "label": "x" * 100}), api[1])
        assert not api[0].requests


async def test_a_tool_without_its_setting_reports_that_before_any_call() -> None:
    (message,) = await run_turn(ToolExecutor([double], keys=Settings().values()), tool_call("double", number=1))
    assert message.content.startswith("double is not set up here: TOOL_WORKER_FUNCTION is not set.")


ANSWER = b'{"content":"42","is_error":false}'
LINES = (encode_progress(b'{"done":1}'), encode_progress(b'"\\u2028\\n"'), encode_progress(b"null"), ANSWER)
PROGRESS = [b'{"done":1}', b'"\xe2\x80\xa8\\n"', b"null"]


def watching(api: StubLambda, client: httpx.AsyncClient, **more: Any) -> tuple[ToolContext, list[bytes]]:
    """A context that collects progress."""
    seen: list[bytes] = []

    async def report(data: bytes) -> None:
        seen.append(data)

    clients = HttpClients(asynchronous=lambda: client)
    return ToolContext(keys=keys_of(double, SETTINGS), clients=clients, deadline=1e12, report=report, **more), seen


@contextlib.asynccontextmanager
async def watched(answer: Callable[[], httpx.Response], **more: Any) -> AsyncIterator[tuple[ToolContext, list[bytes]]]:
    api = StubLambda()
    api.answer = answer
    async with httpx.AsyncClient(transport=api) as client:
        yield watching(api, client, **more)


class TestProgress:
    async def test_comes_through_in_its_order_and_the_answer_after_it(self) -> None:
        async with watched(answering(*streamed(*LINES))) as (context, seen):
            assert await run(double, '{"number":21}', context) == 42
        assert seen == PROGRESS

    async def test_is_reported_before_the_answer_is_there(self) -> None:
        more, reported = asyncio.Event(), asyncio.Event()

        class Waiting(Pieces):
            @override
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield payload_chunk(LINES[0])
                await more.wait()
                yield b"".join(streamed(ANSWER))

        async def report(_: bytes) -> None:
            reported.set()

        async with watched(lambda: httpx.Response(200, stream=Waiting(()))) as (context, _):
            context._report = report
            call = asyncio.create_task(run(double, '{"number":21}', context))
            await asyncio.wait_for(reported.wait(), 5)
            assert not call.done()
            more.set()
            assert await call == 42

    async def test_of_a_function_that_does_not_stream_is_none_and_its_answer_is_taken(self) -> None:
        indented = json.dumps({"content": "42"}, indent=2).encode()
        async with watched(answering(*streamed(indented))) as (context, seen):
            assert await run(double, '{"number":21}', context) == 42
        assert not seen

    @pytest.mark.parametrize("line", [b'{"progress":}\n', b'{"progress":1\n', b'{"progress":1}'])
    async def test_that_cannot_be_read_is_an_answer_that_cannot(self, line: bytes) -> None:
        async with watched(answering(*streamed(line, ANSWER))) as (context, _):
            with pytest.raises(ToolUnavailable, match="cannot be read"):
                await run(double, '{"number":21}', context)


@given(st.lists(st.integers(0, sum(map(len, LINES)))), st.lists(st.integers(0, 900)))
def test_where_lines_and_messages_are_cut_makes_no_difference(line_cuts: list[int], cuts: list[int]) -> None:
    def cut(data: bytes, at: list[int]) -> list[bytes]:
        return [data[a:b] for a, b in itertools.pairwise([0, *sorted(at), len(data)])]

    async def call() -> None:
        stream = b"".join(streamed(*cut(b"".join(LINES), line_cuts)))
        async with watched(answering(*cut(stream, cuts))) as (context, seen):
            assert await run(double, '{"number":21}', context) == 42
        assert seen == PROGRESS

    asyncio.run(call())


def test_what_the_stub_sends_is_what_botocore_reads() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join((*streamed(ANSWER), FAILED, THROTTLED)))
    kinds: list[Any] = [message.headers for message in buffer]
    assert [kind.get(":event-type") for kind in kinds] == ["PayloadChunk", "InvokeComplete", "InvokeComplete", None]


class TestBrokenStream:
    @pytest.mark.parametrize(
        ("pieces", "sentence"),
        [
            ([], "broke off"),
            ([payload_chunk(ANSWER)], "broke off"),  # it may be whole, but nothing says so
            ([payload_chunk(ANSWER), ENDED[:-1]], "broke off"),
            ([payload_chunk(ANSWER)[:-1] + b"x", ENDED], "cannot be read"),
            ([b"<html>" * 9], "cannot be read"),
            ([payload_chunk(ANSWER), ENDED[:-4] + b"\x00" * 4], "cannot be read"),
            ([encode_message({":message-type": "event", ":event-type": "InvokeComplete"}, b"[]")], "cannot be read"),
            ([payload_chunk(LINES[0]), httpx.ReadError("reset")], "cannot be reached"),
            ([payload_chunk(LINES[0]), httpx.RemoteProtocolError("incomplete")], "cannot be reached"),
        ],
    )
    async def test_means_unavailable_and_closes_the_response(
        self, pieces: list[bytes | Exception], sentence: str
    ) -> None:
        body = Pieces(pieces)
        async with watched(lambda: httpx.Response(200, stream=body)) as (context, _):
            with pytest.raises(ToolUnavailable, match=sentence):
                await run(double, '{"number":21}', context)
        assert body.closed

    @pytest.mark.parametrize("message", [payload_chunk(b"x" * 900), payload_chunk(LINES[0] * 9), ENDED])
    async def test_without_an_end_is_read_up_to_a_limit(self, message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "MAX_PAYLOAD_BYTES", 10_000)
        monkeypatch.setattr(remote, "MAX_PROGRESS_BYTES", 10_000)
        read = 0

        class Endless(Pieces):
            @override
            async def __aiter__(self) -> AsyncIterator[bytes]:
                nonlocal read
                while True:
                    read += len(message)
                    yield message

        async with watched(lambda: httpx.Response(200, stream=Endless(()))) as (context, _):
            with pytest.raises(ToolUnavailable, match="cannot be read"):
                await run(double, '{"number":21}', context)
        assert read <= 20_000 + len(message)


class TestStop:
    """A call that is cancelled while it has time left is stopped where it runs."""

    async def stopped(self, send_stop: Any, **more: Any) -> tuple[str, list[str]]:
        """Cancel a call once it has reported progress: the key it was sent with, and those that were stopped."""
        keys: list[str] = []
        reported = asyncio.Event()

        class Silent(Pieces):
            @override
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield payload_chunk(LINES[0])
                await asyncio.Event().wait()

        async def report(_: bytes) -> None:
            reported.set()

        async def send(key: str) -> None:
            keys.append(key)
            await send_stop()

        api = StubLambda()
        api.answer = lambda: httpx.Response(200, stream=Silent(()))
        async with httpx.AsyncClient(transport=api) as client:
            clients = HttpClients(asynchronous=lambda: client)
            known = {"keys": keys_of(double, SETTINGS), "clients": clients, "report": report, "send_stop": send}
            context = ToolContext(**{**known, "deadline": 1e12, **more})
            call = asyncio.create_task(run(double, '{"number":21}', context))
            await asyncio.wait_for(reported.wait(), 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        return json.loads(api.requests[0].content)["stop_key"], keys

    async def test_is_sent_with_the_key_of_the_call(self) -> None:
        key, stopped = await self.stopped(lambda: asyncio.sleep(0))
        assert key.startswith("remote:")
        assert stopped == [key]

    async def test_has_another_key_for_each_call(self) -> None:
        calls = [await self.stopped(lambda: asyncio.sleep(0)) for _ in range(2)]
        assert calls[0] != calls[1]

    async def test_is_not_sent_at_the_deadline_which_the_function_knows(self) -> None:
        key, stopped = await self.stopped(lambda: asyncio.sleep(0), deadline=0.0)
        assert key
        assert not stopped

    async def test_does_not_wait_long_for_a_store_that_hangs(self) -> None:
        _, stopped = await self.stopped(asyncio.Event().wait)
        assert stopped

    async def test_that_cannot_be_stored_changes_nothing(self) -> None:
        async def fail() -> None:
            raise StorageUnavailable

        _, stopped = await self.stopped(fail)
        assert stopped

    async def test_is_for_no_call_that_has_ended(self) -> None:
        stopped: list[str] = []

        async def send(key: str) -> None:
            stopped.append(key)

        async with watched(answering(*streamed(ANSWER)), send_stop=send) as (context, _):
            await run(double, '{"number":21}', context)
        assert not stopped
