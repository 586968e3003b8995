"""The function that `bench_tools` invokes: our conversation and tool runtime, with stub provider and tools."""

import json
from typing import Any

from tests.bench.tools_function.scripted_provider import ToolCallingProvider, wait, work
from winterbourne import Response, ResponseStream, streamify_response
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ChatRequest, Text, UserMessage
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.tool_runtime.executor import ToolExecutor

_executor = ToolExecutor([work, wait])


@streamify_response
async def handler(event: dict[str, Any], response_stream: ResponseStream, _: object) -> None:
    """Run the turn that the body describes: `{"turn_s": …, "tools_s": […], "tool": …}`."""
    asked = json.loads(event["body"])
    encoder = NativeEncoder()

    async def emit(batch: EventBatch) -> None:
        if data := encoder.encode(batch):
            await response_stream.write(data)

    await response_stream.start(Response(200, {"content-type": "text/event-stream"}))
    await Conversation(
        request=ChatRequest(messages=(UserMessage((Text("go"),)),)),
        provider=ToolCallingProvider(**asked),
        tools=_executor,
        emit=emit,
        on_message=lambda _: None,
        on_usage=lambda _: None,
        max_turns=2,
    ).run()
