"""The current_time tool: the time in any time zone."""

import datetime as dt

import pytest

from chat.tools.current_time import CurrentTime, current_time
from winterbourne.chat.errors import ToolError


async def now(timezone: str) -> CurrentTime:
    assert current_time.function
    result: CurrentTime = await current_time.function(timezone)
    return result


@pytest.mark.parametrize(
    ("timezone", "offset_h"), [("UTC", 0), ("utc", 0), ("Asia/Kolkata", 5.5), ("America/Lima", -5)]
)
async def test_it_has_the_offset_of_its_zone(timezone: str, offset_h: float) -> None:
    current = await now(timezone)
    time = dt.datetime.fromisoformat(current.time)
    assert time.utcoffset() == dt.timedelta(hours=offset_h)
    assert f"{time:%A}" == current.weekday


async def test_it_is_now() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    assert before <= dt.datetime.fromisoformat((await now("Europe/Paris")).time) <= dt.datetime.now(dt.UTC)


@pytest.mark.parametrize("name", ["Nowhere/Land", "", "../etc/passwd", "/etc/localtime", "Europe", "a\0b"])
async def test_a_zone_that_does_not_exist_is_an_error(name: str) -> None:
    with pytest.raises(ToolError, match="There is no time zone named"):
        await now(name)
