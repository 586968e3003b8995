"""Invoke API (Invoke and InvokeWithResponseStream), called by boto3."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import httpx
import pytest

from tests.local.sinks import RunningPool, running_pool, until
from winterbourne.local.http_server import HttpServer
from winterbourne.local.invoke_api import PAYLOAD_LIMIT, InvokeApi


class Api:
    """The Invoke API in front of real processes, called by boto3 in a thread."""

    def __init__(self, url: str, run: RunningPool) -> None:
        self.url, self.run = url, run
        config = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=20)
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        self._client = session.client("lambda", endpoint_url=url, config=config)

    async def __call__(self, ask: Callable[[Any], Any]) -> Any:
        return await asyncio.to_thread(ask, self._client)

    async def invoke(self, name: str = "local", **how: Any) -> Any:
        def ask(client: Any) -> Any:
            answer = client.invoke(FunctionName=name, **how)
            return {**answer, "Payload": answer["Payload"].read()}

        return await self(ask)

    async def stream(self, **event: Any) -> tuple[Any, list[Any]]:
        def ask(client: Any) -> Any:
            answer = client.invoke_with_response_stream(FunctionName="local", Payload=json.dumps(event), LogType="Tail")
            return answer, list(answer["EventStream"])

        answer, events = await self(ask)
        return answer, events

    def close(self) -> None:
        self._client.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Api]:
    async with running_pool() as run:
        invoke = InvokeApi("local", run.pool.invoke)
        server = HttpServer(invoke.handle_request)
        await server.listen("127.0.0.1")
        api = Api(f"http://127.0.0.1:{server.port}", run)
        try:
            yield api
        finally:
            api.close()
            await server.close()
            await invoke.close()


def event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


class TestInvoke:
    async def test_returns_what_the_function_returned(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="echo", a=1))
        assert (answer["StatusCode"], json.loads(answer["Payload"])) == (200, {"do": "echo", "a": 1})
        assert answer["ExecutedVersion"] == "$LATEST"
        assert "FunctionError" not in answer

    async def test_takes_the_functions_arn(self) -> None:
        async with serving() as api:
            arn = "arn:aws:lambda:us-east-1:123456789012:function:local"
            assert (await api.invoke(arn, Payload=b"1"))["Payload"] == b"1"

    async def test_without_a_payload_sends_an_empty_object(self) -> None:
        async with serving() as api:
            assert (await api.invoke())["Payload"] == b"{}"

    async def test_returns_an_error_as_its_document(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="fail"))
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        assert json.loads(answer["Payload"])["errorType"] == "KeyError"

    async def test_returns_a_crash_as_an_error(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="leave", code=2))
        assert json.loads(answer["Payload"])["errorType"] == "Runtime.ExitError"

    async def test_returns_the_end_of_the_log_when_asked(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="log"), LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        assert log.startswith("START RequestId: ")
        assert "a line" in log
        assert "a frame\nof two lines" in log
        assert "\nREPORT RequestId: " in log

    async def test_passes_client_context_and_tenant(self) -> None:
        async with serving() as api:
            context = base64.b64encode(b'{"custom":{}}').decode()
            answer = await api.invoke(Payload=event(do="surroundings"), ClientContext=context)
        assert json.loads(answer["Payload"])["headers"]["lambda-runtime-client-context"] == '{"custom":{}}'

    @pytest.mark.parametrize("context", ["no base64", "\xe9", base64.b64encode(b"\xff").decode()])
    async def test_ignores_a_client_context_that_cannot_be_read(self, context: str) -> None:
        async with serving() as api, httpx.AsyncClient() as client:
            headers = [(b"x-amz-client-context", context.encode("latin-1"))]
            url = f"{api.url}/2015-03-31/functions/local/invocations"
            answer = await client.post(url, content=event(do="echo"), headers=headers)
        assert answer.status_code == 200

    async def test_buffers_a_stream_including_its_prelude(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="stream", pieces=["one", "two"]))
        assert answer["Payload"] == b'{"statusCode": 200}' + bytes(8) + b"onetwo"

    async def test_rejects_a_stream_of_more_than_six_megabytes(self) -> None:
        async with serving() as api:
            answer = await api.invoke(Payload=event(do="large", megabytes=7))
        assert json.loads(answer["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"

    async def test_as_an_event_returns_before_the_function_has(self) -> None:
        async with serving() as api:
            answer = await api.invoke(InvocationType="Event", Payload=event(do="linger", seconds=0))
            assert answer["StatusCode"] == 202
            await until(lambda: any(line.startswith("REPORT") for line in api.run.log))

    async def test_as_a_dry_run_starts_nothing(self) -> None:
        async with serving() as api:
            assert (await api.invoke(InvocationType="DryRun"))["StatusCode"] == 204
            assert not api.run.environments


class TestInvokeWithResponseStream:
    async def test_sends_the_chunks_as_they_arrive_and_then_the_end(self) -> None:
        async with serving() as api:
            answer, events = await api.stream(do="stream", pieces=["one", "two"], type="text/plain", pause_s=0.05)
        assert answer["StatusCode"] == 200
        assert answer["ResponseStreamContentType"] == "text/plain"
        assert events[:-1] == [{"PayloadChunk": {"Payload": b"one"}}, {"PayloadChunk": {"Payload": b"two"}}]
        assert b"REPORT" in base64.b64decode(events[-1]["InvokeComplete"]["LogResult"])
        assert "ErrorCode" not in events[-1]["InvokeComplete"]

    async def test_ends_with_the_error_of_the_trailers(self) -> None:
        async with serving() as api:
            _, events = await api.stream(do="stream", pieces=["half"], then="fail")
        assert events[-1]["InvokeComplete"]["ErrorCode"] == "Function.ValueError"
        assert json.loads(events[-1]["InvokeComplete"]["ErrorDetails"])["errorMessage"] == "boom"

    async def test_ends_with_the_error_of_a_function_that_never_answered(self) -> None:
        async with serving() as api:
            _, events = await api.stream(do="fail")
        assert [list(event) for event in events] == [["InvokeComplete"]]
        assert events[-1]["InvokeComplete"]["ErrorCode"] == "Function.KeyError"

    async def test_sends_a_buffered_response_as_one_chunk(self) -> None:
        async with serving() as api:
            _, events = await api.stream(do="echo")
        assert events[0] == {"PayloadChunk": {"Payload": b'{"do": "echo"}'}}


class TestARejection:
    @pytest.mark.parametrize(
        ("how", "code"),
        [
            ({"FunctionName": "other"}, "ResourceNotFoundException"),
            ({"FunctionName": "local", "Payload": b"{"}, "InvalidRequestContentException"),
            ({"FunctionName": "local", "InvocationType": "Later"}, "InvalidParameterValueException"),
        ],
    )
    async def test_has_the_error_boto3_knows(self, how: dict[str, Any], code: str) -> None:
        async with serving() as api:
            with pytest.raises(botocore.exceptions.ClientError) as refused:
                await api(lambda client: client.invoke(**how))
        assert refused.value.response["Error"]["Code"] == code

    async def test_of_a_payload_that_is_too_large(self) -> None:
        async with serving() as api, httpx.AsyncClient() as http:
            url = f"{api.url}/2015-03-31/functions/local/invocations"
            response = await http.post(url, content=bytes(PAYLOAD_LIMIT + 1))
        assert (response.status_code, response.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException")

    async def test_of_an_unknown_operation(self) -> None:
        async with serving() as api, httpx.AsyncClient() as http:
            assert (await http.get(f"{api.url}/2015-03-31/functions/")).status_code == 404


async def test_asynchronous_invocations_still_running_at_the_end_are_cancelled() -> None:
    async with serving() as api:
        await api.invoke(InvocationType="Event", Payload=event(do="hang"))


class TestAnInvalidEvent:
    @pytest.mark.parametrize(
        "payload",
        [
            b"[" * 100_000 + b"]" * 100_000,
            b'{"a":' * 5000,
            b"{",
            b"NaN",
            b"[Infinity]",
            b"\xff",
            b"\xef\xbb\xbf{}",
            b" ",
        ],
    )
    async def test_is_the_callers_fault(self, payload: bytes) -> None:
        async with running_pool() as run:
            invoke = InvokeApi("local", run.pool.invoke)
            async with HttpServer(invoke.handle_request) as server, httpx.AsyncClient() as http:
                await server.listen("127.0.0.1")
                url = f"http://127.0.0.1:{server.port}/2015-03-31/functions/local/invocations"
                answer = await http.post(url, content=payload, timeout=30)
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidRequestContentException")
        assert not run.environments

    @pytest.mark.parametrize(
        ("kind", "size", "status"),
        [
            ("Event", 2**20 + 1, 413),
            ("Event", 2**20, 202),
            ("RequestResponse", 2**20 + 1, 200),
            ("", 6 * 2**20 + 1, 413),
        ],
    )
    async def test_is_one_that_is_too_large_for_its_kind(self, kind: str, size: int, status: int) -> None:
        payload = b'{"do":"echo"}'
        async with running_pool() as run:
            invoke = InvokeApi("local", run.pool.invoke)
            async with HttpServer(invoke.handle_request) as server, httpx.AsyncClient() as http:
                await server.listen("127.0.0.1")
                answer = await http.post(
                    f"http://127.0.0.1:{server.port}/2015-03-31/functions/local/invocations",
                    content=payload + b" " * (size - len(payload)),
                    headers={"x-amz-invocation-type": kind} if kind else {},
                    timeout=30,
                )
            await server.close()
            await invoke.close()
        assert answer.status_code == status


@pytest.mark.parametrize("text", ["Å", "港", '{\n\t"a": "🚢"\r\n}\n'])
async def test_a_client_context_may_have_any_text(text: str) -> None:
    async with running_pool() as run:
        invoke = InvokeApi("local", run.pool.invoke)
        async with HttpServer(invoke.handle_request) as server, httpx.AsyncClient() as http:
            await server.listen("127.0.0.1")
            answer = await http.post(
                f"http://127.0.0.1:{server.port}/2015-03-31/functions/local/invocations",
                content=b'{"do":"echo"}',
                headers={"x-amz-client-context": base64.b64encode(text.encode()).decode()},
                timeout=30,
            )
    assert (answer.status_code, "x-amz-function-error" in answer.headers) == (200, False)
