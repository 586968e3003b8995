"""The AI SDK, versions 5, 6 and 7, against the local function URL: DefaultChatTransport and readUIMessageStream."""

import re
from typing import Any

import pytest

from tests import npm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["ai", "ai6", "ai5"])
def outcome(request: pytest.FixtureRequest, chat: str) -> Any:
    """The outcome of each scenario of tests/clients/ai_sdk.mjs."""
    return npm.run("ai_sdk.mjs", request.param, chat)


def parts(answer: Any) -> list[tuple[str, str | None]]:
    return [(part["type"], part.get("state")) for part in answer["message"]["parts"]]


class TestFiveTools:
    def test_all_of_them_are_parts_of_one_message(self, outcome: Any) -> None:
        answer = outcome["fiveToolsAndASecondTurn"]["first"]
        tools = [("dynamic-tool", "output-available")] * 5
        start, text = ("step-start", None), ("text", "done")
        assert parts(answer) == [start, text, *tools, start, text]
        assert answer["errors"] == []
        assert answer["chunks"].count("tool-output-available") == 5

    def test_the_message_counts_its_tokens_and_what_they_cost(self, outcome: Any) -> None:
        usage = outcome["fiveToolsAndASecondTurn"]["first"]["message"]["metadata"]["usage"]
        assert usage["inputTokens"] > 0
        assert usage["outputTokens"] > 0
        assert usage["cost"] == pytest.approx((usage["inputTokens"] * 3 + usage["outputTokens"] * 15) / 1e6)

    def test_the_sdk_converts_it_to_model_messages(self, outcome: Any) -> None:
        messages = outcome["fiveToolsAndASecondTurn"]["modelMessages"]
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
        assert len(messages[2]["content"]) == 5


class TestFiles:
    def test_of_a_form_reach_the_model_and_come_back_as_sources(self, outcome: Any) -> None:
        question, answer = outcome["files"]["live"]
        assert [part["type"] for part in question["parts"]] == ["file", "file", "file", "text"]
        sources = [part for part in answer["parts"] if part["type"].startswith("source-")]
        assert [(part["type"], part.get("url"), part["title"]) for part in sources] == [
            ("source-document", None, "plan.pdf"),
            ("source-document", None, "tides.csv"),
            ("source-url", "https://example.com/tides.pdf", "tides.pdf"),
        ]

    def test_and_their_sources_are_the_same_when_they_are_loaded(self, outcome: Any) -> None:
        assert outcome["files"]["loaded"]["messages"] == outcome["files"]["live"]

    def test_that_no_model_can_use_are_an_error_that_does_not_end_the_chat(self, outcome: Any) -> None:
        first, second, third = outcome["files"]["errors"]
        assert first is None
        assert second.startswith("messages: the document is not the PDF file that its type says it is (request ")
        assert third is None
        assert outcome["files"]["last"]["role"] == "assistant"


def test_the_second_turn_has_the_history_of_the_first(outcome: Any) -> None:
    second = outcome["fiveToolsAndASecondTurn"]["second"]
    assert "Rome" in second["message"]["parts"][-1]["text"]
    assert outcome["fiveToolsAndASecondTurn"]["ids"] == 2


def test_a_failure_is_the_clients_error(outcome: Any) -> None:
    (error,) = outcome["failed"]["errors"]
    assert re.fullmatch(r"The model is busy\. Please try again in a moment\. \(request [-0-9a-f]+\)", error)
    assert outcome["failed"]["last"]["type"] == "error"


def test_a_stop_is_an_abort_and_no_error(outcome: Any) -> None:
    stopped = outcome["stopped"]
    assert stopped["last"] == {"type": "abort", "reason": "user"}
    assert stopped["errors"] == []
    assert stopped["chunks"].count("text-delta") < 2000


def test_the_frontends_own_tool_is_called_there_and_its_result_continues_the_answer(outcome: Any) -> None:
    called, after = outcome["ownTool"]["called"], outcome["ownTool"]["after"]
    assert parts(called)[-1] == ("tool-ask_user", "input-available")
    assert called["last"]["finishReason"] == "tool-calls"
    assert "blue" in after["message"]["parts"][-1]["text"]
    assert after["message"]["id"] == called["message"]["id"]


def test_there_is_nothing_to_resume_and_that_is_no_error(outcome: Any) -> None:
    assert outcome["resumed"] is None


def test_a_rejection_is_an_error_with_its_message(outcome: Any) -> None:
    assert outcome["refused"].startswith("messages[0].role: ")
