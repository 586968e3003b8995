"""Storage compatibility: this release reads what an earlier one stored, and writes what an earlier one could read.

One test per store for everything that is checked, since the preparation takes seconds.
"""

import pytest

from tests.recorded import kept, names
from tests.recorded.provider import Provider

pytestmark = pytest.mark.slow


def allowed(kind: str) -> set[str]:
    """The operations that the recorded template allows; the function uses all of them, and no others."""
    if kind != "dynamodb":
        return set()
    actions = names.recorded()["template"]["may"]["ChatRole"]["keep-conversations"]
    return {action.removeprefix("dynamodb:") for action in actions}


@pytest.mark.parametrize("kind", kept.KINDS)
def test_old_conversations_are_found_shown_continued_and_deleted(
    kind: str, model_provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = kept.read_old(kind, tmp_path_factory.mktemp(f"old-{kind}"), model_provider)
    assert found.items.split("\n") == kept.recorded(kind, "items").split("\n")
    assert found.shown.split("\n") == kept.recorded(kind, "shown").split("\n")
    assert found.continued.split("\n") == kept.recorded(kind, "continued").split("\n")
    assert found.schema.split("\n") == kept.recorded(kind, "schema").split("\n")
    assert found.operations == allowed(kind)


@pytest.mark.parametrize("kind", kept.KINDS)
def test_the_same_conversations_leave_the_same_items_in_a_store_of_the_same_schema(
    kind: str, model_provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = kept.write_anew(kind, tmp_path_factory.mktemp(f"new-{kind}"), model_provider)
    assert written.items.split("\n") == kept.recorded(kind, "items").split("\n")
    assert written.schema.split("\n") == kept.recorded(kind, "schema").split("\n")
    assert written.operations == allowed(kind)


def test_without_a_store_conversations_are_shown_as_long_as_the_process_lives(
    model_provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = kept.read_in_memory(tmp_path_factory.mktemp("memory"), model_provider)
    assert shown.split("\n") == kept.recorded("memory", "shown").split("\n")
