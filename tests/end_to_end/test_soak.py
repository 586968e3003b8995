"""The soak in a short form: the parts of `make soak`, with a small share of their work."""

from pathlib import Path

import pytest

from tests.soak.bad_requests import bad_requests
from tests.soak.cut_streams import cut_streams
from tests.soak.faulted_streams import faulted_streams
from tests.soak.growth import growth
from tests.soak.killed_writers import frozen_writers, killed_writers

pytestmark = pytest.mark.slow


def test_every_word_before_a_fault_arrives_and_one_terminal_event(tmp_path: Path) -> None:
    assert faulted_streams(120, tmp_path, seed=1).wrong == []


def test_bad_requests_are_answered_or_refused(tmp_path: Path) -> None:
    assert bad_requests(800, tmp_path, seed=1).wrong == []


def test_a_process_does_not_grow_with_its_chats(tmp_path: Path) -> None:
    assert growth(200, tmp_path).wrong == []


def test_a_stream_that_is_cut_and_resumed_in_any_format_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    assert cut_streams(40, tmp_path, seed=1).wrong == []


def test_a_killed_answer_ends_for_its_readers_with_what_was_shown_until_a_second_before(tmp_path: Path) -> None:
    assert killed_writers(3, tmp_path, seed=1, at_once=3, lease_s=1).wrong == []


def test_a_process_that_was_taken_for_dead_changes_no_ending(tmp_path: Path) -> None:
    assert frozen_writers(1, tmp_path, seed=1, at_once=1, lease_s=1).wrong == []
