"""OpenAI history: which messages of a request become messages of the conversation, and how."""

from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Opaque,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.formats.openai.decode import FORMAT

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

    def test_a_call_without_content_is_a_turn(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "ask_user", "arguments": "{}"}}
        messages = [HI, {"role": "assistant", "content": None, "tool_calls": [call]}]
        result = {"role": "tool", "tool_call_id": "c1", "content": "yes"}
        assert read(FORMAT, {"messages": [*messages, result]}).messages[1:] == (
            AssistantMessage((ToolCall("c1", "ask_user", "{}"),)),
            ToolMessage("c1", "ask_user", "yes"),
        )
