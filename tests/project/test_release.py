"""How a release is made, as CONTRIBUTING.md tells it, rehearsed in a copy as far as it goes without publishing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import release
from tests.new_user import NOT_SOURCE
from tests.stack import ROOT
from winterbourne import __version__

pytestmark = pytest.mark.slow

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"\.venv/bin/(python -m tests\.release [^`\n]+)", PAGE)
GUARDS = ("tests/project/test_changelog.py", "tests/project/test_older_templates.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, before the release of this version."""
    ignored = shutil.ignore_patterns(*NOT_SOURCE, "__pycache__", "artifacts")
    copy = Path(shutil.copytree(ROOT, tmp_path / "winterbourne", ignore=ignored))
    log = copy / "CHANGELOG.md"
    log.write_text(re.sub(r"^(## \[.*?\] - ).*", r"\1unreleased", log.read_text(), count=1, flags=re.MULTILINE))
    return copy


def python(copy: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(copy / "layers/winterbourne/python")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environ, capture_output=True, text=True, check=False
    )


def guards(copy: Path) -> list[str]:
    """The names of the tests that fail there, of those that guard a release."""
    done = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *GUARDS)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE)


def test_its_commands_leave_everything_as_the_next_version_needs_it(copy: Path) -> None:
    dated, raised = COMMANDS
    next_version = raised.split()[-1]
    assert python(copy, *dated.split()[1:]).returncode == 0
    assert python(copy, *raised.split()[1:]).returncode == 0
    assert guards(copy) == []
    told = python(copy, "-c", "from winterbourne.local.cli import main; main(['--version'])").stdout
    assert told == f"winterbourne {next_version}\n"
    pages = [copy / "README.md", *(copy / "docs").rglob("*.md")]
    assert [page for page in pages if f"winterbourne-{__version__}-py3" in page.read_text()] == []
    left = copy / f"tests/fixtures/templates/{__version__}.yaml"
    assert left.read_bytes() == (ROOT / "template.yaml").read_bytes()
    left.unlink()
    assert guards(copy) == ["test_every_release_before_this_one_has_left_its_template"]


def test_the_next_version_does_not_begin_before_the_last_one_has_a_date(copy: Path) -> None:
    assert release.begin(copy, "99.0.0") == f"{__version__} has no date in CHANGELOG.md: release it first"


@pytest.mark.parametrize("version", ["0.0.9", __version__])
def test_the_next_version_is_a_later_one(copy: Path, version: str) -> None:
    release.main(["date"], copy)
    before = (copy / "CHANGELOG.md").read_text()
    assert release.begin(copy, version) == f"{version} does not follow {__version__}"
    assert (copy / "CHANGELOG.md").read_text() == before
    assert release.begin(copy, f"1{__version__}") == ""


@pytest.mark.parametrize(
    "arguments", [(), ("next",), ("next", "two"), ("next", "1.0.0rc1"), ("next", "01.0.0"), ("date", "today")]
)
def test_anything_else_is_an_error_that_says_what_there_is(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release.main(arguments, tmp_path) == 1
    assert capsys.readouterr().err == "usage: python -m tests.release date | next VERSION\n"
