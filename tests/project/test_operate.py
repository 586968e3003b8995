"""`docs/how-to/operate.md`: what it names exists, and a runbook has its command."""

import re

import pytest

from tests.stack import ROOT, Stack, source
from winterbourne.chat import errors

PAGE = (ROOT / "docs/how-to/operate.md").read_text()


def test_the_errors_it_names_exist() -> None:
    named = set(re.findall(r"`(Model[A-Z][a-z]\w+|Deadline\w+)`", PAGE)) - set(source()["Parameters"])
    assert named <= set(errors.__all__)


def test_the_link_to_the_dashboard_is_an_output() -> None:
    assert "`DashboardLink`" in PAGE
    assert "DashboardLink" in Stack().outputs


@pytest.mark.parametrize(
    ("runbook", "setting"), [("pool", "HTTP_POOL_MAXSIZE"), ("tool-timeouts", "TOOL_EXECUTION_TIMEOUT")]
)
def test_a_runbook_that_orders_a_setting_has_the_command(runbook: str, setting: str) -> None:
    section = PAGE.partition(f"### {runbook}\n")[2].partition("\n#")[0]
    assert f"make deploy PARAMETERS=Settings={setting}=" in section
