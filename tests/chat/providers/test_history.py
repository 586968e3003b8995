"""Provider history: a faulty history is normalized before it is sent to a provider."""

from typing import Any

import pytest

from tests.chat.providers.provider_helpers import SETTINGS, request
from winterbourne.chat.core.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.providers.history import normalize_for_provider


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestFaultyHistory:
    def sent(self, module: Any, *messages: Message) -> str:
        body: bytes = module.build_request_body(request(*messages), SETTINGS)
        return body.decode()

    def test_a_call_without_a_result_gets_one(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", "{}"),), incomplete=True)
        assert "there is no result" in self.sent(module, UserMessage((Text("x"),)), call, UserMessage((Text("y"),)))

    def test_a_result_without_a_call_is_left_out(self, module: Any) -> None:
        assert "orphan" not in self.sent(module, UserMessage((Text("x"),)), ToolMessage("z", "f", "orphan"))

    def test_invalid_arguments_go_back_as_an_object(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{"x":'),))
        sent = self.sent(module, UserMessage((Text("x"),)), call, ToolMessage("a", "f", "bad", is_error=True))
        assert "broken_arguments" in sent

    def test_arguments_that_nest_deep_go_back_as_they_were(self, module: Any) -> None:
        deep = '{"x":' + "[" * 500 + "]" * 500 + "}"
        sent = self.sent(module, UserMessage((Text("x"),)), AssistantMessage((ToolCall("a", "f", deep),)))
        assert "[" * 500 + "]" * 500 in sent


def test_a_repeated_call_id_keeps_each_result_with_its_turn() -> None:
    def turn(answer: str) -> tuple[Message, ...]:
        call = AssistantMessage((ToolCall("call_0", "f", "{}"), ToolCall("call_1", "f", "{}")))
        return UserMessage((Text("x"),)), call, ToolMessage("call_1", "f", answer), ToolMessage("call_0", "f", answer)

    messages = normalize_for_provider([*turn("first"), *turn("second")])
    assert [message.tool_call_id for message in messages if isinstance(message, ToolMessage)] == [
        "call_0",
        "call_1",
    ] * 2
    contents = [message.content for message in messages if isinstance(message, ToolMessage)]
    assert contents == ["first", "first", "second", "second"]
