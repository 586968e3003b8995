"""The date and the time in any time zone."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from winterbourne.chat import ToolError, tool

__all__ = ["CurrentTime", "current_time"]


class CurrentTime(msgspec.Struct, frozen=True):
    """The tool's result. `time` is ISO 8601 with the offset from UTC."""

    timezone: str
    time: str
    weekday: str


@tool
async def current_time(timezone: Annotated[str, Meta(max_length=64)] = "UTC") -> CurrentTime:
    """The current date, time and weekday in a time zone.

    Args:
        timezone: An IANA name such as Europe/Paris.
    """
    now = dt.datetime.now(_zone(timezone))
    return CurrentTime(timezone, now.isoformat(timespec="seconds"), f"{now:%A}")


def _zone(name: str) -> dt.tzinfo:
    if name.upper() == "UTC":
        return dt.UTC  # also where the machine has no time zones at all
    import zoneinfo  # noqa: PLC0415 - 5 ms that only this answer needs

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"There is no time zone named {name}; use an IANA name such as Europe/Paris.") from None
