"""The invocation loop: pollers that fetch an invocation, run the handler, send its response, and repeat.

There is one poller per concurrent invocation, all on one event loop.
"""

import asyncio
import faulthandler
import logging
import os
import time
from collections.abc import Awaitable
from typing import Any

from winterbourne.connection import RuntimeClient
from winterbourne.errors import (
    DeadlineReached,
    ErrorReport,
    RuntimeApiUnavailable,
    RuntimeFault,
    ShuttingDown,
    WinterbourneError,
)
from winterbourne.handlers import AsyncHandler, StreamingHandler
from winterbourne.invocation import (
    CONTEXT,
    TRACE_ID,
    LambdaContext,
    encode_result,
    find_front_end,
    is_head_request,
    parse_event,
)
from winterbourne.lifecycle import error_frame
from winterbourne.logs import REQUEST_IDS, flush_partial_lines, log_error
from winterbourne.protocol import Reply, State
from winterbourne.stream import BufferedSink, as_bytes, open_stream
from winterbourne.watchdog import WATCHDOG, InFlight
from winterbourne.write_lock import LOCK

__all__ = ["Poller"]

_LOGGER = logging.getLogger(__name__)


class Poller:
    """Serves one invocation at a time.

    Args:
        client: This poller's own Runtime API client.
        handler: The adapted handler.
        margin_ms: How many milliseconds before the deadline the handler is cancelled.
        buffered: Send streamed responses in one piece, which is all that `sam local` can show.
        sole: Whether this is the only poller of the process. If so, `_X_AMZN_TRACE_ID` is set for each invocation and a
            handler that exits ends the process, both as under awslambdaric.
    """

    def __init__(
        self, client: RuntimeClient, handler: AsyncHandler, *, margin_ms: int, buffered: bool = False, sole: bool = True
    ) -> None:
        self._client = client
        self._handler = handler
        adapted = getattr(handler, "__self__", None)  # not what a decorator has made of it, which may read the body
        self._takes_large = isinstance(adapted, StreamingHandler) and adapted.takes_large_bodies
        self._margin_ms = margin_ms
        self._buffered = buffered
        self._sole = sole
        self._stopping = self._draining = self._connecting = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve invocations until `stop` or `drain`.

        Raises:
            RuntimeApiUnavailable: The Runtime API cannot be reached or answered 500.
        """
        while not self._draining or (self.is_polling and not self._stopping):
            # One task per invocation, so that context variables set by a handler do not outlive its invocation.
            self._task = asyncio.create_task(self._serve_one())
            try:
                await self._task
            except asyncio.CancelledError:
                if not self._draining:
                    raise

    def stop(self) -> None:
        """Stop now: cancel the wait for an invocation, or the handler; its stream is still ended properly."""
        self._stopping = self._draining = True
        if self._task:
            self._task.cancel()

    def drain(self) -> None:
        """Stop gracefully: finish the current invocation, or one that is just being handed out, and accept no more."""
        self._draining = True
        if self.is_polling:
            self._client.withdraw()
        elif self._task and self._connecting and self._client.state is State.IDLE:  # else an invocation has arrived
            self._task.cancel()

    @property
    def is_polling(self) -> bool:
        """Whether an invocation has been requested and none has arrived."""
        return self._client.state is State.POLLING

    async def _serve_one(self) -> None:
        self._connecting = True  # unless it is polling already
        invocation = await self._client.next_invocation()
        self._connecting = False
        if invocation is None:
            return
        trace_id = invocation.headers.get("lambda-runtime-trace-id")
        TRACE_ID.set(trace_id or "")
        if self._sole:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
            if trace_id is not None:
                os.environ["_X_AMZN_TRACE_ID"] = trace_id
        try:
            await self._handle_invocation(invocation)
        except RuntimeApiUnavailable:
            raise
        except WinterbourneError as error:
            # Only this response is lost: `next_invocation` reconnects.
            _LOGGER.error("the response could not be delivered: %s", error)  # noqa: TRY400 - the traceback shows only runtime code
        flush_partial_lines()
        if not self._draining:
            self._client.request_next()

    async def _handle_invocation(self, invocation: Reply) -> None:
        headers = invocation.headers
        request_id = headers.get("lambda-runtime-aws-request-id", "")
        REQUEST_IDS.set((request_id, headers.get("lambda-runtime-aws-tenant-id")))
        stream = watched = None
        try:
            event = parse_event(headers, invocation.pieces, takes_large=self._takes_large)
            context = LambdaContext(headers)
            CONTEXT.set(context)
            client = None if self._buffered else self._client
            stream, sink = open_stream(client, find_front_end(event), is_head=is_head_request(event))
            deadline_ms = int(headers.get("lambda-runtime-deadline-ms", 0))
            streamed = None if isinstance(sink, BufferedSink) else stream
            watched = InFlight(self._client, streamed, request_id, deadline_ms, self._margin_ms)
            WATCHDOG.in_flight.add(watched)
            WATCHDOG.wake.set()
            result = await self._run_with_deadline(self._handler(event, stream, context), deadline_ms)
            if isinstance(sink, BufferedSink) and stream.started:
                result = sink.result(stream.response)
            elif stream.started:
                await stream.end()
                return
            encoded = encode_result(result)
            await self._client.deliver(lambda protocol: protocol.send_response(*encoded))
        except RuntimeApiUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - boundary: logged and reported to Lambda
            await self._fail_response(ErrorReport(error, request_id), error)
        finally:
            if stream is not None and not stream.ended:
                stream.close()
            if watched:
                with LOCK:
                    WATCHDOG.in_flight.discard(watched)
                    WATCHDOG.traced = None
                    faulthandler.cancel_dump_traceback_later()  # else it is written when a frozen process thaws

    async def _run_with_deadline(self, handler_call: Awaitable[Any], deadline_ms: int) -> Any:
        """Run the handler; cancel it shortly before the deadline.

        Raises:
            DeadlineReached: The handler was cancelled because of the deadline and did not return normally.
            ShuttingDown: The same, because of `stop`.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is a coroutine
        remaining_s = (deadline_ms - self._margin_ms) / 1000 - time.time()
        timer = loop.call_later(max(0.0, remaining_s), task.cancel) if deadline_ms else None
        try:
            return await handler_call
        except asyncio.CancelledError as error:
            while task.uncancel():  # this same task must still end the stream
                pass
            # Of the cancellation keep only the traceback: it shows what the handler was waiting for.
            raise self._cancellation_error(timer).with_traceback(error.__traceback__) from None
        except BaseException as error:
            if self._sole or isinstance(error, Exception):
                raise
            raise RuntimeFault("Runtime.ExitError", f"the handler exited with {error!r}") from error
        finally:
            if timer is not None:
                timer.cancel()

    def _cancellation_error(self, timer: asyncio.TimerHandle | None) -> Exception:
        """The exception that says why the handler was cancelled."""
        if self._stopping:
            return ShuttingDown("the execution environment is shutting down")
        if timer is not None and asyncio.get_running_loop().time() >= timer.when():
            return DeadlineReached(f"cancelled {self._margin_ms} ms before the deadline")
        return RuntimeError("the handler was cancelled from within")

    async def _fail_response(self, report: ErrorReport, error: BaseException) -> None:
        log_error(report.log_document)
        if self._client.state is State.HANDLING:
            await self._client.deliver(lambda protocol: protocol.send_error(report))
        elif self._client.state is State.STREAMING:
            if frame := _safe_error_frame(error):
                self._client.write(frame)
            await self._client.deliver(lambda protocol: protocol.fail_response(report))


def _safe_error_frame(error: BaseException) -> bytes:
    """The function's own error frame; empty if its hook fails, so that the trailers are still sent."""
    try:
        return as_bytes(error_frame(error))
    except Exception:
        _LOGGER.exception("the stream error hook failed")
        return b""
