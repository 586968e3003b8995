"""OpenAI history: which messages of a request become messages of the conversation, and how."""

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Message,
    Opaque,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.openai import FORMAT

PDF = "JVBERi0xLjcK"
HI = {"role": "user", "content": "Hi"}


def without_ids(message: Message) -> Message:
    """The format has no message ids."""
    match message:
        case UserMessage(parts):
            return UserMessage(parts)
        case AssistantMessage(parts):
            return AssistantMessage(parts)
    return message


class TestHistory:
    @given(histories(reasoning=False, errors=False))
    def test_it_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.openai(history)).messages == tuple(without_ids(message) for message in history)

    def test_text_parts_refusals_and_reasoning_are_read(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
        answer = {"role": "assistant", "content": parts, "refusal": "c", "reasoning_content": "hm"}
        developer = {"role": "developer", "content": [{"type": "text", "text": "Be short."}]}
        assert read(FORMAT, {"messages": [developer, HI, answer]}).messages == (
            SystemMessage("Be short."),
            UserMessage((Text("Hi"),)),
            AssistantMessage(
                (Reasoning("hm", opaque=Opaque(field="reasoning_content")), Text("a"), Text("b"), Text("c"))
            ),
        )

    @pytest.mark.parametrize(
        ("file", "expected"),
        [
            ({"filename": "a.pdf", "file_data": PDF}, Document("application/pdf", "a.pdf", PDF)),
            ({"filename": "a.csv", "file_data": "YSxi"}, Document("text/csv", "a.csv", "YSxi")),
            ({"file_data": f"data:application/pdf;base64,{PDF}"}, Document("application/pdf", "", PDF)),
        ],
    )
    def test_a_file_is_a_document(self, file: dict[str, str], expected: Document) -> None:
        message = {"role": "user", "content": [{"type": "file", "file": file}]}
        assert read(FORMAT, {"messages": [message]}).messages == (UserMessage((expected,)),)

    def test_a_file_that_the_provider_keeps_is_rejected_by_name(self) -> None:
        part = {"type": "file", "file": {"file_id": "file-1"}}
        with pytest.raises(RequestRejected, match="file_id") as raised:
            read(FORMAT, {"messages": [{"role": "user", "content": [part]}]})
        assert (raised.value.status, raised.value.code) == (400, "unsupported_media")

    def test_a_call_without_content_is_a_turn(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "ask_user", "arguments": "{}"}}
        messages = [HI, {"role": "assistant", "content": None, "tool_calls": [call]}]
        result = {"role": "tool", "tool_call_id": "c1", "content": "yes"}
        assert read(FORMAT, {"messages": [*messages, result]}).messages[1:] == (
            AssistantMessage((ToolCall("c1", "ask_user", "{}"),)),
            ToolMessage("c1", "ask_user", "yes"),
        )
