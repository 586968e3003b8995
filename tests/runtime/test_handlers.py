"""Handler adapter: every shape of handler gives the same response, on the loop, in threads, and without streaming."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from tests.runtime.harness import serving, url_event
from winterbourne import LambdaContext, Response, ResponseStream, current_context, streamify_response
from winterbourne.errors import RuntimeFault
from winterbourne.handlers import adapt_handler

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


def with_clock(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that passes one argument more, as metric libraries do."""

    @functools.wraps(function)
    def inner(event: Any, context: Any) -> Any:
        return function(event, context, clock="12:00")

    return inner


def with_clock_for_any(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, clock="12:00", **kwargs)

    return inner


def pass_anything(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def run_to_its_end(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that waits for an asynchronous function by itself, as under a client without an event loop."""

    @functools.wraps(function)
    def inner(event: Any, context: Any) -> Any:
        return asyncio.run(function(event, context))

    return inner


async def awaited(event: Any, context: Any) -> Any:
    await asyncio.sleep(0)
    return "12:00"


async def timed(event: Any, context: Any, clock: str) -> str:
    return clock


def timed_in_a_thread(event: Any, context: Any, clock: str) -> str:
    return clock


class Clock:
    __slots__ = ("__call__",)

    def __init__(self) -> None:
        self.__call__ = self.show

    def show(self, event: Any, context: Any) -> str:
        return "12:00"


class StaticClock:
    @staticmethod
    def __call__(event: Any, context: Any) -> str:
        return "12:00"

    @with_clock_for_any
    def method(self, event: Any, context: Any, clock: str) -> str:
        return clock

    @pass_anything
    def plain_method(self, event: Any, context: Any) -> str:
        return "12:00"


def keyword_only(event: Any, context: Any, *, clock: str = "12:00") -> str:
    return clock


def with_default(event: Any, context: Any, clock: str = "12:00") -> str:
    return clock


def any_arguments(*arguments: Any) -> str:
    return "12:00" if len(arguments) == 2 else "not two"


SHAPES: dict[str, Callable[..., Any]] = {
    "one argument more": with_clock(timed),
    "one argument more, in a thread": with_clock(timed_in_a_thread),
    "one argument more, of any": with_clock_for_any(timed_in_a_thread),
    "two decorators": pass_anything(with_clock(timed)),
    "a partial": functools.partial(timed, clock="12:00"),
    "a partial of a decorator": functools.partial(pass_anything(timed_in_a_thread), clock="12:00"),
    "a decorator that waits": run_to_its_end(awaited),
    "a slot": Clock(),
    "a static call": StaticClock(),
    "a decorated method": StaticClock().method,
    "a method with any arguments": StaticClock().plain_method,
    "keyword only": keyword_only,
    "a default": with_default,
    "any arguments": any_arguments,
    "cached": functools.lru_cache(any_arguments),
    "streamified": streamify_response(with_clock(timed)),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_handler_is_called_as_what_runs(shape: str) -> None:
    async with serving(SHAPES[shape]) as api:
        assert (await api.invoke(1)).json == "12:00"


async def test_a_stream_is_passed_through_decorators_that_take_anything() -> None:
    for handler in (pass_anything(pushed), streamify_response(pass_anything(pushed))):
        async with serving(handler) as api:
            assert (await api.invoke(url_event())).payload == b"hello world"


async def test_what_a_decorator_sets_is_set_in_the_asynchronous_function() -> None:
    variable = ContextVar("variable", default="unset")

    async def handler(event: Any, context: Any) -> str:
        return variable.get()

    @functools.wraps(handler)
    def decorated(event: Any, context: Any) -> Any:
        variable.set("set")
        return handler(event, context)

    async with serving(decorated) as api:
        assert (await api.invoke()).json == "set"


@pytest.mark.parametrize("value", [5, None, "text", {}])
def test_what_is_not_callable_is_one_sentence(value: Any) -> None:
    with pytest.raises(RuntimeFault, match=f"The handler is not callable: it is a {type(value).__name__}"):
        adapt_handler(value)


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

    async def test_one_finds_an_event_loop_as_on_a_main_thread(self) -> None:
        def waits(event: Any, context: Any) -> Any:
            return asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, event))

        async with serving(waits) as api:
            assert [(await api.invoke(n)).json for n in range(2)] == [0, 1]

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
