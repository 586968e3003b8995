"""What Checkov asks of the templates, and `docs/reference/checkov.md`, where each of it is answered."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.contract.clients import environment
from tests.stack import ROOT, template_of
from winterbourne.local.new import DOORS

pytestmark = pytest.mark.clients

LOCK = Path(environment.__file__).with_name("linters.txt")
PAGE = (ROOT / "docs/reference/checkov.md").read_text()
ANSWERS = {
    check: re.findall(r"`(\w+)`", resources)
    for check, resources in re.findall(r"^\| (CKV\w+) \| ([^|]+) \|", PAGE, re.MULTILINE)
}


def findings(*templates: Path, skip: str = "") -> dict[str, list[str]]:
    """The resources that fail each check, in the order of the checks' numbers."""
    checkov = environment.python(LOCK, "linters").with_name("checkov")
    files = [word for path in templates for word in ("--file", str(path))]
    command = [str(checkov), "--framework", "cloudformation", "--skip-download", "--quiet", "--output", "json", *files]
    command += ["--skip-check", skip] if skip else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0, report
    assert report["summary"]["passed"] > 0, "it has looked at something"
    failed = {(check["check_id"], check["resource"].split(".")[1]) for check in report["results"]["failed_checks"]}
    checks = sorted({check for check, _ in failed}, key=lambda check: int(check.split("_")[-1]))
    return {check: sorted(resource for one, resource in failed if one == check) for check in checks}


def test_every_finding_is_answered_and_every_answer_is_to_a_finding() -> None:
    found = findings(*map(template_of, DOORS))
    assert found == ANSWERS
    assert list(found) == list(ANSWERS), "in the order of their numbers"


def test_the_command_of_the_page_leaves_nothing_of_a_projects_template() -> None:
    (skipped,) = re.findall(r"^  (CKV\S+)$", PAGE, re.MULTILINE)
    assert findings(template_of("url"), template_of("rest"), skip=skipped) == {}


def test_the_page_names_the_version_that_is_run() -> None:
    (version,) = re.findall(r"^checkov==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert f"a test runs Checkov {version} over all of them" in PAGE
