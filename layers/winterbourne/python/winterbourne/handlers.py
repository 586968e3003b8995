"""Any shape of handler → one way to call it.

Asynchronous handlers run on the loop, synchronous ones in a thread. What they give back decides: an async generator or
a generator streams, anything else is a buffered answer. Three parameters that begin with `scope` are an ASGI
application; three others are event, response stream and context.
"""

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from winterbourne.context import CONTEXT, LambdaContext
from winterbourne.invocation import is_http, is_rest_api
from winterbourne.prelude import Response
from winterbourne.stream import BufferedSink, ResponseStream

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["AsyncHandler", "StreamingHandler", "adapt_handler", "streamify_response"]

T = TypeVar("T")
AsyncHandler = Callable[[Any, ResponseStream, LambdaContext], Awaitable[Any]]

# Threads come when they are needed and stay; those that a cancelled handler still occupies must not starve the others.
MAX_THREADS = 256

POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD

_current_stream: ContextVar[ResponseStream | None] = ContextVar("winterbourne_stream", default=None)


class StreamingHandler:
    """A handler that streams under this layer, and answers buffered under a client that knows no streams.

    Args:
        handler: Any shape that `adapt` takes.
    """

    def __init__(self, handler: Callable[..., Any]) -> None:
        functools.update_wrapper(self, handler)
        # What decorators around this object call, whatever the wrapped function takes.
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(n, POSITIONAL_OR_KEYWORD) for n in ("event", "context")]
        )
        self._serve = _build_async_handler(handler)

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """Under this layer, a coroutine that streams; elsewhere, the buffered answer.

        A decorator of another library sits between the layer and this object and passes on what it returns.
        """
        stream = _current_stream.get()
        if stream is not None:
            return self.serve(event, stream, context)
        return _fallback_event_loop().run_until_complete(self._serve_buffered(event, context))

    async def serve(self, event: Any, stream: ResponseStream, context: LambdaContext) -> Any:
        """Answer one event; a handler that neither streams nor returns anything sends an empty response."""
        result = await self._serve(event, stream, context)
        if result is None and not stream.started:
            await stream.start()
        return result

    async def _serve_buffered(self, event: Any, context: LambdaContext) -> Any:
        CONTEXT.set(context)
        sink = BufferedSink()
        stream = ResponseStream(sink, http=is_http(event), rest_api=is_rest_api(event))
        result = await self.serve(event, stream, context)
        return sink.result(stream.response) if stream.started else result


def streamify_response(handler: Callable[..., Any]) -> StreamingHandler:
    """Make a handler stream: `async def handler(event, response_stream, context)`, as in Lambda's Node.js runtime.

    Takes every other shape as well. The result can also be called as `handler(event, context)`, by Lambda's own Python
    client or by a test, and then returns the response in one piece.
    """
    return StreamingHandler(handler)


def adapt_handler(handler: Callable[..., Any]) -> AsyncHandler:
    """One way to call a handler of any shape.

    Returns:
        A coroutine function of event, response stream and context. What it returns is a buffered answer, unless the
        stream was started.
    """
    if isinstance(handler, StreamingHandler):
        return handler.serve
    return _build_async_handler(handler)


def _build_async_handler(handler: Callable[..., Any]) -> AsyncHandler:
    parameters = _required_parameters(handler)
    if len(parameters) == 3 and parameters[0] == "scope":
        from winterbourne.asgi import AsgiHandler  # noqa: PLC0415 - only where an application is served

        return AsgiHandler(handler)
    call = functools.partial(_invoke, handler, on_loop=_is_async(handler))
    return functools.partial(call, takes_stream=len(parameters) == 3)


async def _invoke(
    handler: Callable[..., Any],
    event: Any,
    stream: ResponseStream,
    context: LambdaContext,
    *,
    on_loop: bool,
    takes_stream: bool,
) -> Any:
    _current_stream.set(stream)
    arguments = (event, stream, context) if takes_stream else (event, context)
    result = handler(*arguments) if on_loop else await _run_in_thread(copy_context(), handler, *arguments)
    return await _resolve_result(result, stream)


async def _resolve_result(result: Any, stream: ResponseStream) -> Any:
    """What a handler gave back → a value, or None where it was streamed."""
    if isinstance(result, AsyncGenerator):
        return await _stream_items(result, stream)
    if isinstance(result, Generator):
        return await _stream_items(_iterate_in_thread(result), stream)
    if isinstance(result, Awaitable):
        return await _resolve_result(await result, stream)
    return result


async def _stream_items(items: AsyncGenerator[Any], stream: ResponseStream) -> None:
    """Push every item; close the generator, whatever happens, so that its `finally` blocks run now."""
    try:
        async for item in items:
            await (stream.start(item) if isinstance(item, Response) else stream.write(item))
    finally:
        await items.aclose()
    if not stream.started:
        await stream.start()


async def _iterate_in_thread(items: Generator[Any]) -> AsyncGenerator[Any]:
    """The items of a generator, each made in a thread; all in one context, and closed when it is not at work."""
    context, exhausted, generator_lock = copy_context(), object(), threading.Lock()

    def next_item() -> Any:
        with generator_lock:
            return next(items, exhausted)

    try:
        while (item := await _run_in_thread(context, next_item)) is not exhausted:
            yield item
    finally:
        # Nobody waits for it: a generator that hangs in a thread cannot be interrupted, and the stream must end.
        _thread_pool().submit(_close_generator, items, generator_lock)


def _close_generator(items: Generator[Any], generator_lock: threading.Lock) -> None:
    try:
        with generator_lock:
            items.close()
    except Exception:
        logging.getLogger(__name__).exception("the generator failed while it was closed")


async def _run_in_thread(context: Context, function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a thread. Cancelling this stops the waiting; a thread cannot be stopped."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        _thread_pool(), functools.partial(context.run, _convert_stop_iteration, function, *arguments)
    )


def _convert_stop_iteration(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except StopIteration as error:  # no future takes it; whoever awaits one would wait for ever
        raise RuntimeError("the handler raised StopIteration") from error


@functools.cache
def _thread_pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where a handler is synchronous

    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="handler")


@functools.cache
def _fallback_event_loop() -> asyncio.AbstractEventLoop:
    """The loop for a client that has none; it lives as long as the process, as what handlers keep on it does."""
    return asyncio.new_event_loop()


def _required_parameters(handler: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except ValueError:  # written in C, without a signature
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty]


def _is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it only makes a coroutine or an async generator; decorators that say what they wrap count."""
    inner = inspect.unwrap(handler)
    call = inner if inspect.isroutine(inner) or isinstance(inner, functools.partial) else type(inner).__call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
