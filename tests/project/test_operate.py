"""`docs/how-to/operate.md`: its cost table follows from the formula, and a runbook has its command."""

import re

import pytest

from tests.bench import log_cost
from tests.bench.bench_cost import LENGTHS, MEMORY_MB, cost
from tests.stack import ROOT, Stack, source
from winterbourne.chat import errors
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers import anthropic, bedrock, openai

PAGE = (ROOT / "docs/how-to/operate.md").read_text()
ROW = re.compile(r"^\| \w[^|]* \| ([\d.]+) \| \d+ ms \|((?: \$[\d.]+ \|)+)$", re.MULTILINE)


class TestCostTable:
    def test_has_the_durations_the_bench_assumes(self) -> None:
        assert [float(seconds) for seconds, _ in ROW.findall(PAGE)] == [
            round(length.duration_s, 1) for length in LENGTHS
        ]

    def test_follows_from_the_formula(self) -> None:
        for length, (_, dollars) in zip(LENGTHS, ROW.findall(PAGE), strict=True):
            shown = [float(price) for price in re.findall(r"[\d.]+", dollars)]
            assert shown == [round(cost(length.duration_s, memory_mb), 3) for memory_mb in MEMORY_MB]


class TestWhatResumingCosts:
    SECTION = PAGE.partition("### What resuming costs\n")[2].partition("\n## ")[0]

    def test_is_computed_from_what_the_log_writes(self) -> None:
        rows = [line.strip("| ").split(" | ") for line in self.SECTION.splitlines() if re.match(r"\| \d+ \| \$", line)]
        assert rows == [
            [
                str(speed),
                f"${1000 * log_cost.log_dollars(speed, kept=True):.3f}",
                *(
                    f"{log_cost.share(speed, model, kept=True, with_input=True):.2%}"
                    f" ({log_cost.share(speed, model, kept=True):.2%})"
                    for model in log_cost.MODELS
                ),
            ]
            for speed in log_cost.SPEEDS
        ]

    @pytest.mark.parametrize(("with_input", "told"), [(True, "below 1 % with"), (False, "of the output alone with")])
    def test_says_from_which_speed_on_it_is_little(self, *, with_input: bool, told: str) -> None:
        speeds = re.search(rf"{told} (\d+), (\d+), (\d+), (\d+)", self.SECTION)
        assert speeds
        assert [int(speed) for speed in speeds.groups()] == [
            log_cost.speed_from_which(model, with_input=with_input) for model in log_cost.MODELS
        ]

    def test_is_for_the_providers_default_models(self) -> None:
        defaults = openai.DEFAULT_MODEL, anthropic.DEFAULT_MODEL, bedrock.DEFAULT_MODEL
        assert all(any(model in default for default in defaults) for model in [*log_cost.MODELS][1:])


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
