"""Tools that ask a person first, with the real clients: the AI SDK in versions 5, 6 and 7, AG-UI 1.0 and before."""

import json
from typing import Any

import httpx
import pytest

from tests import npm
from tests.end_to_end.asking_chat import AskingChat

pytestmark = pytest.mark.slow

PAY = "please pay 5"
DENIED = "The user did not allow this call. Too much"


@pytest.fixture(scope="module", params=["ai", "ai6"])
def sdk(request: pytest.FixtureRequest, asking: AskingChat) -> Any:
    """The outcome of each scenario, and all that the tools did meanwhile."""
    return npm.run("approvals.mjs", request.param, asking.url) | {"runs": asking.runs}


@pytest.fixture(scope="module", params=["@ag-ui/client", "ag-ui-0"])
def agent(request: pytest.FixtureRequest, asking: AskingChat) -> Any:
    """Likewise."""
    return npm.run("ag_ui_approvals.mjs", asking.url, request.param) | {"runs": asking.runs}


def cannot_be_asked(scenario: Any) -> bool:
    """Whether a page that did not say that it can ask was sent nothing that it may not know."""
    outcomes = scenario, scenario["again"]
    errors = [each["parts"][2].get("errorText", "") for each in outcomes]
    states = {(each["status"], each.get("error"), each["parts"][2]["state"]) for each in outcomes}
    return states == {("ready", None, "output-error")} and all("needs a person's approval" in error for error in errors)


class TestAiSdk:
    @staticmethod
    def call(scenario: Any) -> Any:
        [part] = [part for part in scenario["parts"] if part["type"] == "dynamic-tool"]
        return part

    def test_each_allowed_call_runs_once(self, sdk: Any) -> None:
        assert sdk["runs"] == ["pay 5"] * 5  # yes, kept, the first of two, twice, after a reload

    @pytest.mark.parametrize("name", ["yes", "keptYes", "reloaded"])
    def test_after_a_yes_the_answer_goes_on_in_the_same_message(self, sdk: Any, name: str) -> None:
        scenario = sdk[name]
        assert (scenario["status"], scenario["roles"], scenario["isValid"]) == ("ready", ["user", "assistant"], True)
        call = self.call(scenario)
        assert (call["state"], call["output"], call["approval"]["approved"]) == (
            "output-available",
            {"done": "pay 5"},
            True,
        )
        assert "done pay 5" in scenario["parts"][-1]["text"]

    @pytest.mark.parametrize("name", ["no", "keptNo"])
    def test_after_a_no_the_model_knows_the_reason(self, sdk: Any, name: str) -> None:
        scenario = sdk[name]
        assert (scenario["status"], scenario["isValid"]) == ("ready", True)
        assert (self.call(scenario)["state"], self.call(scenario)["approval"]["reason"]) == (
            "output-denied",
            "Too much",
        )
        assert DENIED in scenario["parts"][-1]["text"]

    def test_two_calls_are_sent_once_both_are_decided(self, sdk: Any) -> None:
        states = [part["state"] for part in sdk["two"]["parts"] if part["type"] == "dynamic-tool"]
        assert states == ["output-available", "output-denied"]
        assert (sdk["two"]["postsBetween"], sdk["two"]["posts"]) == (1, 2)

    @pytest.mark.parametrize(("name", "status"), [("twice", "ready"), ("failing", "error")])
    def test_a_decision_is_sent_once(self, sdk: Any, name: str, status: str) -> None:
        assert (sdk[name]["posts"], sdk[name]["status"]) == (2, status)

    def test_what_is_kept_says_what_was_decided(self, sdk: Any) -> None:
        [_, answer] = sdk["reloaded"]["kept"]
        assert self.call(answer)["approval"]["approved"] is True

    def test_an_answer_that_is_sent_again_asks_again(self, sdk: Any) -> None:
        assert (self.call(sdk["resumed"])["state"], sdk["resumed"]["isValid"]) == ("approval-requested", True)

    def test_one_that_goes_on_after_a_no_says_so_when_it_is_sent_again(self, sdk: Any) -> None:
        call = self.call(sdk["resumedNo"])
        assert (call["state"], call["errorText"], sdk["resumedNo"]["isValid"]) == ("output-error", DENIED, True)

    def test_a_page_that_does_not_say_that_it_can_ask_is_not(self, sdk: Any) -> None:
        assert cannot_be_asked(sdk["notAsked"])


def test_version_5_is_never_sent_what_it_does_not_know(asking: AskingChat) -> None:
    assert cannot_be_asked(npm.run("approvals.mjs", "ai5", asking.url)["notAsked"])
    assert asking.runs == []


