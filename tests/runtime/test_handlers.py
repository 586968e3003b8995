"""Handler adapter: every shape of handler gives the same response, on the loop, in threads, and without streaming."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.runtime.harness import serving, url_event
from winterbourne import LambdaContext, Response, ResponseStream, current_context, streamify_response

HEAD = Response(201, {"content-type": "text/plain"}, ["a=b"])


async def async_generator(event: Any, context: Any) -> AsyncIterator[Any]:
    yield HEAD
    yield "hello "
    yield b"world"


def generator(event: Any, context: Any) -> Iterator[Any]:
    yield HEAD
    yield "hello "
    yield b"world"


async def pushed(event: Any, response_stream: ResponseStream, context: Any) -> None:
    await response_stream.start(HEAD)
    await response_stream.write("hello ")
    await response_stream.write(b"world")


class Instance:
    async def __call__(self, event: Any, context: Any) -> AsyncIterator[Any]:
        yield HEAD
        yield "hello world"


class PlainInstance:
    def __call__(self, event: Any, context: Any) -> Iterator[Any]:
        yield HEAD
        yield "hello world"


class Methods:
    async def handle(self, event: Any, context: Any) -> AsyncIterator[Any]:
        yield HEAD
        yield "hello world"


async def coroutine_of_generator(event: Any, context: Any) -> Any:
    return generator(event, context)


def plain_of_async_generator(event: Any, context: Any) -> Any:
    return async_generator(event, context)


async def with_more(prefix: str, event: Any, context: Any) -> AsyncIterator[Any]:
    yield HEAD
    yield f"{prefix} world"


def pass_through_decorator(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as in other libraries: it passes on whatever the handler returns."""

    @functools.wraps(handler)
    def wrapper(event: Any, context: Any) -> Any:
        return handler(event, context)

    return wrapper


STREAMING: dict[str, Callable[..., Any]] = {
    "async generator": async_generator,
    "generator": generator,
    "three parameters": pushed,
    "streamified": streamify_response(pushed),
    "streamified async generator": streamify_response(async_generator),
    "streamified generator": streamify_response(generator),
    "instance": Instance(),
    "plain instance": PlainInstance(),
    "method": Methods().handle,
    "partial": functools.partial(with_more, "hello"),
    "coroutine that returns a generator": coroutine_of_generator,
    "function that returns an async generator": plain_of_async_generator,
    "decorated async generator": pass_through_decorator(async_generator),
    "decorated streamified": pass_through_decorator(streamify_response(pushed)),
}


@pytest.mark.parametrize("shape", STREAMING)
async def test_a_shape_that_streams_sends_prelude_and_body(shape: str) -> None:
    async with serving(STREAMING[shape]) as api:
        outcome = await api.invoke(url_event())
    assert outcome.streamed
    assert outcome.complete
    assert outcome.prelude == {"statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": ["a=b"]}
    assert outcome.payload == b"hello world"


async def coroutine(event: Any, context: Any) -> Any:
    return {"event": event, "id": context.aws_request_id}


def plain(event: Any, context: Any) -> Any:
    return {"event": event, "id": context.aws_request_id}


async def pushes_nothing(event: Any, response_stream: ResponseStream, context: Any) -> Any:
    return {"event": event, "id": context.aws_request_id}


BUFFERED: dict[str, Callable[..., Any]] = {
    "coroutine": coroutine,
    "plain": plain,
    "streamified coroutine": streamify_response(coroutine),
    "streamified plain": streamify_response(plain),
    "three parameters": pushes_nothing,
    "decorated": pass_through_decorator(coroutine),
}


@pytest.mark.parametrize("shape", BUFFERED)
@pytest.mark.parametrize("event", [{"Records": [{"eventSource": "aws:sqs"}]}, "text", None, [1]])
async def test_a_shape_that_returns_gets_any_event_unchanged_and_responds_buffered(shape: str, event: Any) -> None:
    async with serving(BUFFERED[shape]) as api:
        outcome = await api.invoke(event)
    assert not outcome.streamed
    assert outcome.json == {"event": event, "id": "request-1"}


class TestWithoutAResponse:
    async def empty(self, event: Any, context: Any) -> AsyncIterator[bytes]:
        for item in list[bytes]():
            yield item

    async def test_an_empty_stream_still_has_status_and_headers(self) -> None:
        async with serving(self.empty) as api:
            outcome = await api.invoke(url_event())
        assert outcome.prelude["statusCode"] == 200
        assert outcome.payload == b""

    async def test_a_streamified_handler_that_does_nothing_still_has_status_and_headers(self) -> None:
        @streamify_response
        async def idle(event: Any, response_stream: ResponseStream, context: Any) -> None:
            pass

        async with serving(idle) as api:
            assert (await api.invoke(url_event())).prelude["statusCode"] == 200

    async def test_a_caller_other_than_http_gets_the_bytes_alone(self) -> None:
        @streamify_response
        async def bare(event: Any, response_stream: ResponseStream, context: Any) -> None:
            await response_stream.write(b"bytes")

        async with serving(bare) as api:
            outcome = await api.invoke({"direct": True})
        assert outcome.body == b"bytes"
        assert outcome.headers["content-type"] == "application/octet-stream"

    @pytest.mark.parametrize("status", [204, 302, 304])
    async def test_a_response_without_a_body_is_sent(self, status: int) -> None:
        async def empty(event: Any, context: Any) -> AsyncIterator[Any]:
            yield Response(status, {"location": "/there"})

        async with serving(empty) as api:
            outcome = await api.invoke(url_event("HEAD"))
        assert outcome.prelude["statusCode"] == status
        assert outcome.complete
        assert outcome.trailers == {}


