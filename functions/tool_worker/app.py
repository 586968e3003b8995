"""Tool worker: the Lambda handler that takes one `RemoteCall` and returns one `RemoteAnswer`.

The tool is run by the same executor as in the chat: same validation, same timeouts, one answer whatever happens.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from tool_worker import tools
from winterbourne import current_trace_id, on_shutdown, retire
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.infra import http_pool, telemetry, tracing
from winterbourne.chat.process_setup import set_up_process
from winterbourne.chat.tool_runtime.discovery import add_tools, discover
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.remote import RemoteAnswer, RemoteCall

__all__ = ["handler"]

_settings, _logger = set_up_process(os.environ)
_executor = ToolExecutor((), _settings.tools, keys=_settings.values(), log_messages=_settings.log.log_messages)
add_tools(_executor, discover(tools))


# Run in reverse order, each even if another one fails.
on_shutdown(http_pool.close)
on_shutdown(_executor.close)


async def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Run one call.

    Args:
        event: The fields of a RemoteCall.
        context: Lambda's context object.

    Returns:
        The fields of a RemoteAnswer.

    Raises:
        msgspec.ValidationError: The event is not a RemoteCall; Lambda reports it as a function error.
    """
    call = msgspec.convert(event, RemoteCall)
    with telemetry.request_scope(context.aws_request_id, _logger, _settings.log.service_name):
        http_pool.outgoing_headers.set(tracing.propagated_headers({}, current_trace_id() or ""))
        telemetry.note(tool=call.tool, caller_request_id=call.request_id)
        tool_call = ToolCall(context.aws_request_id, call.tool, msgspec.json.encode(call.arguments).decode())
        # The executor reserves time for the model's answer; the worker writes none, so the reserve is added back.
        deadline = asyncio.get_running_loop().time() + call.timeout_s + _settings.tools.tool_answer_reserve
        async with _executor.turn(
            _discard_events, deadline=deadline, request_id=call.request_id, caller_id=call.caller
        ) as turn:
            turn.start(tool_call)
            (result,) = await turn.results()
    _executor.retire_if_stuck(retire)
    return msgspec.structs.asdict(RemoteAnswer(content=result.content, is_error=result.is_error))


async def _discard_events(batch: EventBatch) -> None:
    """Drop events: the answer is sent in one piece."""
