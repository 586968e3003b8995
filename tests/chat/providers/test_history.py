"""Provider history: what a broken history, once normalized, looks like in each provider's request."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.providers import provider_helpers
from tests.chat.providers.provider_helpers import SETTINGS, body_of, folded
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.providers.history import EMPTY_RESULT, NAME_RULE, OPENING, arguments_json
from winterbourne.chat.settings import ModelSettings, Settings

HI = UserMessage((Text("Hi"),))
BYE = UserMessage((Text("Bye"),))
MISTRAL = Settings.of(openai_base_url="https://api.mistral.ai/v1").model
OFFICIAL = Settings.of(openai_base_url="https://api.openai.com/v1", openai_api="chat").model


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestBrokenHistory:
    def sent(self, module: Any, *messages: Message) -> str:
        return provider_helpers.encoded(module, folded(*normalize_history(messages))).decode()

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


def encoded(module: Any, *messages: Message, settings: ModelSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    request = ModelRequest(messages=normalize_history(messages), **options)
    return body_of(module, request, settings)


def answered(*calls: ToolCall) -> tuple[Message, ...]:
    """A turn with calls, and their results."""
    return AssistantMessage(calls), *(ToolMessage(call.id, call.name, "1") for call in calls)


def ids_and_names(module: Any, body: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The ids of calls, the ids of results and the names of called tools, each in order."""
    if module is openai:
        calls = [call for message in body["messages"] for call in message.get("tool_calls", ())]
        results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
        return [call["id"] for call in calls], results, [call["function"]["name"] for call in calls]
    blocks = [block for message in body["messages"] for block in message["content"]]
    if module is anthropic:
        uses = [block for block in blocks if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        return [use["id"] for use in uses], results, [use["name"] for use in uses]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
    return [use["toolUseId"] for use in uses], results, [use["name"] for use in uses]


def check_anthropic(body: dict[str, Any]) -> None:
    check_alternation(body["messages"])
    for message in body["messages"]:
        assert message["content"]
        for block in message["content"]:
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] != "tool_result" or block["content"].strip()


def check_bedrock(body: dict[str, Any]) -> None:
    check_alternation(body["messages"])
    for message in body["messages"]:
        assert message["content"]
        for block in message["content"]:
            assert "text" not in block or block["text"].strip()
            assert "toolResult" not in block or block["toolResult"]["content"][0]["text"].strip()
            assert ("toolUse" not in block and "toolResult" not in block) or body["toolConfig"]["tools"]


def check_alternation(messages: list[dict[str, Any]]) -> None:
    assert not messages or messages[0]["role"] == "user"
    assert all(one["role"] != other["role"] for one, other in pairwise(messages))


def check_openai(body: dict[str, Any]) -> None:
    check_alternation([message for message in body["messages"] if message["role"] not in {"system", "tool"}][:1])
    for one, other in pairwise(body["messages"]):
        assert one["role"] != other["role"] or one["role"] == "tool"
    for message in body["messages"]:
        assert message["content"] or message.get("tool_calls")
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content or "x"}]:
            assert part["type"] != "text" or part["text"].strip()


CHECKS = {anthropic: check_anthropic, bedrock: check_bedrock, openai: check_openai}

odd_texts = st.sampled_from(["", "x", "x" * 65, "functions.calculate:3", "#lookUp", "a.b", "ü", "call_1"]) | st.text()
blank_or_text = st.sampled_from(["", " \n", "a"]).map(Text)
image_parts = st.just(Image("image/png", "aGk="))
odd_histories = st.lists(
    st.builds(UserMessage, st.lists(blank_or_text | image_parts, max_size=3).map(tuple))
    | st.builds(
        AssistantMessage,
        st.lists(blank_or_text | st.builds(ToolCall, odd_texts, odd_texts, st.just("{}")), max_size=3).map(tuple),
    )
    | st.builds(ToolMessage, odd_texts, st.just(""), st.sampled_from(["", " ", "1"])),
    max_size=6,
)


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestRules:
    @given(messages=odd_histories)
    def test_hold_for_any_history(self, module: Any, messages: list[Message]) -> None:
        body = encoded(module, *messages)
        CHECKS[module](body)
        calls, results, names = ids_and_names(module, body)
        assert calls == results
        assert all(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}", name) for name in names)
        assert len(set(calls)) == len(calls)
        if module is not openai:
            assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call) for call in calls)

    def test_a_greeting_is_preceded_by_a_turn_of_the_user(self, module: Any) -> None:
        body = encoded(module, AssistantMessage((Text("Welcome!"),)), HI)
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert OPENING in str(body["messages"][0])

    def test_two_questions_in_a_row_are_one_message_of_two_paragraphs(self, module: Any) -> None:
        (message,) = encoded(module, HI, BYE)["messages"]
        content = message["content"]
        texts = [content] if isinstance(content, str) else [block["text"] for block in content]
        assert texts in (["Hi\n\nBye"], ["Hi", "Bye"])

    def test_an_empty_result_says_so(self, module: Any) -> None:
        body = encoded(module, HI, AssistantMessage((ToolCall("a", "f", "{}"),)), ToolMessage("a", "f", " "))
        assert str(body["messages"]).count(EMPTY_RESULT) == 1

    def test_a_name_that_a_model_made_up_fits(self, module: Any) -> None:
        _, _, names = ids_and_names(module, encoded(module, HI, *answered(ToolCall("a", "#lookUp", "{}"))))
        assert names == [NAME_RULE.fit("#lookUp")]
        assert re.fullmatch(r"x__lookUp_[0-9a-f]{12}", names[0])

    def test_a_tool_that_is_offered_keeps_its_name(self, module: Any) -> None:
        tools = (ToolSchema("3d_view", "", {"type": "object"}),)
        _, _, names = ids_and_names(module, encoded(module, HI, *answered(ToolCall("a", "3d_view", "{}")), tools=tools))
        assert names == ["3d_view"]

    @pytest.mark.parametrize("name", ["9lives", "-a", "9" * 70, "", "数"])
    def test_any_other_name_begins_with_a_letter(self, module: Any, name: str) -> None:
        _, _, [sent] = ids_and_names(module, encoded(module, HI, *answered(ToolCall("a", name, "{}"))))
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}", sent)

    def test_an_id_that_comes_in_two_turns_is_unique(self, module: Any) -> None:
        turn = answered(ToolCall("a", "f", "{}"))
        sent, results, _ = ids_and_names(module, encoded(module, HI, *turn, BYE, *turn))
        assert sent == results
        assert sent == ["a", "2_a"]


