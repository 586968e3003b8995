"""`docs/how-to/operate.md`: its cost table follows from the formula, and its commands and names exist."""

import re
import shlex

import pytest
from samcli.cli.types import CfnParameterOverridesType

from tests.bench.bench_cost import LENGTHS, MEMORY_MB, cost
from tests.stack import ROOT, Stack, source
from winterbourne.chat import errors
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.chat.settings_variable import unpack_settings

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


class TestNames:
    def test_of_settings_exist(self) -> None:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE))
        assert named <= VARIABLES

    def test_of_parameters_exist(self) -> None:
        named = set(re.findall(r"\b([A-Z][a-z][A-Za-z]+)=", PAGE))
        assert named
        assert named <= set(source()["Parameters"])

    def test_of_errors_exist(self) -> None:
        named = set(re.findall(r"`(Model[A-Z][a-z]\w+|Deadline\w+)`", PAGE)) - set(source()["Parameters"])
        assert named <= set(errors.__all__)

    @pytest.mark.parametrize("output", ["DashboardLink"])
    def test_of_outputs_exist(self, output: str) -> None:
        assert output in PAGE
        assert output in Stack().outputs


# Commands stand in a line of their own or between backquotes, there also across two lines.
COMMANDS = re.findall(r"^    (make deploy PARAMETERS=.*)$|`(make deploy\s+PARAMETERS=[^`]*)`", PAGE, re.MULTILINE)


def parameters(command: str) -> dict[str, str]:
    """The template parameters of a command as it is typed: the shell takes its quotes first, then sam."""
    (given,) = (word for word in shlex.split(command, comments=True) if word.startswith("PARAMETERS="))
    parsed: dict[str, str] = CfnParameterOverridesType().convert((given.partition("=")[2],), None, None)
    return parsed


@pytest.mark.parametrize("command", [own_line or inline for own_line, inline in COMMANDS])
class TestCommands:
    def test_set_parameters_of_the_template(self, command: str) -> None:
        declared = source()["Parameters"]
        for name, value in parameters(command).items():
            assert "…" in value or value == "ARN" or re.fullmatch(declared[name].get("AllowedPattern", ".*"), value)

    def test_set_settings_of_the_engine_or_keys_of_tools(self, command: str) -> None:
        environ = {"SETTINGS": parameters(command).get("Settings", "")}
        unpack_settings(environ)
        Settings.from_environment(environ)
        assert all(n in VARIABLES or n.endswith("_KEY_SECRET_ARN") for n in environ if n != "SETTINGS")


@pytest.mark.parametrize(
    ("runbook", "setting"), [("pool", "HTTP_POOL_MAXSIZE"), ("tool-timeouts", "TOOL_EXECUTION_TIMEOUT")]
)
def test_a_runbook_that_orders_a_setting_has_the_command(runbook: str, setting: str) -> None:
    section = PAGE.partition(f"### {runbook}\n")[2].partition("\n#")[0]
    assert f"make deploy PARAMETERS=Settings={setting}=" in section
