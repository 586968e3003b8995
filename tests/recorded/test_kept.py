"""What an earlier release kept is found by this one, and what this one keeps would be found by that.

One test for all that is seen of a store: what comes before takes seconds.
"""

import pytest

from tests.recorded import kept, names
from tests.recorded.provider import Provider

pytestmark = pytest.mark.slow


def allowed(kind: str) -> set[str]:
    """What the recorded template lets the function do to the store: all of that it does, and nothing else."""
    if kind != "dynamodb":
        return set()
    actions = names.recorded()["template"]["may"]["ChatRole"]["keep-conversations"]
    return {action.removeprefix("dynamodb:") for action in actions}


@pytest.mark.parametrize("kind", kept.KINDS)
def test_old_conversations_are_there_are_shown_go_on_and_can_be_deleted(
    kind: str, model: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = kept.read_old(kind, tmp_path_factory.mktemp(f"old-{kind}"), model)
    assert found.items.split("\n") == kept.recorded(kind, "items").split("\n")
    assert found.shown.split("\n") == kept.recorded(kind, "shown").split("\n")
    assert found.continued.split("\n") == kept.recorded(kind, "continued").split("\n")
    assert found.schema.split("\n") == kept.recorded(kind, "schema").split("\n")
    assert found.operations == allowed(kind)


@pytest.mark.parametrize("kind", kept.KINDS)
def test_the_same_conversations_leave_the_same_items_in_a_store_of_the_same_schema(
    kind: str, model: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = kept.write_anew(kind, tmp_path_factory.mktemp(f"new-{kind}"), model)
    assert written.items.split("\n") == kept.recorded(kind, "items").split("\n")
    assert written.schema.split("\n") == kept.recorded(kind, "schema").split("\n")
    assert written.operations == allowed(kind)


def test_without_a_store_conversations_are_shown_as_long_as_the_process_lives(
    model: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = kept.read_in_memory(tmp_path_factory.mktemp("memory"), model)
    assert shown.split("\n") == kept.recorded("memory", "shown").split("\n")
