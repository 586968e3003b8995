"""`@ag-ui/client` 1 against the local function URL: HttpAgent with its schemas and its verifier."""

from typing import Any

import pytest

from tests import npm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(chat: str) -> Any:
    """The outcome of each scenario of tests/clients/ag_ui.mjs."""
    return npm.run("ag_ui.mjs", chat)


class TestFiveTools:
    def test_the_run_has_the_clients_ids(self, outcome: Any) -> None:
        scenario = outcome["fiveToolsAndASecondTurn"]
        assert scenario["first"]["first"]["threadId"] == scenario["threadId"]
        assert scenario["first"]["first"]["runId"] == "run-1"

    def test_it_finishes_and_counts_its_tokens_and_what_they_cost(self, outcome: Any) -> None:
        last = outcome["fiveToolsAndASecondTurn"]["first"]["last"]
        assert (last["type"], last["outcome"]) == ("RUN_FINISHED", {"type": "success"})
        (usage,) = last["usage"]
        assert usage["outputTokens"] > 0
        assert last["result"]["cost"] == pytest.approx((usage["inputTokens"] * 3 + usage["outputTokens"] * 15) / 1e6)

    def test_the_client_keeps_one_message_per_turn_and_one_per_result(self, outcome: Any) -> None:
        messages = outcome["fiveToolsAndASecondTurn"]["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant", *["tool"] * 5, "assistant"]
        assert len(messages[1]["toolCalls"]) == 5


def test_the_second_run_has_the_history_of_the_first(outcome: Any) -> None:
    assert "Rome" in outcome["fiveToolsAndASecondTurn"]["allMessages"][-1]["content"]


def test_a_failure_is_a_run_error(outcome: Any) -> None:
    last = outcome["failed"]["last"]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "model_busy")


def test_a_stop_is_a_cancelled_run(outcome: Any) -> None:
    assert outcome["stopped"]["last"]["outcome"] == {"type": "cancelled"}
    assert outcome["stopped"]["types"].count("TEXT_MESSAGE_CONTENT") < 2000


def test_the_pages_own_tool_is_left_pending_and_its_result_is_used(outcome: Any) -> None:
    scenario = outcome["ownTool"]
    assert scenario["called"]["last"]["outcome"]["pendingToolCallIds"] == [scenario["toolCallId"]]
    assert "blue" in scenario["messages"][-1]["content"]


def test_context_is_passed_on(outcome: Any) -> None:
    assert outcome["context"]["last"]["type"] == "RUN_FINISHED"


def test_a_rejection_is_an_error_with_its_reason(outcome: Any) -> None:
    assert outcome["refused"]["error"].startswith("HTTP 400: the body is not JSON")
