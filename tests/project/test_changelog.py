"""The changelog: in the form of Keep a Changelog 1.1.0, with this version on top."""

import datetime as dt
import re

from packaging.version import Version

from tests.stack import ROOT
from winterbourne import __version__

TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d\d-\d\d)$", TEXT, re.MULTILINE)


def test_every_release_has_its_version_and_its_date() -> None:
    assert len(RELEASES) == len(re.findall(r"^## ", TEXT, re.MULTILINE))


def test_the_newest_is_this_version_and_the_others_follow_by_version_and_date() -> None:
    versions, dates = [Version(version) for version, _ in RELEASES], [date for _, date in RELEASES]
    assert versions[0] == Version(__version__)
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)  # `unreleased` sorts before every date
    assert "unreleased" not in dates[1:]
    assert all(dt.date.fromisoformat(date) for date in dates if date != "unreleased")


def test_what_changed_is_of_one_of_six_kinds_in_their_order_and_none_is_empty() -> None:
    for release in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        before, *parts = re.split(r"^### ", release, flags=re.MULTILINE)
        kinds = [part.splitlines()[0] for part in parts]
        assert kinds or before.strip().endswith("] - unreleased")  # one that has just begun
        assert not re.search(r"^[-*] ", before, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        assert all(re.search(r"^- ", part, re.MULTILINE) for part in parts)
    assert "####" not in TEXT
