"""Provider history: what a broken history, once normalized, looks like in each provider's request."""

from typing import Any

import pytest

from tests.chat.providers.provider_helpers import SETTINGS, folded
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.providers import anthropic, bedrock, openai


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestBrokenHistory:
    def sent(self, module: Any, *messages: Message) -> str:
        body: bytes = module.build_request_body(folded(*normalize_history(messages)), SETTINGS, {})
        return body.decode()

    def test_a_call_without_a_result_has_one(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", "{}"),), incomplete=True)
        sent = self.sent(module, UserMessage((Text("x"),)), call, UserMessage((Text("y"),)))
        assert sent.count(INTERRUPTED_CALL_RESULT) == 1

    def test_invalid_arguments_go_back_as_an_object(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{"x":'),))
        sent = self.sent(module, UserMessage((Text("x"),)), call, ToolMessage("a", "f", "bad", is_error=True))
        assert "broken_arguments" in sent

    def test_arguments_that_nest_deep_go_back_as_they_were(self, module: Any) -> None:
        deep = '{"x":' + "[" * 500 + "]" * 500 + "}"
        sent = self.sent(module, UserMessage((Text("x"),)), AssistantMessage((ToolCall("a", "f", deep),)))
        assert "[" * 500 + "]" * 500 in sent

    def test_a_turn_of_only_reasoning_is_left_out(self, module: Any) -> None:
        thought = AssistantMessage((Reasoning("hm"), Text("")))
        sent = self.sent(module, UserMessage((Text("x"),)), thought, UserMessage((Text("y"),)))
        assert "assistant" not in sent
        assert "hm" not in sent

    def test_system_messages_are_only_in_the_system_prompt(self, module: Any) -> None:
        assert self.sent(module, SystemMessage("Be kind."), UserMessage((Text("x"),))).count("Be kind.") == 1
