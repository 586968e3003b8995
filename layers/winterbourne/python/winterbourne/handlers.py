"""Handler adapters: wrap every supported kind of handler in one async call signature.

Asynchronous handlers run on the event loop, synchronous ones in a thread pool. A handler that returns a generator or an
async generator streams; any other result is a buffered response. A handler with three parameters is an ASGI application
if the first is called `scope`; otherwise it takes the event, the response stream and the context.

All of this is asked of what a call runs: a decorator may pass on other arguments than it gets, and may itself wait for
an asynchronous handler.
"""

import asyncio
import atexit
import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from winterbourne.errors import RuntimeFault
from winterbourne.invocation import CONTEXT, LambdaContext, find_front_end, is_head_request
from winterbourne.prelude import Response
from winterbourne.stream import ResponseStream, open_stream

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["AsyncHandler", "StreamingHandler", "adapt_handler", "streamify_response"]

T = TypeVar("T")
AsyncHandler = Callable[[Any, ResponseStream, LambdaContext], Awaitable[Any]]

# Threads start on demand and stay. The limit is high because threads of cancelled handlers must not starve the others.
MAX_THREADS = 256

POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD

_current_stream: ContextVar[ResponseStream | None] = ContextVar("winterbourne_stream", default=None)


class StreamingHandler:
    """A handler that streams under this runtime and returns a buffered response under a client that cannot stream.

    Args:
        handler: Any kind of handler that `adapt_handler` accepts.
        takes_large_bodies: Whether it takes the body of a large request as a `LargeBody`.
    """

    def __init__(self, handler: Callable[..., Any], *, takes_large_bodies: bool = False) -> None:
        functools.update_wrapper(self, handler)
        self.takes_large_bodies = takes_large_bodies
        # Decorators around this object call it with these two, whatever the wrapped function takes.
        parameters = [inspect.Parameter(name, POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        self.__signature__ = inspect.Signature(parameters)
        self._serve = adapt_handler(handler)

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """A coroutine that streams under this runtime, or else the buffered response.

        The runtime gets here through decorators of other libraries, which pass the coroutine on.
        """
        if stream := _current_stream.get():
            return self.serve(event, stream, context)
        return _fallback_event_loop().run_until_complete(self._serve_buffered(event, context))

    async def serve(self, event: Any, stream: ResponseStream, context: LambdaContext) -> Any:
        """Handle one event; a handler that neither streams nor returns anything sends an empty response."""
        result = await self._serve(event, stream, context)
        if result is None and not stream.started:
            await stream.end()
        return result

    async def _serve_buffered(self, event: Any, context: LambdaContext) -> Any:
        CONTEXT.set(context)
        stream, sink = open_stream(None, find_front_end(event), is_head=is_head_request(event))
        result = await self.serve(event, stream, context)
        return sink.result(stream.response) if stream.started else result


def streamify_response(handler: Callable[..., Any]) -> StreamingHandler:
    """Make a handler stream: `async def handler(event, response_stream, context)`, as in Lambda's Node.js runtime.

    Args:
        handler: Takes the event, the response stream and the context; or is any other kind of handler, such as a
            generator of chunks or an ASGI application.

    Returns:
        The handler for Lambda. It can also be called as `handler(event, context)`, by Lambda's own Python client or by
        a test, and then returns the response in one piece.
    """
    return StreamingHandler(handler)


def adapt_handler(handler: Callable[..., Any]) -> AsyncHandler:
    """Wrap a handler of any kind.

    Returns:
        A coroutine function of event, response stream and context. Its result is the buffered response, unless the
        stream was started.
    """
    if isinstance(handler, StreamingHandler):
        return handler.serve
    if not callable(handler):
        raise RuntimeFault("Runtime.HandlerNotFound", f"The handler is not callable: it is a {type(handler).__name__}")
    called = _called(handler)
    parameters = _parameters(called)
    if parameters[0].strip("_") == "scope":
        from winterbourne.asgi import AsgiHandler  # noqa: PLC0415 - loaded only to serve an ASGI application

        return AsgiHandler(handler)
    second = parameters[1].lower()
    takes_stream = "context" not in second and "ctx" not in second
    # Whether a call only creates a coroutine or an async generator.
    on_loop = inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)

    async def serve(event: Any, stream: ResponseStream, context: LambdaContext) -> Any:
        _current_stream.set(stream)
        arguments = (event, stream, context) if takes_stream else (event, context)
        if on_loop:
            return await _resolve_result(handler(*arguments), stream)
        thread_context = copy_context()
        result = await _run_in_thread(thread_context, handler, *arguments)
        for variable, value in thread_context.items():  # for what it may have returned to be run here
            variable.set(value)
        return await _resolve_result(result, stream)

    return serve


async def _resolve_result(result: Any, stream: ResponseStream) -> Any:
    """Resolve a handler's result: await an awaitable, stream a generator (and return None), return anything else."""
    if isinstance(result, AsyncGenerator):
        return await _stream_items(result, stream)
    if isinstance(result, Generator):
        return await _stream_items(_iterate_in_thread(result), stream)
    if isinstance(result, Awaitable):
        return await _resolve_result(await result, stream)
    return result


async def _stream_items(items: AsyncGenerator[Any], stream: ResponseStream) -> None:
    """Write every item to the stream; always close the generator, so that its `finally` blocks run now."""
    try:
        async for item in items:
            await (stream.start(item) if isinstance(item, Response) else stream.write(item))
    finally:
        await items.aclose()
    if not stream.started:
        await stream.end()


async def _iterate_in_thread(items: Generator[Any]) -> AsyncGenerator[Any]:
    """Run a generator step by step in threads, all in one context; close it once no step is running."""
    context, exhausted, generator_lock = copy_context(), object(), threading.Lock()

    def next_item() -> Any:
        with generator_lock:
            return next(items, exhausted)

    try:
        while (item := await _run_in_thread(context, next_item)) is not exhausted:
            yield item
    finally:
        # Not awaited: a generator that hangs in a thread cannot be interrupted, and the stream must end.
        _thread_pool().submit(_close_generator, items, generator_lock)


def _close_generator(items: Generator[Any], generator_lock: threading.Lock) -> None:
    try:
        with generator_lock:
            items.close()
    except Exception:
        logging.getLogger(__name__).exception("the generator failed while it was being closed")


async def _run_in_thread(context: Context, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in the thread pool. Cancellation ends the wait; the thread itself cannot be stopped."""
    call = functools.partial(context.run, _call_in_thread, function, *arguments)
    return await asyncio.get_running_loop().run_in_executor(_thread_pool(), call)


_thread = threading.local()


def _call_in_thread(function: Callable[..., T], *arguments: Any) -> T:
    if not hasattr(_thread, "loop"):  # which `asyncio.get_event_loop()` finds here as it does on a main thread
        _thread.loop = _make_loop()
    asyncio.set_event_loop(_thread.loop)  # each time: `asyncio.run` in a handler unsets it
    try:
        return function(*arguments)
    except StopIteration as error:  # a future cannot hold StopIteration: its awaiter would wait forever
        raise RuntimeError("the handler raised StopIteration") from error


@functools.cache
def _thread_pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - loaded only for synchronous handlers

    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="handler")


def _make_loop() -> asyncio.AbstractEventLoop:
    """A loop that is closed at exit, where the log would otherwise be told that it was not."""
    loop = asyncio.new_event_loop()
    atexit.register(lambda: None if loop.is_running() else loop.close())
    return loop


# The loop used under a client without one; open to the end, because handlers keep clients and pools on it.
_fallback_event_loop = functools.cache(_make_loop)


def _called(handler: Any) -> Any:
    """What a call of this handler runs: of an instance its class's `__call__`, which may be a slot or a property."""
    if inspect.isroutine(handler) or isinstance(handler, type | functools.partial):
        return handler
    call = inspect.getattr_static(type(handler), "__call__")
    return _called(call.__get__(handler, type(handler)) if hasattr(call, "__get__") else call)


def _parameters(called: Callable[..., Any]) -> tuple[str, str]:
    """The first two names of exactly three required parameters; `("", "context")` for any other number.

    A decorator that takes any arguments is asked for those of what it decorates.
    """
    signature = _signature(called)
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values()):
        inner = getattr(called, "__wrapped__", None) if inspect.isfunction(called) else None
        if inner is not None:
            return _parameters(_called(inner))
        signature = _signature(called, follow_wrapped=True)
    positional = (inspect.Parameter.POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD)
    given = [each for each in signature.parameters.values() if each.kind in positional]
    required = [each.name for each in given if each.default is inspect.Parameter.empty]
    if [each.name for each in given[:3]] == ["scope", "receive", "send"]:
        return "scope", "receive"
    return (required[0], required[1]) if len(required) == 3 else ("", "context")


def _signature(called: Callable[..., Any], *, follow_wrapped: bool = False) -> inspect.Signature:
    with contextlib.suppress(ValueError, TypeError):  # implemented in C, without a signature
        return inspect.signature(called, follow_wrapped=follow_wrapped)
    return inspect.Signature()
