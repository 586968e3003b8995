"""Public names: what operators and callers use in alarms, templates, queries and code keeps its name."""

import pytest

from tests.chat.processes import run
from tests.opt import OPT
from tests.recorded import names
from tests.recorded.log_schema import log_fields
from tests.recorded.provider import Provider
from winterbourne.chat.settings import Settings

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("section", names.SECTIONS)
def test_no_public_name_has_changed(section: str) -> None:
    changed = names.differences(names.recorded()[section], names.SECTIONS[section](), section)
    assert not (changes := "\n".join(changed)), changes


def test_no_field_of_the_log_has_changed(model_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> None:
    now = log_fields(tmp_path_factory.mktemp("log"), model_provider)
    assert not (changes := "\n".join(names.differences(names.recorded()["log"], now, "log"))), changes


@pytest.mark.parametrize("name", ["ChatFunction", "ToolWorkerFunction"])
def test_the_functions_start_under_the_recorded_template(name: str) -> None:
    """It may be older than the code, which is then deployed alone."""
    function = names.recorded()["template"]["functions"][name]
    module, _, handler = function["handler"].rpartition(".")
    code = f"import {module} as module; assert callable(module.{handler})"
    run(code, AWS_REGION="eu-west-1", **function["variables"])


def test_every_variable_of_the_recorded_template_is_known_and_may_have_its_value() -> None:
    variables = dict(names.recorded()["template"]["functions"]["ChatFunction"]["variables"])
    wrapper = variables.pop("AWS_LAMBDA_EXEC_WRAPPER")
    variables.pop("SETTINGS", "")  # it carries settings, and is none
    assert (OPT / wrapper.removeprefix("/opt/")).is_file()
    settings = Settings.from_environment(variables).values()
    assert {name: value for name, value in variables.items() if value} == {
        name: str(settings[name]) for name in variables if variables[name]
    }
    assert set(variables) <= settings.keys()


def test_a_change_is_described_in_a_sentence() -> None:
    before = {"MAX_TURNS": 10, "AUTH": "api_key"}
    assert list(names.differences(before, {"MAX_TURNS": 9, "STORE": ""}, "settings")) == [
        "settings, AUTH is gone, but it is public.",
        "settings, MAX_TURNS was 10 and is 9, but it is public.",
        "settings, STORE is new: it will be public, so record it.",
    ]
