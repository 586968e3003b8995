"""Runtime API server: polling, buffered and streamed responses, errors, trailers, SnapStart; any order of calls."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.sinks import RecordingSink, until
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.runtime_api import (
    BUFFERED_LIMIT,
    RuntimeApi,
    RuntimeCallbacks,
    error_from_trailers,
)

STREAMING = {"Lambda-Runtime-Function-Response-Mode": "streaming"}
PREFIX = "/2018-06-01/runtime"


@dataclass
class RunningApi:
    """A Runtime API, the HTTP client of a function, and the callbacks received."""

    api: RuntimeApi
    http: httpx.AsyncClient
    ready: int = 0
    withdrawn: int = 0
    answered: list[Invocation] = field(default_factory=list)

    async def take(self, **changes: Any) -> Invocation:
        """Let the function poll for an invocation and dispatch one to it."""
        invocation = Invocation(payload=b'{"a":1}', sink=RecordingSink(), **changes)
        before = self.ready
        polling = asyncio.create_task(self.http.get("/invocation/next"))
        await until(lambda: self.ready > before)
        self.api.dispatch(invocation)
        self.next = await polling
        return invocation

    async def post(self, path: str, content: Any = b"", **headers: str) -> httpx.Response:
        return await self.http.post(path, content=content, headers=headers)

    async def stream(self, invocation: Invocation, content: Any) -> httpx.Response:
        return await self.http.post(f"/invocation/{invocation.request_id}/response", content=content, headers=STREAMING)


@contextlib.asynccontextmanager
async def serving_api(limits: ResponseLimits | None = None, **function: Any) -> AsyncIterator[RunningApi]:
    def ready() -> None:
        made.ready += 1

    answered: list[Invocation] = []

    def withdrawn() -> None:
        made.withdrawn += 1

    events = RuntimeCallbacks(ready, withdrawn, answered.append)
    served = FunctionConfig(task_root=Path(), handler="app.handler", **function)
    async with RuntimeApi(served, limits or ResponseLimits(), events) as api, httpx.AsyncClient() as http:
        http.base_url = httpx.URL(f"http://{api.address}{PREFIX}")
        made = RunningApi(api, http, answered=answered)
        yield made


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def sink_of(invocation: Invocation) -> RecordingSink:
    assert isinstance(invocation.sink, RecordingSink)
    return invocation.sink


class TestNext:
    async def test_waits_until_there_is_an_invocation_and_gives_it_with_its_headers(self) -> None:
        async with serving_api(name="f", timeout_s=30) as at:
            before = time.time()
            invocation = await at.take(trace_id="Root=1", client_context='{"a":1}', tenant_id="t")
        assert at.next.content == b'{"a":1}'
        assert at.next.headers["lambda-runtime-aws-request-id"] == invocation.request_id
        assert at.next.headers["lambda-runtime-invoked-function-arn"].endswith(":function:f")
        assert at.next.headers["lambda-runtime-invocation-id"] != invocation.request_id
        assert at.next.headers["lambda-runtime-trace-id"] == "Root=1"
        assert at.next.headers["lambda-runtime-client-context"] == '{"a":1}'
        assert at.next.headers["lambda-runtime-aws-tenant-id"] == "t"
        assert before + 29 < int(at.next.headers["lambda-runtime-deadline-ms"]) / 1000 < before + 40

    async def test_omits_headers_without_a_value(self) -> None:
        async with serving_api() as at:
            await at.take()
        assert not [name for name in at.next.headers if "trace" in name or "context" in name or "tenant" in name]

    async def test_is_rejected_while_an_invocation_is_running(self) -> None:
        async with serving_api() as at:
            await at.take()
            rejected = await at.http.get("/invocation/next")
        assert (rejected.status_code, rejected.json()["errorType"]) == (403, "InvalidStateTransition")

    async def test_may_be_polled_concurrently_up_to_the_maximum_concurrency(self) -> None:
        async with serving_api(managed_instances=2) as at:
            first, second = await at.take(), await at.take()
            assert first.request_id != second.request_id
            assert (await at.http.get("/invocation/next")).status_code == 403

    async def test_abandoned_by_the_process_consumes_no_invocation(self) -> None:
        async with serving_api() as at:
            polling = asyncio.create_task(at.http.get("/invocation/next"))
            await until(lambda: at.ready == 1)
            polling.cancel()
            await until(lambda: at.withdrawn == 1)
            invocation = await at.take()
        assert at.next.headers["lambda-runtime-aws-request-id"] == invocation.request_id


class TestABufferedResponse:
    async def test_reaches_the_sink_whole_and_is_acknowledged(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            ack = await at.post(f"/invocation/{invocation.request_id}/response", b"[1]")
        assert (ack.status_code, ack.json()) == (202, {"status": "OK"})
        assert (sink_of(invocation).began, sink_of(invocation).body, sink_of(invocation).error) == (
            ("", False),
            b"[1]",
            None,
        )
        assert at.answered == [invocation]

    async def test_that_is_too_large_gets_a_413_and_fails_the_invocation(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            ack = await at.post(f"/invocation/{invocation.request_id}/response", bytes(BUFFERED_LIMIT + 1))
        assert ack.status_code == 413
        assert invocation.error
        assert invocation.error.type == "Function.ResponseSizeTooLarge"
        assert sink_of(invocation).began is None

    async def test_to_an_unknown_invocation_gets_a_400(self) -> None:
        async with serving_api() as at:
            ack = await at.post("/invocation/unknown/response")
        assert (ack.status_code, ack.json()["errorType"]) == (400, "InvalidRequestID")

    async def test_a_second_time_gets_a_400_and_changes_nothing(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            await at.post(f"/invocation/{invocation.request_id}/response", b"1")
            assert (await at.post(f"/invocation/{invocation.request_id}/response", b"2")).status_code == 400
        assert sink_of(invocation).body == b"1"

    async def test_in_an_unknown_mode_gets_a_400_and_fails_the_invocation(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            mode = {"Lambda-Runtime-Function-Response-Mode": "Streaming"}
            ack = await at.post(f"/invocation/{invocation.request_id}/response", b"1", **mode)
        assert (ack.status_code, ack.json()["errorType"]) == (400, "Runtime.InvalidFunctionResponseMode")
        assert invocation.error


class TestAStreamedResponse:
    async def test_reaches_the_sink_piece_by_piece(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            more = asyncio.Event()

            async def content() -> AsyncIterator[bytes]:
                yield b"one"
                await more.wait()
                yield b"two"

            posting = asyncio.create_task(at.stream(invocation, content()))
            await sink_of(invocation).arrived.wait()
            assert sink_of(invocation).chunks == [b"one"]
            more.set()
            assert (await posting).status_code == 202
        assert sink_of(invocation).began == ("application/octet-stream", True)
        assert (sink_of(invocation).body, sink_of(invocation).error) == (b"onetwo", None)

    async def test_that_breaks_off_fails_as_truncated(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            _, writer = await asyncio.open_connection(*at.api.address.split(":"))
            head = f"POST {PREFIX}/invocation/{invocation.request_id}/response HTTP/1.1\r\nHost: x\r\n"
            rest = "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
            writer.write((head + rest).encode())
            await sink_of(invocation).arrived.wait()
            writer.close()
            await invocation.response_done.wait()
        assert invocation.error
        assert invocation.error.type == "Runtime.TruncatedResponse"
        assert sink_of(invocation).body == b"hi"

    @pytest.mark.parametrize(("size", "status"), [(4096, 202), (4097, 400)])
    async def test_with_trailers_that_lambda_cannot_read_fails(self, size: int, status: int) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            reader, writer = await asyncio.open_connection(*at.api.address.split(":"))
            name = "Lambda-Runtime-Function-Error-Type: "
            writer.write(
                (
                    f"POST {PREFIX}/invocation/{invocation.request_id}/response HTTP/1.1\r\nHost: x\r\n"
                    "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
                    f"2\r\nhi\r\n0\r\n{name}{'E' * (size - len(name) - 4)}\r\n\r\n"
                ).encode()
            )
            assert (await reader.readline()).startswith(f"HTTP/1.1 {status}".encode())
            writer.close()
        assert invocation.error
        assert (invocation.error.type == "Runtime.TruncatedResponse") is (status == 400)

    async def test_over_the_size_limit_ends_with_a_413(self) -> None:
        async with serving_api(limits=ResponseLimits(max_bytes=5)) as at:
            invocation = await at.take()
            ack = await at.stream(invocation, pieces(b"abc", b"def"))
        assert (ack.status_code, sink_of(invocation).body) == (413, b"abc")
        assert invocation.error
        assert invocation.error.type == "Function.ResponseSizeTooLarge"

    async def test_is_delayed_by_the_rate_limit(self) -> None:
        async with serving_api(limits=ResponseLimits(burst_bytes=10, bytes_per_s=100)) as at:
            invocation = await at.take()
            began = time.monotonic()
            await at.stream(invocation, pieces(bytes(10), bytes(10)))
            assert time.monotonic() - began > 0.09

    async def test_of_an_invocation_that_has_failed_is_discarded(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            more = asyncio.Event()

            async def content() -> AsyncIterator[bytes]:
                yield b"one"
                await more.wait()
                yield b"two"

            posting = asyncio.create_task(at.stream(invocation, content()))
            await sink_of(invocation).arrived.wait()
            await at.api.finish_invocation(invocation, FunctionError.from_message("Sandbox.Timedout", "late"))
            more.set()
            await posting
        assert (sink_of(invocation).body, sink_of(invocation).ends) == (b"one", 1)

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def test_split_anywhere_with_trailers_it_is_parsed_the_same(self, data: st.DataObject) -> None:
        document = base64.b64encode(b'{"errorMessage":"no"}').decode()

        async def run() -> Invocation:
            async with serving_api() as at:
                invocation = await at.take()
                request = (
                    f"POST {PREFIX}/invocation/{invocation.request_id}/response HTTP/1.1\r\nHost: x\r\n"
                    "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
                    "Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n2\r\nhi\r\n3;ext=1\r\nyou\r\n0\r\n"
                    "Lambda-Runtime-Function-Error-Type: Function.E\r\n"
                    f"Lambda-Runtime-Function-Error-Body: {document}\r\n\r\n"
                ).encode()
                cuts = sorted(data.draw(st.lists(st.integers(0, len(request)), max_size=4)))
                reader, writer = await asyncio.open_connection(*at.api.address.split(":"))
                for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True):
                    writer.write(request[a:b])
                    await writer.drain()
                    await asyncio.sleep(0)
                assert (await reader.readline()).startswith(b"HTTP/1.1 202")
                writer.close()
                await writer.wait_closed()
                return invocation

        invocation = asyncio.run(run())
        assert sink_of(invocation).body == b"hiyou"
        assert invocation.error == FunctionError("Function.E", b'{"errorMessage":"no"}')


class TestErrors:
    async def test_before_the_response_fail_the_invocation(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            document = b'{"errorMessage":"no","errorType":"KeyError"}'
            path = f"/invocation/{invocation.request_id}/error"
            ack = await at.post(path, document, **{"Lambda-Runtime-Function-Error-Type": "Function.KeyError"})
        assert ack.status_code == 202
        assert invocation.error == FunctionError("Function.KeyError", document)
        assert sink_of(invocation).began is None

    async def test_without_a_header_have_the_type_of_their_document(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            await at.post(f"/invocation/{invocation.request_id}/error", b'{"errorType":"KeyError"}')
        assert invocation.error
        assert invocation.error.type == "KeyError"

    async def test_that_are_not_json_are_passed_on_unchanged(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            await at.post(f"/invocation/{invocation.request_id}/error", b"oh")
        assert invocation.error == FunctionError("Runtime.Unknown", b"oh")
        assert invocation.error.message == "oh"

    async def test_of_any_length_fail_the_invocation(self) -> None:
        async with serving_api() as at:
            invocation = await at.take()
            await at.post(f"/invocation/{invocation.request_id}/error", bytes(2 * 1024 * 1024))
        assert invocation.error
        assert invocation.error.type == "Runtime.ErrorTooLarge"

    async def test_of_the_init_are_reported(self) -> None:
        async with serving_api() as at:
            ack = await at.post("/init/error", json.dumps({"errorType": "Runtime.X", "errorMessage": "m"}).encode())
        assert ack.status_code == 202
        assert at.api.init_error
        assert at.api.init_error.type == "Runtime.X"

    async def test_of_the_init_are_rejected_after_it(self) -> None:
        async with serving_api() as at:
            await at.take()
            assert (await at.post("/init/error", b"{}")).status_code == 403
        assert at.api.init_error is None


class TestTrailers:
    def test_without_an_error_give_none(self) -> None:
        assert error_from_trailers([]) is None
        assert error_from_trailers([("x", "y")]) is None

    def test_with_a_body_that_is_not_base64_keep_it_unchanged(self) -> None:
        error = error_from_trailers(
            [("lambda-runtime-function-error-type", "T"), ("lambda-runtime-function-error-body", "{%}")]
        )
        assert error == FunctionError("T", b"{%}")

    @given(st.binary(), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
    def test_any_document_is_decoded(self, document: bytes, kind: str) -> None:
        encoded = base64.b64encode(document).decode()
        trailers = [("lambda-runtime-function-error-type", kind), ("lambda-runtime-function-error-body", encoded)]
        assert error_from_trailers(trailers) == FunctionError(kind, document)


class TestSnapStart:
    async def test_restores_once_before_the_first_invocation(self) -> None:
        async with serving_api(snap_start=True) as at:
            assert (await at.http.get("/restore/next")).status_code == 200
            assert (await at.http.get("/restore/next")).status_code == 403

    async def test_accepts_errors_of_the_restore(self) -> None:
        async with serving_api(snap_start=True) as at:
            await at.http.get("/restore/next")
            ack = await at.post(
                "/restore/error", b"{}", **{"Lambda-Runtime-Function-Error-Type": "Runtime.AfterRestoreError"}
            )
        assert ack.status_code == 202
        assert at.api.init_error
        assert at.api.init_error.type == "Runtime.AfterRestoreError"

    @pytest.mark.parametrize(("method", "path"), [("GET", "/restore/next"), ("POST", "/restore/error")])
    async def test_has_no_endpoints_unless_enabled(self, method: str, path: str) -> None:
        async with serving_api() as at:
            assert (await at.http.request(method, path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/invocation/next"), ("GET", "/invocation/x/response")]
)
async def test_an_unknown_endpoint_gets_a_404(method: str, path: str) -> None:
    async with serving_api() as at:
        assert (await at.http.request(method, path)).status_code == 404


STEPS = ("take", "buffered", "streamed", "failed", "wrong mode", "unknown", "next again", "init error")


async def take_step(at: RunningApi, name: str, taken: list[Invocation]) -> int:
    """The status of the API's response; 0 if the step cannot be taken now."""
    if name == "take" and not at.api._running:
        taken.append(await at.take())
        return at.next.status_code
    if not taken or name == "take" or (name == "next again" and not at.api._running):
        return 0
    path = f"/invocation/{taken[-1].request_id}"
    mode = {"Lambda-Runtime-Function-Response-Mode": "no such mode"}
    steps = {
        "buffered": lambda: at.post(f"{path}/response", b"1"),
        "streamed": lambda: at.stream(taken[-1], pieces(b"1")),
        "failed": lambda: at.post(f"{path}/error", b"{}"),
        "wrong mode": lambda: at.post(f"{path}/response", b"1", **mode),
        "unknown": lambda: at.post("/invocation/unknown/response", b"1"),
        "next again": lambda: at.http.get("/invocation/next"),
        "init error": lambda: at.post("/init/error", b"{}"),
    }
    return (await steps[name]()).status_code


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_any_order_of_steps_is_answered_and_every_invocation_ends_once(steps: list[str]) -> None:
    async def run() -> None:
        taken: list[Invocation] = []
        async with serving_api() as at:
            for name in steps:
                assert await take_step(at, name, taken) in {0, 200, 202, 400, 403}
        assert [sink_of(invocation).ends for invocation in at.answered] == [1] * len(at.answered)
        assert len(at.answered) >= len(taken) - 1

    asyncio.run(run())
