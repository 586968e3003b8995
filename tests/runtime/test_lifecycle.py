"""Hooks of an execution environment's life."""

import random
import ssl
from collections.abc import Iterator

import pytest
import snapshot_restore_py

from winterbourne import after_restore, before_snapshot, lifecycle, on_shutdown, on_startup


@pytest.fixture(autouse=True)
def snap_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    yield
    snapshot_restore_py.get_before_snapshot().clear()
    snapshot_restore_py.get_after_restore().clear()


class TestStartup:
    async def test_hooks_run_in_order_whether_async_or_not(self) -> None:
        ran = []
        on_startup(lambda: ran.append("first"))

        @on_startup
        async def second() -> None:
            ran.append("second")

        await lifecycle.run_startup()
        assert ran == ["first", "second"]

    async def test_one_that_raises_is_not_passed_over(self) -> None:
        on_startup(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await lifecycle.run_startup()


class TestShutdown:
    async def test_hooks_run_last_first_even_if_one_fails(self) -> None:
        ran = []
        on_shutdown(lambda: ran.append("first"))
        on_shutdown(lambda: 1 / 0)

        @on_shutdown
        async def last() -> None:
            ran.append("last")

        with pytest.raises(ExceptionGroup) as raised:
            await lifecycle.run_shutdown()
        assert ran == ["last", "first"]
        assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]


class TestSnapshot:
    async def test_hooks_of_both_kinds_run_last_first_and_once(self) -> None:
        ran = []
        before_snapshot(lambda: ran.append("ours"))
        snapshot_restore_py.register_before_snapshot(ran.append, "theirs")

        @before_snapshot
        async def last() -> None:
            ran.append("last")

        await lifecycle.run_before_snapshot()
        await lifecycle.run_before_snapshot()
        assert ran == ["last", "theirs", "ours"]

    async def test_after_a_restore_they_run_in_order(self) -> None:
        ran = []
        after_restore(lambda: ran.append("ours"))
        snapshot_restore_py.register_after_restore(ran.append, "theirs")
        await lifecycle.run_after_restore()
        assert ran == ["ours", "theirs"]

    async def test_each_copy_draws_its_own_numbers(self) -> None:
        state = random.getstate()
        await lifecycle.run_after_restore()
        one = random.random()
        random.setstate(state)
        await lifecycle.run_after_restore()
        assert random.random() != one

    async def test_and_so_does_openssl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        added = []
        monkeypatch.setattr(ssl, "RAND_add", lambda data, entropy: added.append(data))
        await lifecycle.run_after_restore()
        await lifecycle.run_after_restore()
        assert len(set(added)) == 2

    async def test_randomness_is_fresh_before_the_first_hook_runs(self) -> None:
        random.seed(1)
        expected = random.random()
        random.seed(1)
        drawn: list[float] = []
        after_restore(lambda: drawn.append(random.random()))
        await lifecycle.run_after_restore()
        assert drawn != [expected]

    def test_without_snap_start_hooks_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        before_snapshot(print)
        after_restore(print)
        assert snapshot_restore_py.get_before_snapshot() == snapshot_restore_py.get_after_restore() == []


@pytest.mark.parametrize("register", [on_startup, on_shutdown, before_snapshot, after_restore])
def test_each_is_a_decorator_that_gives_back_its_function(register: object) -> None:
    assert callable(register)
    assert register(print) is print
