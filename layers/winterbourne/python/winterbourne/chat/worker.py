"""Tool worker: a Lambda function that runs tools for chats; it takes one `RemoteCall` and returns one `RemoteAnswer`.

A tool is run by the same executor as in a chat: same validation, same timeouts, one answer whatever happens.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from winterbourne import current_trace_id, on_shutdown, retire
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.infra import http_pool, telemetry, tracing
from winterbourne.chat.process_setup import set_up_process
from winterbourne.chat.tool_runtime.discovery import ToolSource, discover, make_executor
from winterbourne.chat.tool_runtime.remote import RemoteAnswer, RemoteCall

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.setting_arguments import SettingArguments

__all__ = ["ToolWorker"]


class ToolWorker:
    """A tool worker: the function that runs what `remote_tool` declares, with memory and a timeout of its own.

    Args:
        tools: As `Chat` takes them; each with the name and the parameters that it has in the chat.
        **settings: As `Chat` takes them; those of tools, HTTP and log have a meaning here.

    Attributes:
        settings: The settings in force, in groups: `settings.tools.tool_concurrency`.

    Raises:
        SettingsError: An argument or variable is missing or invalid; the message names it.
    """

    def __init__(self, *, tools: ToolSource | Iterable[ToolSource], **settings: "Unpack[SettingArguments]") -> None:
        self.settings, self._logger = set_up_process(os.environ, settings)
        self._executor = make_executor(self.settings, discover(tools))
        # Run in reverse order, each even if another one fails.
        on_shutdown(http_pool.close)
        on_shutdown(self._executor.close)

    async def handler(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Run one call: the Lambda handler.

        Args:
            event: The call as the chat sends it: `tool`, `arguments`, `timeout_s`, and optionally `request_id` and
                `caller`.
            context: Lambda's context object.

        Returns:
            `content`, the result as JSON text or an error's message, and `is_error`.

        Raises:
            msgspec.ValidationError: The event is no such call; Lambda reports it as a function error.
        """
        call = msgspec.convert(event, RemoteCall)
        with telemetry.request_scope(context.aws_request_id, self._logger, self.settings.log.service_name):
            http_pool.outgoing_headers.set(tracing.propagated_headers({}, current_trace_id() or ""))
            telemetry.note(tool=call.tool, caller_request_id=call.request_id)
            answer = await self._run(call, context.aws_request_id)
        self._executor.retire_if_stuck(retire)
        return msgspec.structs.asdict(answer)

    async def _run(self, call: RemoteCall, call_id: str) -> RemoteAnswer:
        tool_call = ToolCall(call_id, call.tool, msgspec.json.encode(call.arguments).decode())
        # The executor reserves time for the model's answer; the worker writes none, so the reserve is added back.
        deadline = asyncio.get_running_loop().time() + call.timeout_s + self.settings.tools.tool_answer_reserve
        async with self._executor.turn(
            _discard_events, deadline=deadline, request_id=call.request_id, caller_id=call.caller
        ) as turn:
            turn.start(tool_call)
            (result,) = await turn.results()
        return RemoteAnswer(content=result.content, is_error=result.is_error)


async def _discard_events(batch: EventBatch) -> None:
    """Drop events: the answer is sent in one piece."""
