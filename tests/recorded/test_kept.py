"""What an earlier release kept is found by this one, and what this one keeps would be found by that."""

import pytest

from tests.recorded import kept
from tests.recorded.provider import Provider

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=kept.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def read(kind: str, model: Provider, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What the recorded store shows, and how it goes on."""
    return kept.read_old(kind, tmp_path_factory.mktemp(f"old-{kind}"), model)


def test_old_conversations_are_listed_and_shown_as_they_were(kind: str, read: tuple[str, str]) -> None:
    assert read[0].split("\n") == kept.recorded(kind, "shown").split("\n")


def test_old_conversations_go_on_with_what_was_said_and_can_be_deleted(kind: str, read: tuple[str, str]) -> None:
    assert read[1].split("\n") == kept.recorded(kind, "continued").split("\n")


@pytest.mark.parametrize("kind", kept.KINDS)
def test_the_same_conversations_leave_the_same_items(
    kind: str, model: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = kept.write_anew(kind, tmp_path_factory.mktemp(f"new-{kind}"), model)
    assert items.split("\n") == kept.recorded(kind, "items").split("\n")


def test_without_a_store_conversations_are_shown_as_long_as_the_process_lives(
    model: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = kept.read_in_memory(tmp_path_factory.mktemp("memory"), model)
    assert shown.split("\n") == kept.recorded("memory", "shown").split("\n")
