"""Lifecycle hooks of an execution environment: startup, shutdown, snapshot and restore."""

import random
import ssl
from collections.abc import Iterator

import pytest
import snapshot_restore_py

from winterbourne import after_restore, before_snapshot, lifecycle, on_shutdown, on_stall, on_startup


@pytest.fixture(autouse=True)
def snap_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    yield
    snapshot_restore_py.get_before_snapshot().clear()
    snapshot_restore_py.get_after_restore().clear()


class TestStartup:
    async def test_hooks_run_in_order_whether_async_or_not(self) -> None:
        calls = []
        on_startup(lambda: calls.append("first"))

        @on_startup
        async def second() -> None:
            calls.append("second")

        await lifecycle.run_startup()
        assert calls == ["first", "second"]

    async def test_a_hook_that_raises_is_not_ignored(self) -> None:
        on_startup(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await lifecycle.run_startup()


class TestShutdown:
    async def test_hooks_run_last_first_even_if_one_fails(self) -> None:
        calls = []
        on_shutdown(lambda: calls.append("first"))
        on_shutdown(lambda: 1 / 0)

        @on_shutdown
        async def last() -> None:
            calls.append("last")

        with pytest.raises(ExceptionGroup) as raised:
            await lifecycle.run_shutdown()
        assert calls == ["last", "first"]
        assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]


class TestSnapshot:
    async def test_hooks_of_both_kinds_run_last_first_and_once(self) -> None:
        calls = []
        before_snapshot(lambda: calls.append("ours"))
        snapshot_restore_py.register_before_snapshot(calls.append, "theirs")

        @before_snapshot
        async def last() -> None:
            calls.append("last")

        await lifecycle.run_before_snapshot()
        await lifecycle.run_before_snapshot()
        assert calls == ["last", "theirs", "ours"]

    async def test_after_a_restore_they_run_in_order(self) -> None:
        calls = []
        after_restore(lambda: calls.append("ours"))
        snapshot_restore_py.register_after_restore(calls.append, "theirs")
        await lifecycle.run_after_restore()
        assert calls == ["ours", "theirs"]

    async def test_each_copy_has_its_own_random_numbers(self) -> None:
        state = random.getstate()
        await lifecycle.run_after_restore()
        one = random.random()
        random.setstate(state)
        await lifecycle.run_after_restore()
        assert random.random() != one

    async def test_each_copy_reseeds_openssl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seeds = []
        monkeypatch.setattr(ssl, "RAND_add", lambda data, entropy: seeds.append(data))
        await lifecycle.run_after_restore()
        await lifecycle.run_after_restore()
        assert len(set(seeds)) == 2

    async def test_random_is_reseeded_before_the_first_hook_runs(self) -> None:
        random.seed(1)
        expected = random.random()
        random.seed(1)
        random_numbers: list[float] = []
        after_restore(lambda: random_numbers.append(random.random()))
        await lifecycle.run_after_restore()
        assert random_numbers != [expected]

    def test_without_snap_start_hooks_are_not_registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        before_snapshot(print)
        after_restore(print)
        assert snapshot_restore_py.get_before_snapshot() == snapshot_restore_py.get_after_restore() == []


async def test_a_shutdown_hook_that_is_registered_again_runs_once_and_in_its_first_place() -> None:
    calls: list[str] = []

    def shared() -> None:
        calls.append("shared")

    on_shutdown(shared)
    on_shutdown(lambda: calls.append("own"))
    on_shutdown(shared)
    await lifecycle.run_shutdown()
    assert calls == ["own", "shared"]


@pytest.mark.parametrize("register", [on_startup, on_shutdown, on_stall, before_snapshot, after_restore])
def test_each_is_a_decorator_that_returns_its_function(register: object) -> None:
    assert callable(register)
    assert register(print) is print
