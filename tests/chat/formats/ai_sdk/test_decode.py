"""AI SDK chat requests: conversation, client tools, and which messages are new."""

from tests.chat.formats.ai_sdk.ui_messages import assistant, call, user
from tests.chat.formats.wire import read
from winterbourne.chat.core.messages import AssistantMessage, Text, ToolMessage, ToolSchema, UserMessage
from winterbourne.chat.formats.ai_sdk.decode import FORMAT


class TestBodies:
    def test_the_chat_is_the_conversation(self) -> None:
        chat = read(FORMAT, {"id": "chat-1", "messages": [user()]})
        assert chat.conversation_id == "chat-1"
        assert chat.messages == (UserMessage((Text("Hi"),), "u1"),)

    def test_after_client_tools_the_same_answer_continues(self) -> None:
        tools = {"ask": {"description": "Ask", "parameters": {"type": "object"}}}
        answer = assistant(call("output-available", output="yes"))
        chat = read(FORMAT, {"messages": [user(), answer], "tools": tools})
        assert chat.message_id == "a1"
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object", "properties": {}}),)

    def test_only_new_messages_of_a_stored_conversation_are_decoded(self) -> None:
        body = {"messages": [user(), assistant(call("output-available", output=1)), user(id_="u2")], "store": True}
        chat = read(FORMAT, body)
        assert chat.store
        assert chat.messages == (UserMessage((Text("Hi"),), "u2"),)

    def test_only_client_tool_results_of_a_continued_stored_answer_are_new(self) -> None:
        server_call = call("output-available", output=1)
        client_call = {
            "type": "tool-ask",
            "toolCallId": "c2",
            "state": "output-available",
            "input": {},
            "output": "yes",
        }
        tools = {"ask": {"parameters": {"type": "object"}}}
        body = {
            "messages": [user(), assistant({"type": "step-start"}, server_call, client_call)],
            "tools": tools,
            "store": True,
        }
        assert read(FORMAT, body).messages == (ToolMessage("c2", "ask", '"yes"'),)

    def test_of_two_versions_of_an_answer_the_last_counts_in_the_first_place(self) -> None:
        first, last = assistant({"type": "text", "text": "Hel"}), assistant({"type": "text", "text": "Hello"})
        chat = read(FORMAT, {"messages": [user(id_="u1"), first, user(id_="u2"), last, user(id_="u3")]})
        assert chat.messages == (
            UserMessage((Text("Hi"),), "u1"),
            AssistantMessage((Text("Hello"),), "a1"),
            UserMessage((Text("Hi"),), "u2"),
            UserMessage((Text("Hi"),), "u3"),
        )

    def test_of_two_calls_of_one_id_the_last_counts(self) -> None:
        answer = assistant(call("output-available", output=1), call("output-available", output=2))
        chat = read(FORMAT, {"messages": [user(), answer]})
        assert [message.content for message in chat.messages if isinstance(message, ToolMessage)] == ["2"]
