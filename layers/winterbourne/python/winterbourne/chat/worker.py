"""Tool worker: a Lambda function that runs tools for chats; it takes one `RemoteCall`, gives one `RemoteAnswer`.

A tool is run by the same executor as in a chat: same validation, same timeouts, one answer whatever happens. Closing
the connection does not end a Lambda function, so a stop is a signal in the chat's store, if the worker has that too.
"""

import asyncio
import functools
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from winterbourne import current_trace_id, on_shutdown, retire
from winterbourne.chat.core.events import EventBatch, ToolProgressed
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.infra import http_pool, telemetry, tracing
from winterbourne.chat.process_setup import set_up_process
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.stop_signals import TOOL_CALL, StopSignals
from winterbourne.chat.tool_runtime.call_group import cancel_and_wait
from winterbourne.chat.tool_runtime.discovery import ToolSource, discover, make_executor
from winterbourne.chat.tool_runtime.remote import MAX_PROGRESS_BYTES, RemoteAnswer, RemoteCall, encode_progress

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.infra.otlp import Tracer
    from winterbourne.chat.setting_arguments import SettingArguments

__all__ = ["ToolWorker"]


class ToolWorker:
    """A tool worker: the function that runs what `remote_tool` declares, with memory and a timeout of its own.

    Args:
        tools: As `Chat` takes them; each with the name and the parameters that it has in the chat.
        **settings: As `Chat` takes them; those of tools, HTTP, storage and log have a meaning here. With the chat's
            store, a stop that the chat writes there ends a call here.

    Attributes:
        settings: The settings in force, in groups: `settings.tools.tool_concurrency`.

    Raises:
        SettingsError: An argument or variable is missing or invalid; the message names it.
    """

    def __init__(self, *, tools: ToolSource | Iterable[ToolSource], **settings: "Unpack[SettingArguments]") -> None:
        self.settings, self._logger = set_up_process(os.environ, settings)
        self._executor = make_executor(self.settings, discover(tools))
        store = make_store(self.settings.storage.store)
        self._stop_signals = StopSignals(store, self.settings.storage.stop_poll_interval)
        self._can_be_stopped = store.is_shared
        # Run in reverse order, each even if another one fails.
        on_shutdown(http_pool.close)
        on_shutdown(store.close)
        on_shutdown(self._executor.close)

    async def handler(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Run one call: the Lambda handler.

        Args:
            event: The call as the chat sends it: `tool`, `arguments`, `timeout_s`, and optionally `request_id`,
                `caller`, `stream`, `stop_key`, `idempotency_key`, `traceparent` and `wants_spans`.
            context: Lambda's context object.

        Returns:
            `content`, the result as JSON text or an error's message, and `is_error`. With `stream`, which is for
            the runtime, an async generator of a response's lines: `{"progress":…}` for each progress, then those two,
            and `spans` if the chat wants them.

        Raises:
            msgspec.ValidationError: The event is no such call; Lambda reports it as a function error.
        """
        call = msgspec.convert(event, RemoteCall)
        if call.stream:
            return cast("dict[str, Any]", self._stream(call, context.aws_request_id))  # a chat asks for it, no caller
        answer = await self._answer(call, context.aws_request_id, lambda _: None)
        return {"content": answer.content, "is_error": answer.is_error}

    async def _stream(self, call: RemoteCall, request_id: str) -> AsyncGenerator[bytes, None]:
        lines, left = asyncio.Queue[bytes](), MAX_PROGRESS_BYTES  # which bounds the queue too

        def report(data: bytes) -> None:
            nonlocal left
            left -= len(line := encode_progress(data))
            if left >= 0:
                lines.put_nowait(line)

        answering = asyncio.create_task(self._answer(call, request_id, report))
        answering.add_done_callback(lambda _: lines.put_nowait(b""))
        try:
            while line := await lines.get():
                yield line
            yield msgspec.json.encode(await answering)
        finally:
            await cancel_and_wait((answering,))

    async def _answer(self, call: RemoteCall, request_id: str, report: Callable[[bytes], None]) -> RemoteAnswer:
        log = self.settings.log
        trace = tracing.propagated_headers({"traceparent": call.traceparent}, current_trace_id() or "")
        span = self._tracer.begin(trace, self._tracer.service_name, request_id) if call.wants_spans else None
        with telemetry.request_scope(request_id, self._logger, log.service_name, log.metrics):
            http_pool.outgoing_headers.set(trace)
            telemetry.note(tool=call.tool, caller_request_id=call.request_id)
            with span or tracing.NO_SPAN:
                answer = await self._run(call, request_id, report)
        self._executor.retire_if_stuck(retire)
        return msgspec.structs.replace(answer, spans=msgspec.Raw(self._tracer.encode(span.trace))) if span else answer

    @functools.cached_property
    def _tracer(self) -> "Tracer":
        from winterbourne.chat.infra.otlp import Tracer  # noqa: PLC0415 - only for a chat that is traced

        return Tracer(self.settings.traces, self.settings.log)

    async def _run(self, call: RemoteCall, call_id: str, report: Callable[[bytes], None]) -> RemoteAnswer:
        async def emit(batch: EventBatch) -> None:
            for event in batch:
                if isinstance(event, ToolProgressed):
                    report(event.data)

        tool_call = ToolCall(call_id, call.tool, msgspec.json.encode(call.arguments).decode())
        # The executor reserves time for the model's answer; the worker writes none, so the reserve is added back.
        deadline = asyncio.get_running_loop().time() + call.timeout_s + self.settings.tools.tool_answer_reserve
        async with self._executor.turn(
            emit, deadline=deadline, request_id=call.request_id, caller_id=call.caller
        ) as turn:
            turn.start(tool_call, idempotency_key=call.idempotency_key)
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(turn.results())]
            if call.stop_key and self._can_be_stopped:
                waits.append(asyncio.create_task(self._stop_signals.wait(call.stop_key, TOOL_CALL, since_ms=1)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_and_wait(waits)
        (result,) = await turn.results()  # after a stop, that it was stopped
        return RemoteAnswer(content=result.content, is_error=result.is_error)
