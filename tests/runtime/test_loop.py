"""Pollers: errors, the deadline, ending early, isolation between invocations, and concurrent invocations."""

import asyncio
import contextlib
import contextvars
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.runtime.harness import serving, url_event
from winterbourne import Response, ResponseStream, current_context, on_stream_error, streamify_response

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")


async def fails_after_the_first_byte(event: Any, context: Any) -> AsyncIterator[str]:
    yield "half"
    raise ZeroDivisionError("under way")


class TestErrors:
    async def test_before_the_first_byte_becomes_lambdas_error(self, logged: list[str]) -> None:
        async def fails(event: Any, context: Any) -> None:
            raise KeyError("gone")

        async with serving(fails) as api:
            outcome = await api.invoke()
        assert outcome.path == "invocation/request-1/error"
        assert outcome.headers["lambda-runtime-function-error-type"] == "Function.KeyError"
        assert outcome.json["requestId"] == "request-1"
        assert logged[0].startswith("[ERROR] KeyError: 'gone'\nTraceback (most recent call last):\n")
        assert 'raise KeyError("gone")' in logged[0]

    async def test_after_the_first_byte_becomes_trailers_and_a_log_line(self, logged: list[str]) -> None:
        async with serving(fails_after_the_first_byte) as api:
            outcome = await api.invoke()
        assert outcome.body == b"half"
        assert outcome.trailers["lambda-runtime-function-error-type"] == "Function.ZeroDivisionError"
        assert outcome.trailing_error["errorMessage"] == "under way"
        assert outcome.trailing_error["requestId"] == "request-1"
        assert logged[0].startswith("[ERROR] ZeroDivisionError: under way\nTraceback")

    async def test_the_stream_error_hook_appends_a_frame_to_the_body(self) -> None:
        on_stream_error(lambda error: f"data: {type(error).__name__}\n\n")
        async with serving(fails_after_the_first_byte) as api:
            outcome = await api.invoke()
        assert outcome.body == b"halfdata: ZeroDivisionError\n\n"
        assert "lambda-runtime-function-error-type" in outcome.trailers

    @pytest.mark.parametrize("hook", [lambda error: 1 / 0, lambda error: {"neither": "bytes nor text"}])
    async def test_a_hook_that_fails_loses_only_its_frame(self, hook: Any, logged: list[str]) -> None:
        on_stream_error(hook)
        async with serving(fails_after_the_first_byte) as api:
            outcome = await api.invoke()
        assert outcome.body == b"half"
        assert outcome.trailing_error["errorMessage"] == "under way"
        assert any("the stream error hook failed" in line for line in logged)

    async def test_a_prelude_that_is_too_large_is_an_error_not_a_broken_stream(self) -> None:
        async def large(event: Any, context: Any) -> AsyncIterator[Any]:
            yield Response(headers={"x": "y" * 20_000})

        async with serving(large) as api:
            outcome = await api.invoke(url_event())
        assert outcome.json["errorType"] == "PreludeTooLarge"
        assert "the limit is 16384" in outcome.json["errorMessage"]

    async def test_a_result_that_is_not_json_is_lambdas_marshal_error(self) -> None:
        async def strange(event: Any, context: Any) -> Any:
            return object()

        async with serving(strange) as api:
            outcome = await api.invoke()
        assert outcome.headers["lambda-runtime-function-error-type"] == "Runtime.MarshalError"

    @pytest.mark.parametrize("headers", [{"Content_Type": "application/json"}, {"Lambda_Runtime_Client_Context": "{"}])
    async def test_an_event_that_cannot_be_parsed_reaches_no_handler(self, headers: dict[str, str]) -> None:
        async with serving(fails_after_the_first_byte) as api:
            outcome = await api.invoke(b"{", **headers)
            assert outcome.headers["lambda-runtime-function-error-type"].startswith("Runtime.")
            assert (await api.invoke()).body == b"half"

    async def test_a_handler_that_cancels_itself_is_reported_as_cancelled(self) -> None:
        async def cancels(event: Any, context: Any) -> None:
            raise asyncio.CancelledError

        async with serving(cancels) as api:
            assert (await api.invoke()).json["errorMessage"] == "the handler was cancelled from within"
            assert (await api.invoke()).json["errorMessage"] == "the handler was cancelled from within"


