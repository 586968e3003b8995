"""Pollers: next → handle → stream → acknowledge, for the life of the process.

One poller per invocation that may run at once, all on one loop.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from winterbourne.connection import RuntimeClient
from winterbourne.context import CONTEXT, REQUEST_IDS, TRACE_ID
from winterbourne.errors import DeadlineReached, ErrorReport, Fault, RuntimeApiDown, ShuttingDown, WinterbourneError
from winterbourne.handlers import Serve
from winterbourne.invocation import Invocation, encode_result, is_http, is_rest_api
from winterbourne.lifecycle import error_frame
from winterbourne.logs import end_printed_lines, log_error
from winterbourne.stream import Collected, ResponseStream, as_bytes

__all__ = ["Poller"]

log = logging.getLogger(__name__)


class Poller:
    """Serves one invocation after the other.

    Args:
        client: Its own client of the Runtime API.
        serve: The handler.
        margin_ms: How long before the deadline the handler is cancelled.
        collect: Answer in one piece even what was streamed, as `sam local` needs it to show it.
        alone: Whether this is the only poller of the process. Then `_X_AMZN_TRACE_ID` follows the invocation, and a
            handler that exits takes the process with it, both as under the stock client.
    """

    def __init__(
        self, client: RuntimeClient, serve: Serve, *, margin_ms: int, collect: bool = False, alone: bool = True
    ) -> None:
        self._client = client
        self._serve = serve
        self._margin_ms = margin_ms
        self._collect = collect
        self._alone = alone
        self._stopping = self._leaving = self._waiting = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until `stop` or `leave`.

        Raises:
            RuntimeApiDown: The Runtime API is gone.
        """
        while not self._leaving:
            # A task for each, so that what a handler puts into context variables is gone with its invocation.
            self._task = asyncio.create_task(self._one())
            try:
                await self._task
            except asyncio.CancelledError:
                if not self._leaving:
                    raise

    def stop(self) -> None:
        """Cancel what is under way: the wait for an invocation, or the handler, whose stream is still ended."""
        self._stopping = self._leaving = True
        if self._task:
            self._task.cancel()

    def leave(self) -> None:
        """Serve what is under way and nothing after it."""
        self._leaving = True
        if self._task and self._waiting:
            self._task.cancel()

    # Private methods

    async def _one(self) -> None:
        self._waiting = True
        invocation = await self._client.next()
        self._waiting = False
        REQUEST_IDS.set((invocation.request_id, invocation.tenant_id))
        TRACE_ID.set(invocation.trace_id)
        if self._alone:
            _export_trace_id(invocation.trace_id)
        try:
            await self._answer(invocation)
        except RuntimeApiDown:
            raise
        except WinterbourneError as error:
            # The response is lost, the process is not: `next` makes a new connection.
            log.error("the response could not be delivered: %s", error)  # noqa: TRY400 - the traceback is all ours
        end_printed_lines()
        if not self._leaving:
            self._client.ask()

    async def _answer(self, invocation: Invocation) -> None:
        sink = Collected() if self._collect else self._client
        stream = None
        try:
            event, context = invocation.event(), invocation.context()
            CONTEXT.set(context)
            stream = ResponseStream(sink, http=is_http(event), rest_api=is_rest_api(event))
            result = await self._handle(self._serve(event, stream, context), invocation.deadline_ms)
            await self._succeed(stream, sink, result)
        except RuntimeApiDown:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: it becomes a log line and Lambda's error
            await self._fail(ErrorReport(error, invocation.request_id), error)
        finally:
            if stream is not None:
                stream.close()

    async def _handle(self, work: Awaitable[Any], deadline_ms: int) -> Any:
        """Run the handler to its end or its deadline.

        Raises:
            DeadlineReached: It was cancelled for that, and did not return on its own.
            ShuttingDown: Likewise, by `stop`.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is a coroutine
        timer = self._timer(deadline_ms, task)
        try:
            return await work
        except asyncio.CancelledError as error:
            while task.uncancel():  # the stream has still to be ended, by this very task
                pass
            # With the traceback of where the handler was cancelled: that is what it was waiting for.
            raise self._reason(timer).with_traceback(error.__traceback__) from error
        except Exception:
            raise
        except BaseException as error:
            if self._alone:
                raise
            raise Fault("Runtime.ExitError", f"the handler left with {error!r}") from error
        finally:
            if timer is not None:
                timer.cancel()

    def _timer(self, deadline_ms: int, task: "asyncio.Task[Any]") -> asyncio.TimerHandle | None:
        if not deadline_ms:
            return None
        left_s = (deadline_ms - self._margin_ms) / 1000 - time.time()
        return asyncio.get_running_loop().call_later(max(0.0, left_s), task.cancel)

    def _reason(self, timer: asyncio.TimerHandle | None) -> Exception:
        """Why the handler was cancelled."""
        if self._stopping:
            return ShuttingDown("the execution environment is shutting down")
        if timer is not None and asyncio.get_running_loop().time() >= timer.when():
            return DeadlineReached(f"cancelled {self._margin_ms} ms before the deadline")
        return RuntimeError("the handler was cancelled from within")

    async def _succeed(self, stream: ResponseStream, sink: object, result: Any) -> None:
        if isinstance(sink, Collected) and stream.started:
            await self._client.answer(*encode_result(sink.answer(stream.response)))
        elif stream.started:
            await stream.end()
        else:
            await self._client.answer(*encode_result(result))

    async def _fail(self, report: ErrorReport, error: BaseException) -> None:
        log_error(report)
        if self._client.undecided:
            await self._client.report(report)
        elif self._client.sending:
            if frame := _frame(error):
                self._client.send(frame)
            await self._client.fail(report)


def _frame(error: BaseException) -> bytes:
    """The function's own error frame; a hook that fails must not cost the trailers."""
    try:
        return as_bytes(error_frame(error))
    except Exception:
        log.exception("the stream error hook failed")
        return b""


def _export_trace_id(trace_id: str | None) -> None:
    if trace_id is None:
        with suppress(KeyError):
            del os.environ["_X_AMZN_TRACE_ID"]
    else:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
