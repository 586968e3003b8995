"""Values from afar: fetched once, again when old, used on when they cannot be renewed."""

import asyncio
import logging

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra.refreshing_cache import REFRESH_TIMEOUT_S, RefreshingCache


class RemoteValue:
    """Gives the number of times it was asked, unless it is away."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.time_s = 1_000.0
        self.hangs = False
        self.value = RefreshingCache("the number", self.fetch, now=lambda: self.time_s)

    async def fetch(self) -> int:
        self.asked += 1
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.error:
            raise self.error
        return self.asked


@pytest.fixture
def afar() -> RemoteValue:
    return RemoteValue()


async def test_however_many_ask_at_once_one_fetches(afar: RemoteValue) -> None:
    assert await asyncio.gather(*(afar.value.get(60) for _ in range(9))) == [1] * 9


@pytest.mark.parametrize(("later_s", "value"), [(59, 1), (60, 2), (-1, 2)])
async def test_it_is_asked_for_again_when_it_is_old_or_the_clock_went_back(
    afar: RemoteValue, later_s: float, value: int
) -> None:
    await afar.value.get(60)
    afar.time_s += later_s
    assert await afar.value.get(60) == value


async def test_who_is_in_doubt_may_ask_for_a_younger_one(afar: RemoteValue) -> None:
    await afar.value.get(60)
    afar.time_s += 10
    assert await afar.value.get(10) == 2


async def test_a_refused_value_is_asked_for_again_and_another_one_is_not(afar: RemoteValue) -> None:
    first = await afar.value.get(60)
    afar.value.invalidate(first + 1)
    assert await afar.value.get(60) == first
    afar.value.invalidate(first)
    assert await afar.value.get(60) == first + 1


class TestAway:
    async def test_without_a_value_the_error_is_the_callers_and_the_next_call_tries_again(
        self, afar: RemoteValue
    ) -> None:
        afar.error = TimeoutError()
        with pytest.raises(TimeoutError):
            await afar.value.get(60)
        afar.error = None
        assert await afar.value.get(60) == 2

    async def test_the_old_value_is_used_on_and_not_asked_for_with_every_call(self, afar: RemoteValue) -> None:
        await afar.value.get(60)
        afar.time_s += 60
        afar.error = TimeoutError()
        assert [await afar.value.get(60) for _ in range(3)] == [1] * 3
        assert afar.asked == 2

    @pytest.mark.parametrize(
        ("error", "reason"),
        [(SettingsError("X: cannot be read"), "X: cannot be read"), (ValueError("s3cr3t"), "ValueError")],
    )
    async def test_the_log_says_so_and_quotes_nothing_foreign(
        self, afar: RemoteValue, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
    ) -> None:
        await afar.value.get(60)
        afar.error = error
        with caplog.at_level(logging.WARNING):
            await afar.value.get(0)
        assert caplog.messages == [f"refreshing the number failed, the stale value is kept: {reason}"]

    async def test_a_cancelled_fetch_leaves_the_next_caller_to_fetch(self, afar: RemoteValue) -> None:
        first = asyncio.create_task(afar.value.get(60))
        second = asyncio.create_task(afar.value.get(60))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 2

    @jumping
    async def test_a_renewal_that_hangs_is_given_up_while_there_is_an_old_value(self) -> None:
        afar = RemoteValue()
        await afar.value.get(60)
        afar.hangs = True
        before = asyncio.get_running_loop().time()
        assert await afar.value.get(0) == 1
        assert asyncio.get_running_loop().time() - before < REFRESH_TIMEOUT_S + 1
