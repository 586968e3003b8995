"""What the stack shows of money: the row of the dashboard, and the alarm on dollars per hour."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.bench.used import used
from tests.cloudwatch import Metrics, Rules, is_in_alarm
from tests.stack import Stack, source, template_of
from winterbourne.chat.infra import telemetry

NOW = 100 * 3600

COMMANDS = r"SOURCE|filter|fields|stats|sort|limit|unnest|into|by|as|and|desc|sum|count|max|jsonParse"
"""Words of a query, https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html"""


def all_widgets(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]
    return found


def cost_of(dollars_by_model: dict[str, float], capsys: pytest.CaptureFixture[str], stack: Stack) -> Metrics:
    """What CloudWatch has of one chat half an hour ago, with METRICS as the stack says."""
    variables = stack.properties("ChatFunction")["Environment"]["Variables"]
    with telemetry.request_scope("r", telemetry.make_logger(), variables["SERVICE_NAME"], variables["METRICS"]):
        for model, dollars in dollars_by_model.items():
            telemetry.measure("CostUsd", dollars, model=model)
    metrics = Metrics()
    metrics.add_documents(map(json.loads, capsys.readouterr().out.splitlines()), NOW - 1800)
    return metrics


class TestAlarm:
    def test_fires_when_the_models_of_an_hour_together_cost_more(self, capsys: pytest.CaptureFixture[str]) -> None:
        stack = Stack(Metrics="full", DollarsPerHourAlarm="5")
        alarm = stack.properties("DollarsAlarm")
        for dollars, fires in ((3.0, True), (2.0, False)):
            metrics = cost_of({"openai:a": dollars, "bedrock:b": 2.5}, capsys, stack)
            assert is_in_alarm(alarm, metrics, NOW, Rules()) is fires
            assert not is_in_alarm(alarm, metrics, NOW + 3 * 3600, Rules()), "it was some hours before"

    @pytest.mark.parametrize(
        ("parameters", "is_there"),
        [
            ({}, False),
            ({"Stage": "prod"}, True),
            ({"Stage": "prod", "Metrics": "lean"}, False),
            ({"Metrics": "off"}, False),
        ],
    )
    @pytest.mark.parametrize("door", ["url", "rest"])
    def test_is_there_where_the_function_says_what_models_cost(
        self, door: str, parameters: dict[str, str], *, is_there: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stack = Stack(template_of(door), **parameters)
        assert ("DollarsAlarm" in stack.resources) is is_there
        assert any(name == "CostUsd" for _, name, _ in cost_of({"m": 1.0}, capsys, stack).points) is is_there

    def test_has_a_threshold_that_a_parameter_sets(self) -> None:
        default = source()["Parameters"]["DollarsPerHourAlarm"]["Default"]
        assert Stack(Metrics="full").properties("DollarsAlarm")["Threshold"] == default


class TestDashboard:
    @pytest.fixture
    def line(self) -> dict[str, Any]:
        return used("tools", "lean").request

    def queries(self) -> dict[str, str]:
        widgets = [widget["properties"] for widget in all_widgets(Stack()) if widget["type"] == "log"]
        return {each["title"]: each["query"] for each in widgets if "Dollars" in each["title"]}

    def test_asks_the_log_for_what_a_dimension_would_cost(self, line: dict[str, Any]) -> None:
        """With any METRICS: the line has the fields with all of them."""
        assert set(self.queries()) == {"Dollars by caller", "Dollars of the chats in which a tool was called"}
        for query in self.queries().values():
            assert query.startswith("SOURCE '<ChatLog>' | filter message = 'request' and cost_usd > 0 |")
            made = set(re.findall(r"\b(?:as|into) (\w+)", query))
            named = set(re.findall(r"(?<![@'./\w])[a-z]\w*(?![\w'])", query.partition("|")[2]))
            asked = {name for name in named if not re.fullmatch(COMMANDS, name)} - made - {"line", "request"}
            assert asked <= set(line), query
        assert "line.tools" in self.queries()["Dollars of the chats in which a tool was called"]
        assert isinstance(line["tools"], list)

    def test_counts_the_cost_of_a_chat_once_for_each_tool_however_often_it_was_called(
        self, line: dict[str, Any]
    ) -> None:
        assert len(line["tools"]) > len(set(line["tools"]))
        assert (
            "max(cost_usd) as cost by request_id, tool"
            in self.queries()["Dollars of the chats in which a tool was called"]
        )

    @pytest.mark.parametrize(("metrics", "is_there"), [("full", True), ("lean", True), ("off", False)])
    def test_is_there_where_there_are_metrics(self, metrics: str, *, is_there: bool) -> None:
        stack = Stack(Metrics=metrics)
        assert ("Dashboard" in stack.resources) is ("DashboardLink" in stack.outputs) is is_there

    @pytest.mark.parametrize("door", ["url", "rest"])
    def test_has_no_widget_that_lies_over_another(self, door: str) -> None:
        boxes = [
            (w["x"], w["y"], w["x"] + w["width"], w["y"] + w["height"]) for w in all_widgets(Stack(template_of(door)))
        ]
        assert all(right <= 24 for _, _, right, _ in boxes)
        for one, other in combinations(boxes, 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (one, other)
