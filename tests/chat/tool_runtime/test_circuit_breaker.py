"""The breaker, every state with every step."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.circuit_breaker import TRANSITIONS, Allow, CircuitBreaker, Refuse, State, Trigger


@pytest.mark.parametrize(("state", "step"), [*itertools.product(State, Trigger)])
def test_every_step_from_every_state_is_a_listed_move_or_none(state: State, step: Trigger) -> None:
    allowed = {
        State.CLOSED: {Trigger.SUCCEEDED, Trigger.FAILED, Trigger.TRIPPED},
        State.OPEN: {Trigger.OPEN_TIME_ELAPSED},
        State.HALF_OPEN: {Trigger.OPEN_TIME_ELAPSED, Trigger.SUCCEEDED, Trigger.TRIPPED},
    }
    assert ((state, step) in TRANSITIONS) == (step in allowed[state])


def call(breaker: CircuitBreaker, now: float, *, succeeded: bool) -> bool:
    answer = breaker.try_acquire(now)
    assert isinstance(answer, Allow)
    return breaker.record(answer, succeeded=succeeded, now=now)


class TestClosed:
    def test_so_many_failures_in_a_row_open_it(self) -> None:
        breaker = CircuitBreaker(failure_threshold=3, open_s=30)
        assert [call(breaker, 0, succeeded=False) for _ in range(3)] == [False, False, True]
        assert breaker.state is State.OPEN

    def test_a_success_between_them_starts_the_count_anew(self) -> None:
        breaker = CircuitBreaker(failure_threshold=2, open_s=30)
        for succeeded in (False, True, False, True, False):
            call(breaker, 0, succeeded=succeeded)
        assert breaker.state is State.CLOSED


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=1, open_s=30)
    call(breaker, 100, succeeded=False)
    return breaker


class TestOpen:
    def test_calls_are_refused_and_told_when_to_come_back(self) -> None:
        assert opened().try_acquire(110) == Refuse(retry_after_s=20)

    def test_looking_changes_nothing(self) -> None:
        breaker = opened()
        assert (breaker.remaining_open_s(110), breaker.remaining_open_s(200), breaker.state) == (20, 0, State.OPEN)

    def test_a_late_word_of_a_call_from_before_is_not_heard(self) -> None:
        breaker = CircuitBreaker(failure_threshold=1, open_s=30)
        early, late = breaker.try_acquire(0), breaker.try_acquire(0)
        assert isinstance(early, Allow)
        assert isinstance(late, Allow)
        breaker.record(early, succeeded=False, now=0)
        breaker.record(late, succeeded=True, now=1)
        assert breaker.state is State.OPEN


class TestHalfOpen:
    def test_after_the_pause_one_call_may_try_and_only_one(self) -> None:
        breaker = opened()
        assert isinstance(breaker.try_acquire(130), Allow)
        assert breaker.state is State.HALF_OPEN
        assert breaker.try_acquire(131) == Refuse(retry_after_s=29)

    def test_its_success_closes_the_breaker(self) -> None:
        breaker = opened()
        call(breaker, 130, succeeded=True)
        assert breaker.state is State.CLOSED

    def test_its_failure_opens_it_again_for_a_whole_pause(self) -> None:
        breaker = opened()
        assert call(breaker, 130, succeeded=False)
        assert breaker.try_acquire(131) == Refuse(retry_after_s=29)

    def test_when_nothing_is_heard_of_it_the_next_may_try_after_another_pause(self) -> None:
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
            answer = breaker.try_acquire(now)
            assert isinstance(answer, Refuse) == was_open
            if isinstance(answer, Allow):
                allowed.append(answer)
        elif allowed:
            opened = breaker.record(allowed.pop(0), succeeded=step == "succeeded", now=now)
            assert not opened or breaker.state is State.OPEN