class TestThreads:
    """Synchronous handlers do not block the event loop."""

    async def test_the_loop_keeps_running_while_one_blocks(self) -> None:
        free = threading.Event()

        def blocks(event: Any, context: Any) -> str:
            assert free.wait(10)
            return threading.current_thread().name

        async with serving(blocks) as api:
            waiting = asyncio.create_task(api.invoke())
            await api.polled.wait()
            free.set()  # only a running loop can do this
            assert (await waiting).json.startswith("handler")

    async def test_one_that_raises_stop_iteration_is_not_waited_for_until_the_deadline(self) -> None:
        def takes_the_first_of_nothing(event: Any, context: Any) -> Any:
            return next(iter(event))

        async with serving(takes_the_first_of_nothing) as api:
            error = (await asyncio.wait_for(api.invoke([]), 10)).json
        assert (error["errorType"], error["errorMessage"]) == ("RuntimeError", "the handler raised StopIteration")

    async def test_each_item_of_a_generator_is_sent_before_the_next_is_made(self) -> None:
        seen = threading.Event()

        def items(event: Any, context: Any) -> Iterator[str]:
            yield "first"
            assert seen.wait(10)
            yield "second"

        async with serving(items) as api:
            invocation = api.submit()
            await invocation.arrived.wait()
            seen.set()
            assert (await invocation.outcome).body == b"firstsecond"

    async def test_a_generator_keeps_its_context_variables(self) -> None:
        def items(event: Any, context: Any) -> Iterator[str]:
            for _ in range(2):
                found = current_context()
                assert found is not None
                yield found.aws_request_id

        async with serving(items) as api:
            assert (await api.invoke()).body == b"request-1" * 2


class TestClosing:
    async def test_a_failed_write_closes_the_generator_at_once(self) -> None:
        closed = []

        async def items(event: Any, context: Any) -> AsyncIterator[Any]:
            try:
                yield "fine"
                yield 5
            finally:
                closed.append("async")

        async with serving(items) as api:
            outcome = await api.invoke()
        assert closed == ["async"]
        assert outcome.trailing_error["errorType"] == "TypeError"

    async def test_a_generator_in_a_thread_is_closed_too(self) -> None:
        closed = threading.Event()

        def items(event: Any, context: Any) -> Iterator[Any]:
            try:
                yield "fine"
                yield 5
            finally:
                closed.set()

        async with serving(items) as api:
            await api.invoke()
        assert await asyncio.to_thread(closed.wait, 10)

    async def test_a_generator_that_fails_on_closing_is_logged(self, logged: list[str]) -> None:
        failed = threading.Event()

        def items(event: Any, context: Any) -> Iterator[Any]:
            try:
                yield 5
            finally:
                failed.set()
                raise KeyError("while closing")

        async with serving(items) as api:
            await api.invoke()
            assert await asyncio.to_thread(failed.wait, 10)
        while not any("failed while it was being closed" in line for line in logged):  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.001)


class TestUnderAClientThatCannotStream:
    """The same object, called with event and context."""

    def test_it_responds_buffered(self) -> None:
        answer = streamify_response(pushed)(url_event(), LambdaContext({}))
        assert answer == {
            "statusCode": 201,
            "headers": {"content-type": "text/plain"},
            "cookies": ["a=b"],
            "body": "hello world",
            "isBase64Encoded": False,
        }

    @pytest.mark.parametrize("shape", [async_generator, generator, Instance(), plain_of_async_generator])
    def test_it_responds_buffered_in_every_shape(self, shape: Any) -> None:
        assert streamify_response(shape)(url_event(), LambdaContext({}))["body"] == "hello world"

    def test_a_value_is_returned_as_it_is(self) -> None:
        @streamify_response
        async def returns(event: Any, context: Any) -> Any:
            return [event]

        assert returns(1, LambdaContext({})) == [1]

    def test_one_loop_serves_every_invocation(self) -> None:
        @streamify_response
        async def which(event: Any, context: Any) -> int:
            return id(asyncio.get_running_loop())

        context = LambdaContext({})
        assert which(1, context) == which(2, context)

    def test_it_keeps_the_handlers_name(self) -> None:
        assert vars(streamify_response(pushed))["__name__"] == "pushed"
