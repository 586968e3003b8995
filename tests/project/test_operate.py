"""`docs/how-to/operate.md`: what it names exists, and a runbook has its command."""

import re

import pytest

from tests.stack import ROOT, Stack, source
from winterbourne.chat import errors
from winterbourne.chat.infra import telemetry

PAGE = (ROOT / "docs/how-to/operate.md").read_text()


class TestFewerMetrics:
    SECTION = PAGE.partition("### Fewer metrics\n")[2].partition("\n## ")[0]

    def test_has_the_numbers_of_metrics(self) -> None:
        of_tools, of_models = len(telemetry.TOOL_METRICS), len(telemetry.MODEL_METRICS)
        of_requests = len(telemetry.METRICS) - of_tools - of_models
        assert f"up to {of_requests}, {of_tools} more for each tool and {of_models} for each model" in self.SECTION
        lean = re.search(r"\| (\d): ((?:`\w+`(?:, )?)+) \|", self.SECTION)
        assert lean
        assert {*re.findall(r"\w+", lean[2])} == telemetry.LEAN_METRICS
        assert int(lean[1]) == len(telemetry.LEAN_METRICS)

    def test_names_the_saved_queries(self) -> None:
        queries = Stack().of_type("AWS::Logs::QueryDefinition").values()
        names = [query["Name"].removeprefix("winterbourne-dev/") for query in queries]
        assert all(f"`{name}`" in self.SECTION for name in names)
        assert len(names) == 6


def test_the_errors_it_names_exist() -> None:
    named = set(re.findall(r"`(Model[A-Z][a-z]\w+|Deadline\w+)`", PAGE))
    assert named <= {*errors.__all__, *source()["Parameters"], *telemetry.METRICS}


def test_the_link_to_the_dashboard_is_an_output() -> None:
    assert "`DashboardLink`" in PAGE
    assert "DashboardLink" in Stack().outputs


@pytest.mark.parametrize(
    ("runbook", "setting"), [("pool", "HTTP_POOL_MAXSIZE"), ("tool-timeouts", "TOOL_EXECUTION_TIMEOUT")]
)
def test_a_runbook_that_orders_a_setting_has_the_command(runbook: str, setting: str) -> None:
    section = PAGE.partition(f"### {runbook}\n")[2].partition("\n#")[0]
    assert f"make deploy PARAMETERS=Settings={setting}=" in section