class TestAgUi:
    def test_each_allowed_call_runs_once(self, agent: Any) -> None:
        assert agent["runs"] == ["pay 5", "send 1 False Hello", "pay 5"]

    def test_a_run_ends_with_an_interrupt(self, agent: Any) -> None:
        [interrupt] = agent["yes"]["interrupts"]
        assert (interrupt["message"], interrupt["reason"]) == ("Pay 5 EUR?", "tool_call")
        assert agent["yes"]["first"]["types"][-3:] == ["TOOL_CALL_END", "STEP_FINISHED", "RUN_FINISHED"]

    @pytest.mark.parametrize(
        ("name", "result"),
        [
            ("yes", '{"done":"pay 5"}'),
            ("no", '{"error":"The user did not allow this call. Too much"}'),
            ("cancelled", '{"error":"The user did not allow this call."}'),
        ],
    )
    def test_the_next_run_begins_with_the_result(self, agent: Any, name: str, result: str) -> None:
        after = agent[name]["after"]
        assert after["types"][:3] == ["RUN_STARTED", "TOOL_CALL_RESULT", "STEP_STARTED"]
        assert after["events"][1]["content"] == result
        assert after["types"][-1] == "RUN_FINISHED"
        assert agent[name]["left"] == []
        assert [one["role"] for one in after["messages"]] == ["user", "assistant", "tool", "assistant"]

    def test_arguments_may_be_changed_where_the_tool_allows_it(self, agent: Any) -> None:
        assert '"done":"send 1 False Hello"' in agent["edited"]["after"]["events"][1]["content"]

    def test_a_bad_answer_is_an_error_and_can_be_given_again(self, agent: Any) -> None:
        assert "resume[0].payload.approved" in agent["bad"]["after"]["error"]
        assert len(agent["bad"]["left"]) == 1

    def test_two_calls_are_decided_each_by_itself(self, agent: Any) -> None:
        results = [event for event in agent["two"]["after"]["events"] if event["type"] == "TOOL_CALL_RESULT"]
        assert sorted("error" in event["content"] for event in results) == [False, True]

    def test_the_client_itself_wants_an_answer_first(self, agent: Any) -> None:
        assert agent["unanswered"]["error"]


class TestNative:
    """A client that keeps the history itself, and sends back what the frames have told it."""

    @staticmethod
    def frames(asking: AskingChat, **fields: object) -> list[Any]:
        body = {"approvals": True, **fields}
        lines = httpx.post(f"{asking.url}/chat", json=body, timeout=30).text.split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    @pytest.mark.parametrize("approved", [True, False])
    def test_it_goes_on_with_what_it_was_sent(self, asking: AskingChat, *, approved: bool) -> None:
        question = {"role": "user", "content": f"{PAY} and look_up"}
        start, *_, done = frames = self.frames(asking, messages=[question])
        assert done["stop_reason"] == "approval"
        [paid] = [frame for frame in frames if frame.get("status") == "approval_requested"]
        [found] = [frame for frame in frames if frame.get("status") == "completed"]
        kept = "id", "name", "arguments", "approval"
        made = [frame for frame in frames if frame.get("status") in {"started", "approval_requested"}]
        calls = [{"type": "tool_call", **{name: frame[name] for name in kept if name in frame}} for frame in made]
        result = {"role": "tool", "tool_call_id": found["id"], "content": json.dumps(found["result"])}
        after = self.frames(
            asking,
            messages=[question, {"role": "assistant", "content": calls}, result],
            conversation_id=start["conversation_id"],
            message_id=start["message_id"],
            decisions=[{"approval_id": paid["approval"]["id"], "approved": approved}],
        )
        assert after[0]["message_id"] == start["message_id"]
        statuses = [frame["status"] for frame in after if frame["type"] == "tool_call" and frame["id"] == paid["id"]]
        assert statuses[-1] == ("completed" if approved else "denied")
        assert after[-1]["stop_reason"] == "stop"
        assert asking.runs == ["look up", *(["pay 5"] if approved else [])]


def test_openai_clients_are_told_that_it_cannot_be_asked(asking: AskingChat) -> None:
    body = {"messages": [{"role": "user", "content": PAY}]}
    completion = httpx.post(f"{asking.url}/v1/chat/completions", json=body, timeout=30).json()
    [choice] = completion["choices"]
    assert choice["finish_reason"] == "stop"
    assert "needs a person's approval" in choice["message"]["content"]
    assert asking.runs == []
