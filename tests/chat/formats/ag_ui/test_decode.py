"""AG-UI run requests: thread, client tools, context, and the order of results."""

from typing import Any

from tests.chat.formats.wire import read
from winterbourne.chat.core.messages import AssistantMessage, Text, ToolMessage, ToolSchema, UserMessage
from winterbourne.chat.formats.ag_ui.decode import FORMAT


def body(*messages: object, **more: object) -> dict[str, Any]:
    return {"threadId": "t1", "runId": "r1", "messages": list(messages), **more}


class TestBodies:
    def test_the_thread_is_the_conversation(self) -> None:
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}))
        assert (chat.conversation_id, chat.messages) == ("t1", (UserMessage((Text("Hi"),), "1"),))

    def test_client_tools_are_passed_on(self) -> None:
        tool = {"name": "ask", "description": "Ask", "parameters": {"type": "object"}}
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, tools=[tool]))
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object", "properties": {}}),)

    def test_the_context_comes_first(self) -> None:
        context = [{"description": "The user's name", "value": "Ada"}, {"description": "Plan", "value": "free"}]
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, context=context))
        assert chat.messages[0] == UserMessage((Text("The user's name: Ada\nPlan: free"),))

    def test_a_late_result_is_moved_to_its_call(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "1", "role": "user", "content": "Hi"},
            {"id": "2", "role": "assistant", "toolCalls": [call]},
            {"id": "3", "role": "assistant", "content": "Meanwhile"},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "1"},
        ]
        kinds = [type(message) for message in read(FORMAT, body(*messages)).messages]
        assert kinds == [UserMessage, AssistantMessage, ToolMessage, AssistantMessage]