class TestDeadline:
    """The handler is cancelled 100 ms before Lambda would stop it."""

    async def test_a_handler_can_still_write_a_final_frame(self) -> None:
        @streamify_response
        async def hangs(event: Any, response_stream: ResponseStream, context: Any) -> None:
            await response_stream.write("begun,")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                assert context.get_remaining_time_in_millis() > 0
                await response_stream.write("out of time")

        async with serving(hangs, margin_ms=5000) as api:
            outcome = await api.invoke(deadline_s=5.1)
            assert outcome.body == b"begun,out of time"
            assert outcome.complete
            assert outcome.trailers == {}

    async def test_an_async_generator_can_still_yield_a_final_frame(self) -> None:
        async def hangs(event: Any, context: Any) -> AsyncIterator[str]:
            yield "begun,"
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                yield "out of time"

        async with serving(hangs) as api:
            assert (await api.invoke(deadline_s=0.2)).body == b"begun,out of time"

    async def test_a_handler_without_a_final_frame_ends_with_trailers_and_its_finally_blocks_run(self) -> None:
        ended = []

        async def hangs(event: Any, context: Any) -> AsyncIterator[str]:
            try:
                yield "begun"
                await asyncio.sleep(3600)
            finally:
                ended.append(True)

        async with serving(hangs) as api:
            outcome = await api.invoke(deadline_s=0.2)
        assert ended == [True]
        assert outcome.trailing_error["errorType"] == "DeadlineReached"
        assert outcome.trailing_error["errorMessage"] == "cancelled 100 ms before the deadline"

    async def test_before_the_first_byte_it_is_an_error(self) -> None:
        async def hangs(event: Any, context: Any) -> None:
            await asyncio.sleep(3600)

        async with serving(hangs) as api:
            error = (await api.invoke(deadline_s=0.2)).json
        assert error["errorType"] == "DeadlineReached"
        assert "await asyncio.sleep(3600)" in error["stackTrace"][0]  # where it was waiting

    async def test_a_thread_cannot_be_stopped_but_its_stream_ends_and_the_next_invocation_is_served(self) -> None:
        import threading

        release = threading.Event()

        def hangs(event: Any, context: Any) -> Iterator[str]:
            yield "begun"
            if event == "hang":
                release.wait(10)

        async with serving(hangs) as api:
            try:
                assert (await api.invoke("hang", deadline_s=0.5)).trailing_error["errorType"] == "DeadlineReached"
                assert (await api.invoke("go")).complete
            finally:
                release.set()

    async def test_the_tasks_a_handler_awaits_are_cancelled_with_it(self) -> None:
        cancelled = []

        async def part(name: str) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.append(name)

        async def hangs(event: Any, context: Any) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(part("one"))
                group.create_task(part("two"))

        async with serving(hangs) as api:
            await api.invoke(deadline_s=0.2)
        assert sorted(cancelled) == ["one", "two"]

    async def test_the_task_that_ends_the_stream_is_no_longer_being_cancelled(self) -> None:
        """Or the first timeout or task group on the way would cancel it once more."""
        cancellations = []

        @on_stream_error
        def last_frame(error: BaseException) -> bytes:
            task = asyncio.current_task()
            assert task is not None
            cancellations.append(task.cancelling())
            return b"out of time"

        async def hangs(event: Any, context: Any) -> AsyncIterator[str]:
            yield "begun,"
            await asyncio.sleep(3600)

        async with serving(hangs) as api:
            assert (await api.invoke(deadline_s=0.2)).body == b"begun,out of time"
        assert cancellations == [0]

    async def test_the_next_invocation_is_not_cancelled(self) -> None:
        async def hangs_once(event: Any, context: Any) -> Any:
            if event == "hang":
                await asyncio.sleep(3600)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            return "fine"

        async with serving(hangs_once) as api:
            await api.invoke("hang", deadline_s=0.2)
            assert (await api.invoke("go")).json == "fine"

    async def test_a_slow_reader_does_not_delay_the_cancellation(self) -> None:
        closed = asyncio.Event()

        async def floods(event: Any, context: Any) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.set()

        async with serving(floods) as api:
            invocation = api.submit(deadline_s=0.5)
            await api.handed_out.wait()
            api.reads_on.clear()
            await closed.wait()
            api.reads_on.set()
            assert (await invocation.outcome).trailing_error["errorType"] == "DeadlineReached"


