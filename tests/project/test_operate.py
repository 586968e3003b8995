"""`docs/how-to/operate.md`: what it names exists, and a runbook has its command."""

import re

import pytest

from tests.doc_pages import blocks, inline_code
from tests.end_to_end.incidents import alarms_of
from tests.stack import ROOT, Stack, source, template_of
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


def test_the_outputs_it_names_are_there() -> None:
    for output in ("DashboardLink", "SwitchOff", "SwitchOn"):
        assert f"`{output}`" in PAGE
        assert output in Stack().outputs


ALARMS = PAGE.partition("\n## Alarms\n")[2].partition("\n## ")[0]
RUNBOOKS = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^### |\Z)", ALARMS, re.MULTILINE | re.DOTALL))
EVERY = {"ToolWorkerMemorySize": "512"}
MODES = {"off": "any", "lean": "`lean`", "full": "`full`"}


def alarms(mode: str) -> set[str]:
    """The alarms of either door with these metrics."""
    stacks = (Stack(template_of(door), Metrics=mode, **EVERY) for door in ("url", "rest"))
    return {name for stack in stacks for name in alarms_of(stack)}


class TestAlarms:
    def test_say_with_which_metrics_they_exist(self) -> None:
        rows = re.findall(r"^\| (\[.+?) \|.*\| ([`\w]+) \|$", ALARMS, re.MULTILINE)
        told = {name: mode for cell, mode in rows for name in re.findall(r"\(#([a-z-]+)\)", cell)}
        least: dict[str, str] = {}
        for mode, word in MODES.items():
            least |= dict.fromkeys(alarms(mode) - set(least), word)
        assert told == least

    def test_have_a_runbook_each_and_no_other(self) -> None:
        assert set(RUNBOOKS) == alarms("full")


SPANS = [span for _, span in inline_code("docs/how-to/operate.md")]
INSIGHTS = {
    *("as", "and", "asc", "bin", "by", "count", "desc", "fields", "filter", "in", "ispresent", "like", "limit", "max"),
    *("or", "pct", "sort", "stats", "sum"),
}
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html"""

OF_LAMBDA = {"type", "record.status", "record.requestId", "record.errorType", "record.metrics.maxMemoryUsedMB"}
"""Of Lambda's own lines: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html"""

OF_AWS = {"AccessDeniedException", "ThrottlingException", "ProvisionedThroughputExceededException"}


def queries() -> list[str]:
    """What the page asks of Logs Insights, in blocks and in sentences."""
    found = [block.text for block in blocks("docs/how-to/operate.md") if block.text.startswith(("fields", "filter"))]
    return found + [span for span in SPANS if span.startswith(("filter ", "stats "))]


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_fields_that_lines_have(query: str) -> None:
    engine = "".join(path.read_text() for path in (ROOT / "layers/winterbourne/python/winterbourne").rglob("*.py"))
    text = re.sub(r'"[^"]*"|\bas \w+|@\w+|\b\d\w*', " ", query)
    made = set(re.findall(r"\bas (\w+)", query))
    for name in set(re.findall(r"[A-Za-z][\w.]*", text)) - INSIGHTS - OF_LAMBDA - made - set(telemetry.FIELDS.values()):
        assert re.search(rf'\b{name}=|"{name}"', engine), name


def test_the_metrics_parameters_and_outputs_it_names_exist() -> None:
    """Whatever stands in code and is spelled as these are."""
    engine = "".join(path.read_text() for path in (ROOT / "layers/winterbourne/python/winterbourne").rglob("*.py"))
    names = {*telemetry.METRICS, *source()["Resources"], *Stack().outputs}
    names |= {name for door in ("url", "rest") for name in source(template_of(door))["Parameters"]}
    spans = {span for span in SPANS if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", span)}
    unknown = {span for span in spans - names - OF_AWS if not re.search(rf"\b{span}\b", engine)}
    assert unknown == set()


@pytest.mark.parametrize(
    ("runbook", "setting"), [("pool", "HTTP_POOL_MAXSIZE"), ("tool-timeouts", "TOOL_EXECUTION_TIMEOUT")]
)
def test_a_runbook_that_orders_a_setting_has_the_command(runbook: str, setting: str) -> None:
    section = PAGE.partition(f"### {runbook}\n")[2].partition("\n#")[0]
    assert f"make deploy PARAMETERS=Settings={setting}=" in section
