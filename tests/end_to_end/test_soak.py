"""The soak in a short form: the parts of `make soak`, with a fiftieth of their work."""

from pathlib import Path

import pytest

from tests.soak.bad_requests import bad_requests
from tests.soak.faulted_streams import faulted_streams
from tests.soak.growth import growth

pytestmark = pytest.mark.slow


def test_every_word_before_a_fault_arrives_and_one_terminal_event(tmp_path: Path) -> None:
    assert faulted_streams(120, tmp_path, seed=1).wrong == []


def test_bad_requests_are_answered_or_refused(tmp_path: Path) -> None:
    assert bad_requests(800, tmp_path, seed=1).wrong == []


def test_a_process_does_not_grow_with_its_chats(tmp_path: Path) -> None:
    assert growth(200, tmp_path).wrong == []