class TestEndingEarly:
    async def test_the_client_has_its_response_while_the_handler_continues(self) -> None:
        go_on, after = asyncio.Event(), []

        @streamify_response
        async def handler(event: Any, response_stream: ResponseStream, context: Any) -> None:
            await response_stream.write("done")
            await response_stream.end()
            await go_on.wait()
            after.append(True)

        async with serving(handler) as api:
            assert (await api.invoke()).body == b"done"
            assert after == []
            go_on.set()
            await api.invoke()
        assert after[0]

    async def test_an_error_after_the_end_is_only_logged(self, logged: list[str]) -> None:
        @streamify_response
        async def handler(event: Any, response_stream: ResponseStream, context: Any) -> None:
            await response_stream.end()
            raise ValueError("afterwards")

        async with serving(handler) as api:
            assert (await api.invoke()).trailers == {}
            assert (await api.invoke()).complete
        assert "[ERROR] ValueError: afterwards" in logged[0]


class TestContext:
    async def test_a_client_context_of_almost_a_megabyte_arrives(self) -> None:
        async def handler(event: Any, context: Any) -> Any:
            return len(context.client_context.custom["text"])

        client_context = json.dumps({"custom": {"text": "x" * 900_000}})
        async with serving(handler) as api, asyncio.timeout(10):  # a head that is too large is never answered
            assert (await api.invoke(Lambda_Runtime_Client_Context=client_context)).json == 900_000


class TestOneInvocationAfterTheOther:
    async def test_context_variables_do_not_leak_into_the_next(self) -> None:
        async def handler(event: Any, context: Any) -> Any:
            before = variable.get()
            variable.set("used")
            return before

        async with serving(handler) as api:
            assert [(await api.invoke()).json for _ in range(2)] == ["fresh", "fresh"]

    async def test_a_stream_of_one_cannot_write_into_the_next(self) -> None:
        streams: list[ResponseStream] = []

        @streamify_response
        async def handler(event: Any, response_stream: ResponseStream, context: Any) -> None:
            streams.append(response_stream)
            with contextlib.suppress(Exception):
                await streams[0].write(f"{len(streams)}")
            await response_stream.write("own")

        async with serving(handler) as api:
            await api.invoke()
            assert (await api.invoke()).body == b"own"

    async def test_the_trace_id_is_in_the_environment_if_the_invocation_has_one(self) -> None:
        async def handler(event: Any, context: Any) -> Any:
            return os.environ.get("_X_AMZN_TRACE_ID")

        async with serving(handler) as api:
            assert (await api.invoke()).json == "Root=1-request-1"
            assert (await api.invoke(Lambda_Runtime_Trace_Id=None)).json is None

    async def test_the_event_loop_stays_the_same(self) -> None:
        async def handler(event: Any, context: Any) -> Any:
            return id(asyncio.get_running_loop())

        async with serving(handler) as api:
            assert (await api.invoke()).json == (await api.invoke()).json


class TestUnderSam:
    """The emulator does not parse streams, so it gets a buffered response."""

    async def test_a_stream_is_sent_as_one_buffered_response(self) -> None:
        async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
            yield Response(201, {"content-type": "text/plain"}, ["a=b"])
            yield "hel"
            yield "lo"

        async with serving(handler, buffered=True) as api:
            outcome = await api.invoke(url_event())
        assert not outcome.streamed
        assert outcome.json == {
            "statusCode": 201,
            "headers": {"content-type": "text/plain"},
            "cookies": ["a=b"],
            "body": "hello",
            "isBase64Encoded": False,
        }

    async def test_an_error_after_the_first_byte_is_an_ordinary_error(self) -> None:
        async with serving(fails_after_the_first_byte, buffered=True) as api:
            assert (await api.invoke()).path == "invocation/request-1/error"

    async def test_a_value_is_sent_unchanged(self) -> None:
        async def handler(event: Any, context: Any) -> Any:
            return {"a": 1}

        async with serving(handler, buffered=True) as api:
            assert (await api.invoke()).json == {"a": 1}


