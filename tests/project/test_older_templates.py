"""Who upgrades the engine may keep the template: this version runs under that of every release before it.

Each release leaves its template in tests/fixtures/templates.
"""

import re
from pathlib import Path

import httpx
import pytest

from tests.local_server import local_server
from tests.stack import ROOT, Stack, source, template_of
from winterbourne import __version__

TEMPLATES = sorted((ROOT / "tests/fixtures/templates").glob("*.yaml"))

# In place of what only AWS has: a model, a table and a secret.
WITHOUT_AWS = {
    "MODEL_PROVIDER": "scripted",
    "SCRIPTED_WORDS_PER_SECOND": "0",
    "STORE": "memory",
    "API_KEYS_SECRET_ARN": "",
    "API_KEYS": '{"first": "key-of-the-first-caller"}',
}


def test_the_template_records_the_version_it_came_with() -> None:
    assert source()["Metadata"]["Winterbourne"]["Version"] == __version__


def test_every_release_before_this_one_has_left_its_template() -> None:
    releases = set(re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
    assert __version__ in releases
    assert releases - {__version__} <= {path.stem for path in TEMPLATES}


@pytest.mark.slow
@pytest.mark.parametrize("template", [*TEMPLATES, *map(template_of, ("url", "rest"))], ids=lambda path: path.stem)
def test_a_chat_answers_with_the_variables_that_a_template_sets(template: Path, tmp_path: Path) -> None:
    function = Stack(template).properties("ChatFunction")
    variables = {name: str(value) for name, value in function["Environment"]["Variables"].items()} | WITHOUT_AWS
    assert variables.pop("AWS_LAMBDA_EXEC_WRAPPER") == "/opt/winterbourne"
    flags = [flag for name, value in variables.items() for flag in ("--env", f"{name}={value}")]
    question = {"messages": [{"role": "user", "content": "What time is it in Rome?"}]}
    with local_server(tmp_path, "--handler", function["Handler"], *flags) as server:
        refused = httpx.post(f"{server.url}/chat", json=question, timeout=30)
        key = {"x-api-key": "key-of-the-first-caller"}
        answer = httpx.post(f"{server.url}/chat", json=question, headers=key, timeout=30)
    assert refused.status_code == 401
    assert '"name":"current_time","status":"completed"' in answer.text
    assert '{"type":"done","stop_reason":"stop"' in answer.text
