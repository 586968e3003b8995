"""`@ag-ui/client` 0.0.59, which CopilotKit pins, against the local function URL: its schemas refuse newer words."""

from typing import Any

import pytest

from tests import npm

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def outcome(chat: str) -> Any:
    """The outcome of each scenario of tests/clients/ag_ui.mjs."""
    return npm.run("ag_ui.mjs", chat, "ag-ui-0")


def test_no_run_dies_of_a_word_that_the_client_does_not_know(outcome: Any) -> None:
    scenarios = (outcome["fiveToolsAndASecondTurn"]["first"], outcome["stopped"], outcome["ownTool"]["after"])
    for run in (*scenarios, outcome["ownTool"]["called"], outcome["context"]):
        assert (run["last"]["type"], run.get("error")) == ("RUN_FINISHED", None)


def test_a_failure_is_a_run_error(outcome: Any) -> None:
    assert outcome["failed"]["last"]["type"] == "RUN_ERROR"


def test_the_history_and_the_pages_own_tool_are_used(outcome: Any) -> None:
    assert "Rome" in outcome["fiveToolsAndASecondTurn"]["allMessages"][-1]["content"]
    assert "blue" in outcome["ownTool"]["messages"][-1]["content"]