class TestManyAtOnce:
    async def test_64_streams_with_failures_among_them_arrive_byte_for_byte(self) -> None:
        @streamify_response
        async def handler(event: int, response_stream: ResponseStream, context: Any) -> None:
            for number in range(50):
                found = current_context()
                assert found is not None
                await response_stream.write(f"{event}:{number}:{found.aws_request_id};")
                await asyncio.sleep(0)
                if event % 5 == 3 and number == event % 50:
                    raise ValueError(str(event))

        async with serving(handler, pollers=64) as api:
            invocations = [(n, api.submit(n)) for n in range(192)]
            for n, invocation in invocations:
                outcome = await invocation.outcome
                fails = n % 5 == 3
                count = n % 50 + 1 if fails else 50
                expected = "".join(f"{n}:{number}:{invocation.request_id};" for number in range(count))
                assert outcome.body == expected.encode()
                assert outcome.complete
                if fails:
                    assert outcome.trailing_error["errorMessage"] == str(n)
                    assert outcome.trailing_error["requestId"] == invocation.request_id
                else:
                    assert outcome.trailers == {}
            assert api.connections == 64

    async def test_a_slow_handler_delays_nobody(self) -> None:
        go_on = asyncio.Event()

        async def handler(event: Any, context: Any) -> Any:
            if event == "slow":
                await go_on.wait()
            return event

        async with serving(handler, pollers=2) as api:
            slow = api.submit("slow")
            for number in range(10):
                assert (await api.invoke(number)).json == number
            assert not slow.outcome.done()
            go_on.set()
            assert (await slow.outcome).json == "slow"

    async def test_a_slow_handler_in_a_thread_delays_nobody(self) -> None:
        import threading

        go_on = threading.Event()

        def handler(event: Any, context: Any) -> Any:
            if event == "slow":
                go_on.wait(10)
            return event

        async with serving(handler, pollers=2) as api:
            slow = api.submit("slow")
            assert (await api.invoke("quick")).json == "quick"
            go_on.set()
            assert (await slow.outcome).json == "slow"

    @pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), BaseException("odd")])
    async def test_a_handler_that_exits_fails_only_its_own_invocation(self, error: BaseException) -> None:
        async def handler(event: Any, context: Any) -> Any:
            if event == "exit":
                raise error
            return event

        async with serving(handler, pollers=2) as api:
            outcome = await api.invoke("exit")
            assert outcome.json["errorType"] == "Runtime.ExitError"
            assert (await api.invoke("on")).json == "on"

    async def test_the_environment_has_no_trace_id(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)

        async def handler(event: Any, context: Any) -> Any:
            return os.environ.get("_X_AMZN_TRACE_ID")

        async with serving(handler, pollers=2) as api:
            assert (await api.invoke()).json is None


class TestStopping:
    async def test_cancels_the_handler_and_still_ends_its_stream(self) -> None:
        from tests.runtime.runtime_api import RuntimeApi
        from winterbourne.connection import RuntimeClient
        from winterbourne.handlers import adapt_handler
        from winterbourne.loop import Poller

        async def hangs(event: Any, context: Any) -> AsyncIterator[str]:
            yield "begun"
            await asyncio.sleep(3600)

        async with RuntimeApi() as api:
            poller = Poller(RuntimeClient(api.address), adapt_handler(hangs), margin_ms=100)
            running = asyncio.create_task(poller.run())
            invocation = api.submit()
            await invocation.arrived.wait()
            poller.stop()
            assert (await invocation.outcome).trailing_error["errorType"] == "ShuttingDown"
            await running
