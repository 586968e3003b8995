"""Refreshing cache: single-flight fetch, refresh when the value is too old, and stale-if-error."""

import asyncio
import gc
import logging

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra.refreshing_cache import FETCH_TIMEOUT_S, REFRESH_TIMEOUT_S, RefreshingCache


class RemoteValue:
    """A cached remote value: the number of fetches, unless a fetch fails or hangs."""

    def __init__(self) -> None:
        self.fetches = 0
        self.error: Exception | None = None
        self.time_s = 1_000.0
        self.hangs = False
        self.takes_s = 0.0
        self.cache = RefreshingCache("the number", self.fetch, now=lambda: self.time_s)

    async def fetch(self) -> int:
        self.fetches += 1
        self.time_s += self.takes_s
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.error:
            raise self.error
        return self.fetches


@pytest.fixture
def remote() -> RemoteValue:
    return RemoteValue()


async def test_concurrent_readers_share_one_fetch(remote: RemoteValue) -> None:
    assert await asyncio.gather(*(remote.cache.get(60) for _ in range(9))) == [1] * 9


@pytest.mark.parametrize(("later_s", "value"), [(59, 1), (60, 2), (-1, 2)])
async def test_it_is_fetched_again_when_it_is_old_or_the_clock_went_back(
    remote: RemoteValue, later_s: float, value: int
) -> None:
    await remote.cache.get(60)
    remote.time_s += later_s
    assert await remote.cache.get(60) == value


async def test_a_reader_may_require_a_younger_value(remote: RemoteValue) -> None:
    await remote.cache.get(60)
    remote.time_s += 10
    assert await remote.cache.get(10) == 2


async def test_only_the_invalidated_value_is_fetched_again(remote: RemoteValue) -> None:
    first = await remote.cache.get(60)
    remote.cache.invalidate(first + 1)
    assert await remote.cache.get(60) == first
    remote.cache.invalidate(first)
    assert await remote.cache.get(60) == first + 1


class TestFailedFetch:
    async def test_without_a_value_the_error_is_raised_and_the_next_call_tries_again(self, remote: RemoteValue) -> None:
        remote.error = TimeoutError()
        with pytest.raises(TimeoutError):
            await remote.cache.get(60)
        remote.error = None
        assert await remote.cache.get(60) == 2

    async def test_the_stale_value_is_kept_without_a_fetch_at_every_call(self, remote: RemoteValue) -> None:
        await remote.cache.get(60)
        remote.time_s += 60
        remote.error = TimeoutError()
        assert [await remote.cache.get(60) for _ in range(3)] == [1] * 3
        assert remote.fetches == 2

    @pytest.mark.parametrize(
        ("error", "reason"),
        [(SettingsError("X: cannot be read"), "X: cannot be read"), (ValueError("s3cr3t"), "ValueError")],
    )
    async def test_is_logged_without_quoting_a_foreign_error(
        self, remote: RemoteValue, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
    ) -> None:
        await remote.cache.get(60)
        remote.error = error
        with caplog.at_level(logging.WARNING):
            await remote.cache.get(0)
        assert caplog.messages == [f"refreshing the number failed, the stale value is kept: {reason}"]

    async def test_answers_all_who_wait(self, remote: RemoteValue) -> None:
        remote.error = SettingsError("X: cannot be read")
        outcomes = await asyncio.gather(*(remote.cache.get(60) for _ in range(9)), return_exceptions=True)
        assert outcomes == [remote.error] * 9
        assert remote.fetches == 1

    @jumping
    async def test_of_a_first_fetch_that_hangs_is_told_to_all_in_time(self) -> None:
        remote = RemoteValue()
        remote.hangs, started_at = True, asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(remote.cache.get(60) for _ in range(9)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 9
        assert asyncio.get_running_loop().time() - started_at <= FETCH_TIMEOUT_S + 0.1
        assert remote.fetches == 1

    async def test_of_a_first_fetch_is_told_for_as_long_as_it_took(self, remote: RemoteValue) -> None:
        remote.error, remote.takes_s = TimeoutError(), 2.0
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await remote.cache.get(60)
        assert remote.fetches == 1
        remote.time_s += 2
        remote.error = None
        assert await remote.cache.get(60) == 2

    async def test_a_caller_who_is_cancelled_leaves_the_fetch_to_the_others(self, remote: RemoteValue) -> None:
        first = asyncio.create_task(remote.cache.get(60))
        second = asyncio.create_task(remote.cache.get(60))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 1

    async def test_that_nobody_waits_for_any_more_is_no_unhandled_error(
        self, remote: RemoteValue, caplog: pytest.LogCaptureFixture
    ) -> None:
        remote.error = TimeoutError()
        only = asyncio.create_task(remote.cache.get(60))
        await asyncio.sleep(0)
        only.cancel()
        await asyncio.sleep(0.01)
        gc.collect()
        assert remote.fetches == 1
        assert not caplog.records

    @jumping
    async def test_who_is_content_with_the_values_age_does_not_wait_for_it(self) -> None:
        """Else callers with a known key would wait for those with an unknown one."""
        remote = RemoteValue()
        await remote.cache.get(60)
        remote.hangs, started_at = True, asyncio.get_running_loop().time()
        refreshing = asyncio.create_task(remote.cache.get(0))
        await asyncio.sleep(0)
        assert await remote.cache.get(60) == 1
        assert asyncio.get_running_loop().time() == started_at
        await refreshing

    @jumping
    async def test_a_refresh_that_hangs_is_abandoned_if_there_is_a_stale_value(self) -> None:
        remote = RemoteValue()
        await remote.cache.get(60)
        remote.hangs = True
        before = asyncio.get_running_loop().time()
        assert await remote.cache.get(0) == 1
        assert asyncio.get_running_loop().time() - before < REFRESH_TIMEOUT_S + 1
