"""AG-UI history: which messages of a request become messages of the conversation, and how."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Opaque,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.formats.ag_ui import FORMAT
from winterbourne.chat.formats.ag_ui.history import encode_history


def body(*messages: object) -> dict[str, Any]:
    return {"threadId": "t1", "runId": "r1", "messages": list(messages)}


class TestHistory:
    @given(histories())
    def test_it_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.ag_ui(history)).messages == history

    def test_an_error_of_a_client_tool_is_an_error(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "2", "role": "assistant", "toolCalls": [call]},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "", "error": "denied"},
        ]
        assert read(FORMAT, body(*messages)).messages[1] == ToolMessage("c1", "x", "denied", is_error=True)

    def test_activities_are_left_out_and_developer_messages_are_system_messages(self) -> None:
        messages = [
            {"id": "1", "role": "developer", "content": "Be short."},
            {"id": "2", "role": "activity", "activityType": "PLAN", "content": {}},
            {"id": "3", "role": "user", "content": "Hi"},
        ]
        chat = read(FORMAT, body(*messages))
        assert chat.messages == (SystemMessage("Be short."), UserMessage((Text("Hi"),), "3"))

    def test_reasoning_that_led_to_no_answer_is_dropped(self) -> None:
        messages = [
            {"id": "1", "role": "reasoning", "content": "hm"},
            {"id": "2", "role": "user", "content": "Hi"},
            {"id": "3", "role": "assistant", "content": "Hi"},
        ]
        assert read(FORMAT, body(*messages)).messages[1] == AssistantMessage((Text("Hi"),), "3")

    def test_reasoning_between_a_turns_text_and_its_calls_stays_with_the_turn(self) -> None:
        """The client has text and calls in one message, and the reasoning after it."""
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "r1", "role": "reasoning", "content": "one"},
            {"id": "2", "role": "assistant", "content": "So.", "toolCalls": [call]},
            {"id": "r2", "role": "reasoning", "content": "two"},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "1"},
            {"id": "r3", "role": "reasoning", "content": "three"},
            {"id": "5", "role": "assistant", "content": "Yes."},
        ]
        first, _, second = read(FORMAT, body(*messages)).messages
        assert first == AssistantMessage(
            (Reasoning("one"), Text("So."), Reasoning("two"), ToolCall("c1", "x", "{}")), "2"
        )
        assert second == AssistantMessage((Reasoning("three"), Text("Yes.")), "5")

    def test_an_encrypted_value_of_another_agent_is_ignored(self) -> None:
        messages = [
            {"id": "1", "role": "reasoning", "content": "hm", "encryptedValue": "gAAAA"},
            {"id": "2", "role": "assistant", "content": "Hi"},
        ]
        assert read(FORMAT, body(*messages)).messages[0] == AssistantMessage((Reasoning("hm"), Text("Hi")), "2")

    def test_an_image_of_an_older_client_is_decoded(self) -> None:
        part = {"type": "binary", "mimeType": "image/png", "data": "aGk="}
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": [part]}))
        assert chat.messages == (UserMessage((Image("image/png", "aGk="),), "1"),)

    @pytest.mark.parametrize(
        "message",
        [
            {"id": "1", "role": "robot", "content": "Hi"},
            {"id": "1", "role": "user"},
            {"id": "1", "role": "user", "content": [{"type": "smell"}]},
            {"id": "1", "role": "assistant", "toolCalls": [{"id": ""}]},
        ],
    )
    def test_a_message_of_another_shape_is_rejected(self, message: object) -> None:
        assert rejection(FORMAT, body(message)) == (400, "invalid_request")


class TestKeptMessages:
    """That they are what the client has is shown by the clients themselves, in tests/end_to_end."""

    @given(histories())
    def test_they_come_back_as_they_were_kept(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, body(*encode_history(history))).messages == history

    def test_turns_and_reasoning_have_the_ids_of_the_stream(self) -> None:
        kept: list[Message] = [
            AssistantMessage((Reasoning("hm", "sig"), ToolCall("c1", "x", "{}")), "m"),
            ToolMessage("c1", "x", "18"),
            AssistantMessage((Reasoning("so"), Text("18.")), "m"),
        ]
        messages = encode_history(kept)
        assert [message["id"] for message in messages] == ["m-reasoning-1", "m", "result-c1", "m-reasoning-2", "m-2"]
        assert "encryptedValue" in messages[0]

    def test_results_stand_behind_the_call_where_the_client_puts_them(self) -> None:
        kept: list[Message] = [
            AssistantMessage((Text("a"), ToolCall("c1", "x", "{}"), ToolCall("c2", "x", "{}"), Reasoning("b")), "m"),
            ToolMessage("c1", "x", "1"),
            ToolMessage("c2", "x", "no", is_error=True),
            ToolMessage("c3", "x", "of a call that is not kept"),
        ]
        messages = encode_history(kept)
        assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "reasoning"]
        assert (messages[2]["content"], messages[2]["metadata"]["winterbourne"]["status"]) == (
            '{"error":"no"}',
            "failed",
        )

    def test_what_is_opaque_without_a_text_is_in_the_turns_message(self) -> None:
        call = ToolCall("c1", "x", "{}", Opaque("p:m"))
        [message] = encode_history([AssistantMessage((Text("a"), Reasoning("", "", "redacted"), call), "m")])
        assert "redacted" in message["encryptedValue"]
        assert "p:m" in message["toolCalls"][0]["encryptedValue"]

    def test_more_of_it_is_in_there_too(self) -> None:
        """As OpenAI has it: a message with its phase, reasoning without a summary, a call, more reasoning."""
        fields = ('{"phase":"commentary"}', '{"reasoning_items":[1]}', '{"reasoning_items":[2]}')
        phase, *thoughts = (Reasoning("", opaque=Opaque("p:m", fields=each)) for each in fields)
        call = ToolCall("c1", "x", "{}")
        loaded = encode_history([AssistantMessage((Text("a"), phase, thoughts[0], call, thoughts[1]), "m")])
        turn = read(FORMAT, body(*loaded)).messages[0]
        both = Opaque("p:m", fields='{"phase":"commentary","reasoning_items":[1,2]}')
        assert turn == AssistantMessage((Text("a"), Reasoning("", opaque=both), call), "m")

    def test_a_text_alone_is_no_list_of_parts(self) -> None:
        parts = (Text("a"), Image("image/png", "aGk="), Image("", url="https://example.com/a"))
        first, second = encode_history([UserMessage((Text("Hi"),), "u1"), UserMessage(parts, "u2")])
        assert first["content"] == "Hi"
        assert [part["type"] for part in second["content"]] == ["text", "image", "image"]
