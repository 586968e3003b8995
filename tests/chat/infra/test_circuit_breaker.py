"""Circuit breaker: a state machine that refuses calls while what they need keeps failing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.settings import ToolSettings


def call(breaker: CircuitBreaker, now: float, *, succeeded: bool) -> bool:
    assert not breaker.remaining_open_s(now)
    return breaker.record(breaker.begin(now), succeeded=succeeded, now=now)


class TestClosed:
    def test_consecutive_failures_up_to_the_threshold_open_it(self) -> None:
        breaker = CircuitBreaker(failure_threshold=3, open_s=30)
        assert [call(breaker, 0, succeeded=False) for _ in range(3)] == [False, False, True]
        assert not breaker.is_closed

    def test_a_success_resets_the_failure_count(self) -> None:
        breaker = CircuitBreaker(failure_threshold=2, open_s=30)
        for succeeded in (False, True, False, True, False):
            call(breaker, 0, succeeded=succeeded)
        assert breaker.is_closed


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=1, open_s=30)
    call(breaker, 100, succeeded=False)
    return breaker


class TestOpen:
    def test_calls_are_refused_with_the_time_until_a_retry(self) -> None:
        assert opened().remaining_open_s(110) == 20

    def test_reading_the_remaining_time_changes_nothing(self) -> None:
        breaker = opened()
        assert (breaker.remaining_open_s(110), breaker.remaining_open_s(200)) == (20, 0)
        assert (breaker.remaining_open_s(110), breaker.is_closed) == (20, False)

    def test_a_late_outcome_of_an_earlier_call_is_ignored(self) -> None:
        breaker = CircuitBreaker(failure_threshold=1, open_s=30)
        early, late = breaker.begin(0), breaker.begin(0)
        breaker.record(early, succeeded=False, now=0)
        breaker.record(late, succeeded=True, now=1)
        assert not breaker.is_closed


class TestHalfOpen:
    def test_after_the_open_time_exactly_one_trial_call_is_allowed(self) -> None:
        breaker = opened()
        assert not breaker.remaining_open_s(130)
        breaker.begin(130)
        assert not breaker.is_closed
        assert breaker.remaining_open_s(131) == 29

    def test_a_successful_trial_closes_the_breaker(self) -> None:
        breaker = opened()
        call(breaker, 130, succeeded=True)
        assert breaker.is_closed

    def test_a_failed_trial_opens_it_again_for_the_whole_open_time(self) -> None:
        breaker = opened()
        assert call(breaker, 130, succeeded=False)
        assert breaker.remaining_open_s(131) == 29

    def test_with_the_default_of_five_failures_one_failed_trial_opens_it_again(self) -> None:
        settings = ToolSettings()
        breaker = CircuitBreaker(settings.tool_breaker_failures, settings.tool_breaker_open_time)
        assert [call(breaker, 100, succeeded=False) for _ in range(5)] == [False, False, False, False, True]
        assert call(breaker, 130, succeeded=False)
        assert not breaker.is_closed
        assert breaker.remaining_open_s(131) == 29

    def test_if_the_trial_never_reports_another_is_allowed_after_the_open_time(self) -> None:
        breaker = opened()
        lost = breaker.begin(130)
        assert call(breaker, 160, succeeded=True) is False
        breaker.record(lost, succeeded=False, now=161)
        assert breaker.is_closed

    def test_trials_that_take_longer_than_the_open_time_close_it_all_the_same(self) -> None:
        breaker = opened()
        slow, other = breaker.begin(130), breaker.begin(160)
        breaker.record(slow, succeeded=True, now=165)
        breaker.record(other, succeeded=False, now=166)
        assert breaker.is_closed

    def test_a_call_from_before_it_opened_does_not_close_it(self) -> None:
        breaker = CircuitBreaker(failure_threshold=1, open_s=30)
        early = breaker.begin(0)
        call(breaker, 1, succeeded=False)
        breaker.begin(40)
        breaker.record(early, succeeded=True, now=41)
        assert not breaker.is_closed


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "succeeded", "failed"]), st.floats(0, 50)), max_size=40),
)
def test_after_any_history_an_open_breaker_refuses_all_but_one_trial_call(
    failures: int, steps: list[tuple[str, float]]
) -> None:
    breaker, now, allowed = CircuitBreaker(failures, open_s=30), 0.0, list[int]()
    for step, seconds in steps:
        now += seconds
        if step == "ask":
            refuses = breaker.remaining_open_s(now) > 0
            assert not (refuses and breaker.is_closed)
            if not refuses:
                trial = not breaker.is_closed
                allowed.append(breaker.begin(now))
                assert breaker.remaining_open_s(now) == pytest.approx(30 if trial else 0), "one trial call at a time"
        elif allowed:
            opened = breaker.record(allowed.pop(0), succeeded=step == "succeeded", now=now)
            assert not opened or breaker.remaining_open_s(now) == pytest.approx(30)
