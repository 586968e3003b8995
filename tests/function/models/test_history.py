"""Histories with faults are mended before a provider sees them."""

from typing import Any

import pytest

from chat.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from chat.models import anthropic, bedrock, openai
from tests.function.models.talk import (
    SETTINGS,
    request,
)


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestHistoriesWithFaults:
    def sent(self, module: Any, *messages: Message) -> str:
        body: bytes = module.body(request(*messages), SETTINGS)
        return body.decode()

    def test_a_call_without_a_result_gets_one(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", "{}"),), incomplete=True)
        assert "there is no result" in self.sent(module, UserMessage((Text("x"),)), call, UserMessage((Text("y"),)))

    def test_a_result_without_a_call_is_left_out(self, module: Any) -> None:
        assert "orphan" not in self.sent(module, UserMessage((Text("x"),)), ToolMessage("z", "f", "orphan"))

    def test_broken_arguments_go_back_as_an_object(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{"x":'),))
        sent = self.sent(module, UserMessage((Text("x"),)), call, ToolMessage("a", "f", "bad", is_error=True))
        assert "broken_arguments" in sent
