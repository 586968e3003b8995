"""Circuit breaker: a state machine; every trigger in every state, and random histories."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.circuit_breaker import TRANSITIONS, Allow, CircuitBreaker, Refuse, State, Trigger


@pytest.mark.parametrize(("state", "step"), [*itertools.product(State, Trigger)])
def test_every_trigger_in_every_state_is_a_listed_transition_or_ignored(state: State, step: Trigger) -> None:
    allowed = {
        State.CLOSED: {Trigger.SUCCEEDED, Trigger.FAILED, Trigger.TRIPPED},
        State.OPEN: {Trigger.OPEN_TIME_ELAPSED},
        State.HALF_OPEN: {Trigger.OPEN_TIME_ELAPSED, Trigger.SUCCEEDED, Trigger.TRIPPED},
    }
    assert ((state, step) in TRANSITIONS) == (step in allowed[state])


def call(breaker: CircuitBreaker, now: float, *, succeeded: bool) -> bool:
    decision = breaker.try_acquire(now)
    assert isinstance(decision, Allow)
    return breaker.record(decision, succeeded=succeeded, now=now)


class TestClosed:
    def test_consecutive_failures_up_to_the_threshold_open_it(self) -> None:
        breaker = CircuitBreaker(failure_threshold=3, open_s=30)
        assert [call(breaker, 0, succeeded=False) for _ in range(3)] == [False, False, True]
        assert breaker.state is State.OPEN

    def test_a_success_resets_the_failure_count(self) -> None:
        breaker = CircuitBreaker(failure_threshold=2, open_s=30)
        for succeeded in (False, True, False, True, False):
            call(breaker, 0, succeeded=succeeded)
        assert breaker.state is State.CLOSED


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=1, open_s=30)
    call(breaker, 100, succeeded=False)
    return breaker


class TestOpen:
    def test_calls_are_refused_with_the_time_until_a_retry(self) -> None:
        assert opened().try_acquire(110) == Refuse(retry_after_s=20)

    def test_reading_the_remaining_time_changes_nothing(self) -> None:
        breaker = opened()
        assert (breaker.remaining_open_s(110), breaker.remaining_open_s(200), breaker.state) == (20, 0, State.OPEN)

    def test_a_late_outcome_of_an_earlier_call_is_ignored(self) -> None:
        breaker = CircuitBreaker(failure_threshold=1, open_s=30)
        early, late = breaker.try_acquire(0), breaker.try_acquire(0)
        assert isinstance(early, Allow)
        assert isinstance(late, Allow)
        breaker.record(early, succeeded=False, now=0)
        breaker.record(late, succeeded=True, now=1)
        assert breaker.state is State.OPEN


class TestHalfOpen:
    def test_after_the_open_time_exactly_one_trial_call_is_allowed(self) -> None:
        breaker = opened()
        assert isinstance(breaker.try_acquire(130), Allow)
        assert breaker.state is State.HALF_OPEN
        assert breaker.try_acquire(131) == Refuse(retry_after_s=29)

    def test_a_successful_trial_closes_the_breaker(self) -> None:
        breaker = opened()
        call(breaker, 130, succeeded=True)
        assert breaker.state is State.CLOSED

    def test_a_failed_trial_opens_it_again_for_the_whole_open_time(self) -> None:
        breaker = opened()
        assert call(breaker, 130, succeeded=False)
        assert breaker.try_acquire(131) == Refuse(retry_after_s=29)

    def test_if_the_trial_never_reports_another_is_allowed_after_the_open_time(self) -> None:
        breaker = opened()
        lost = breaker.try_acquire(130)
        assert call(breaker, 160, succeeded=True) is False
        assert isinstance(lost, Allow)
        breaker.record(lost, succeeded=False, now=161)
        assert breaker.state is State.CLOSED


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "succeeded", "failed"]), st.floats(0, 50)), max_size=40),
)
def test_any_history_is_legal_and_an_open_breaker_refuses(failures: int, steps: list[tuple[str, float]]) -> None:
    breaker, now, allowed = CircuitBreaker(failures, open_s=30), 0.0, list[Allow]()
    for step, seconds in steps:
        now += seconds
        if step == "ask":
            was_open = breaker.state is not State.CLOSED and breaker.remaining_open_s(now) > 0
            decision = breaker.try_acquire(now)
            assert isinstance(decision, Refuse) == was_open
            if isinstance(decision, Allow):
                allowed.append(decision)
        elif allowed:
            opened = breaker.record(allowed.pop(0), succeeded=step == "succeeded", now=now)
            assert not opened or breaker.state is State.OPEN
