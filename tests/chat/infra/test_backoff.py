"""Backoff: the limit doubles with each failure up to its maximum, and the wait is anywhere below it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.backoff import backoff_s, retry_after_s


@pytest.mark.parametrize(("attempt", "limit_s"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 8), (100_000, 8)])
def test_the_limit_doubles_with_each_failure_up_to_its_maximum(
    attempt: int, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high - low)
    assert backoff_s(attempt, base_s=0.5, max_s=8) == limit_s


@given(st.integers(1, 20))
def test_the_wait_is_between_zero_and_the_limit(attempt: int) -> None:
    assert 0 <= backoff_s(attempt, base_s=0.2, max_s=5) <= min(5, 0.2 * 2 ** (attempt - 1))


def test_two_clients_that_fail_together_do_not_retry_together() -> None:
    assert len({backoff_s(4, base_s=0.5, max_s=8) for _ in range(20)}) > 15


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_retry_after_is_read(value: str, milliseconds: str) -> None:
    assert (retry_after_s({"retry-after": value, "retry-after-ms": milliseconds}) or 0) >= 0
