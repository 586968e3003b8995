"""What operators and callers name in their alarms, templates, queries and code keeps its name."""

import pytest

from tests.recorded import names
from tests.recorded.provider import Provider

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("section", names.SECTIONS)
def test_no_public_name_has_changed(section: str) -> None:
    changed = names.differences(names.recorded()[section], names.SECTIONS[section](), section)
    assert not (told := "\n".join(changed)), told


def test_no_field_of_the_log_has_changed(model: Provider, tmp_path_factory: pytest.TempPathFactory) -> None:
    now = names.log_fields(tmp_path_factory.mktemp("log"), model)
    assert not (told := "\n".join(names.differences(names.recorded()["log"], now, "log"))), told


def test_a_change_is_told_in_a_sentence() -> None:
    before = {"MAX_TURNS": 10, "AUTH": "api_key"}
    assert list(names.differences(before, {"MAX_TURNS": 9, "STORE": ""}, "settings")) == [
        "settings, AUTH is gone, but it is public.",
        "settings, MAX_TURNS was 10 and is 9, but it is public.",
        "settings, STORE is new: it will be public, so record it.",
    ]
