"""Starlette's own test suite through the layer's ASGI handler: what fails is listed, with its reason."""

import os
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.contract.clients import environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
LISTED = tomllib.loads((HERE / "starlette_failures.toml").read_text())["failures"]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each test's outcome: `passed`, `failed` or `skipped`."""
    source, report = environment.source_of("starlette"), tmp_path_factory.mktemp("starlette") / "report.xml"
    path = os.pathsep.join([str(HERE), str(environment.ROOT / "layers/winterbourne/python")])
    plugins = ("through_lambda", "no:cacheprovider", "no:langsmith_plugin")  # the last is of another client
    options = ["-q", *(f"-p{name}" for name in plugins), "-k", "not trio", f"--junitxml={report}"]
    done = subprocess.run(
        [environment.python(), "-m", "pytest", *options],
        cwd=source,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    return {_name(case): _outcome(case) for case in ET.parse(report).iter("testcase")}


def _name(case: ET.Element) -> str:
    module = case.get("classname", "").removeprefix("tests.")
    return f"{module.replace('.', '/')}.py::{case.get('name')}"


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def test_what_fails_is_what_lambda_cannot_give(outcomes: dict[str, str]) -> None:
    groups = [group for group in LISTED if not group.get("only_as_root") or os.geteuid() == 0]
    listed = {name for group in groups for name in group["tests"]}
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == listed


def test_the_suite_is_run_whole(outcomes: dict[str, str]) -> None:
    assert sum(outcome == "passed" for outcome in outcomes.values()) >= 725
