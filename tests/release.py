"""`python -m tests.release date | next VERSION`: the two changes of a release, as CONTRIBUTING.md tells them.

`date` dates the version that is released in CHANGELOG.md. `next` leaves its template for the tests of later versions,
and raises the version wherever it stands.
"""

import datetime as dt
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["main"]

ROOT: Final = Path(__file__).parents[1]
MODULE: Final = "layers/winterbourne/python/winterbourne/__init__.py"
USAGE: Final = "usage: python -m tests.release date | next VERSION"


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Make one of the changes; return 0, or print why not and return 1."""
    match arguments:
        case ["date"]:
            return _report(set_date(root, dt.datetime.now(dt.UTC).date()))
        case ["next", version] if re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version, re.ASCII):
            return _report(begin(root, version))
    return _report(USAGE)


def set_date(root: Path, today: dt.date) -> str:
    """Date the newest heading of the changelog; returns what is wrong, if anything."""
    version = current(root)
    if _replace(root / "CHANGELOG.md", f"## [{version}] - unreleased", f"## [{version}] - {today}"):
        return ""
    return f"CHANGELOG.md has no heading `## [{version}] - unreleased`"


def begin(root: Path, version: str) -> str:
    """Leave the released template and raise the version; returns what is wrong, if anything."""
    old, log = current(root), root / "CHANGELOG.md"
    released = re.search(rf"^## \[{re.escape(old)}\] - \d", log.read_text("utf-8"), re.MULTILINE)
    if not released:
        return f"{old} has no date in CHANGELOG.md: release it first"
    if _numbers(version) <= _numbers(old):
        return f"{version} does not follow {old}"
    template = root / "template.yaml"
    (root / "tests/fixtures/templates" / f"{old}.yaml").write_bytes(template.read_bytes())
    _replace(template, f"    Version: {old}\n", f"    Version: {version}\n")
    _replace(root / MODULE, f'__version__ = "{old}"', f'__version__ = "{version}"')
    _replace(log, f"## [{old}] - ", f"## [{version}] - unreleased\n\n## [{old}] - ")
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        _replace(page, f"winterbourne-{old}-py3", f"winterbourne-{version}-py3")
    return ""


def current(root: Path) -> str:
    """The version of the source."""
    (version,) = re.findall(r'^__version__ = "(.+)"$', (root / MODULE).read_text("utf-8"), re.MULTILINE)
    return str(version)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _replace(path: Path, old: str, new: str) -> bool:
    text = path.read_text("utf-8")
    path.write_text(text.replace(old, new), "utf-8")
    return old in text


def _report(problem: str) -> int:
    sys.stderr.write(f"{problem}\n" if problem else "")
    return int(bool(problem))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