@pytest.mark.parametrize("module", [anthropic, bedrock])
class TestBlocks:
    def test_a_history_with_calls_has_tools_even_if_none_is_offered(self, module: Any) -> None:
        body = encoded(module, HI, *answered(ToolCall("a", "gone", "{}")))
        assert "gone" in str(body["tools"] if module is anthropic else body["toolConfig"]["tools"])
        assert module is bedrock or body["tool_choice"] == {"type": "none"}

    def test_the_tools_that_are_offered_are_enough(self, module: Any) -> None:
        body = encoded(module, HI, *answered(ToolCall("a", "gone", "{}")), tools=(ToolSchema("here", "", {}),))
        assert "gone" not in str(body["tools"] if module is anthropic else body["toolConfig"]["tools"])

    def test_ids_of_another_provider_fit_and_stay_apart(self, module: Any) -> None:
        calls = [ToolCall("functions.f:3", "f", "{}"), ToolCall("functions_f_3", "f", "{}"), ToolCall("f:3", "f", "{}")]
        sent, results, _ = ids_and_names(module, encoded(module, HI, *answered(*calls)))
        assert sent == results
        assert len(set(sent)) == 3
        assert sent[1] == "functions_f_3"


class TestIdsOfCompatibleServers:
    SIGNED = "call_1__thought__" + "aB+/" * 300

    def sent(self, call_id: str, settings: ModelSettings, **options: Any) -> str:
        body = encoded(openai, HI, *answered(ToolCall(call_id, "f", "{}")), settings=settings, **options)
        (sent,), results, _ = ids_and_names(openai, body)
        assert results == [sent]
        return sent

    def test_go_back_as_they_came(self) -> None:
        assert self.sent(self.SIGNED, SETTINGS) == self.SIGNED

    def test_are_nine_letters_and_digits_for_mistral(self) -> None:
        assert re.fullmatch(r"[a-zA-Z0-9]{9}", self.sent("call_abcdefghijkl", MISTRAL))
        assert re.fullmatch(r"[a-zA-Z0-9]{9}", self.sent("call_a", SETTINGS, model_id="mistralai/Devstral-Small"))
        assert self.sent("D681PevKs", MISTRAL) == "D681PevKs"

    def test_results_are_answered_before_a_question_for_mistral(self) -> None:
        turn = answered(ToolCall("D681PevKs", "f", "{}"))
        roles = {
            settings.openai_base_url: [
                message["role"] for message in encoded(openai, HI, *turn, BYE, settings=settings)["messages"]
            ]
            for settings in (MISTRAL, OFFICIAL)
        }
        assert roles[MISTRAL.openai_base_url] == ["user", "assistant", "tool", "assistant", "user"]
        assert roles[OFFICIAL.openai_base_url] == ["user", "assistant", "tool", "user"]

    def test_are_at_most_40_characters_for_openai(self) -> None:
        assert len(self.sent(self.SIGNED, OFFICIAL)) == 40
        assert self.sent("functions.f:3", OFFICIAL) == "functions.f:3"


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"word": "\\ud83d"}', '{"word": "\N{REPLACEMENT CHARACTER}"}'),
        ('{"\\ude00": [1, NaN]}', '{"\N{REPLACEMENT CHARACTER}": [1, "NaN"]}'),
    ],
)
def test_half_a_character_in_arguments_is_replaced_and_the_rest_kept(arguments: str, sent: str) -> None:
    assert arguments_json(ToolCall("1", "say", arguments)) == sent
