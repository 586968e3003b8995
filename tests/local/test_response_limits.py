"""Response limits: token bucket (burst and rate) and maximum size of a streamed response."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import jumping
from winterbourne.local.response_limits import MB, ResponseLimits, ResponseTooLarge, TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestALargeResponse:
    def test_the_first_six_megabytes_pass_at_once(self) -> None:
        bucket = TokenBucket(ResponseLimits(), Clock())
        assert bucket.reserve(6 * MB) == 0

    def test_after_them_two_megabytes_take_a_second(self) -> None:
        bucket = TokenBucket(ResponseLimits(), Clock())
        bucket.reserve(6 * MB)
        assert bucket.reserve(2 * MB) == pytest.approx(1)

    def test_a_pause_refills_no_more_than_the_burst(self) -> None:
        clock = Clock()
        bucket = TokenBucket(ResponseLimits(), clock)
        bucket.reserve(6 * MB)
        clock.now += 3600
        assert bucket.reserve(6 * MB) == 0
        assert bucket.reserve(2 * MB) == pytest.approx(1)

    def test_200_megabytes_are_the_maximum(self) -> None:
        bucket = TokenBucket(ResponseLimits(bytes_per_s=0), Clock())
        bucket.reserve(200 * MB)
        with pytest.raises(ResponseTooLarge):
            bucket.reserve(1)

    def test_limits_of_zero_are_no_limits(self) -> None:
        bucket = TokenBucket(ResponseLimits(bytes_per_s=0, max_bytes=0), Clock())
        assert bucket.reserve(10_000 * MB) == 0

    @jumping
    async def test_26_megabytes_take_ten_seconds(self) -> None:
        loop = asyncio.get_running_loop()
        bucket, began = TokenBucket(ResponseLimits(), loop.time), loop.time()
        for _ in range(26 * 16):
            await asyncio.sleep(bucket.reserve(MB // 16))
        assert loop.time() - began == pytest.approx(10, abs=0.2)


@given(
    st.lists(st.tuples(st.integers(0, 4 * MB), st.floats(0, 3)), max_size=40),
    st.integers(0, 8 * MB),
    st.integers(1, 4 * MB),
)
def test_nothing_ever_passes_faster_than_burst_and_rate_allow(
    steps: list[tuple[int, float]], burst: int, rate: int
) -> None:
    clock = Clock()
    bucket = TokenBucket(ResponseLimits(burst, rate, max_bytes=0), clock)
    for size, pause_s in steps:
        clock.now += bucket.reserve(size)
        assert bucket.total_bytes <= burst + rate * clock.now + 1
        clock.now += pause_s
