"""Counts working days: an example of a tool, to be replaced by your own."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from winterbourne.chat import tool


class DueDate(msgspec.Struct, frozen=True):
    """The tool's result."""

    date: dt.date
    weekday: str


# A tool with a key of its own: @tool(keys=["SHOP_API_KEY"]), async, with a parameter `context: ToolContext`, which
# reads it by `await context.key("SHOP_API_KEY")`. README.md says where the key comes from.
@tool
def due_date(working_days: Annotated[int, Meta(ge=0, le=1000)], start: dt.date | None = None) -> DueDate:
    """Find the date that is a number of working days (Monday to Friday) after another.

    Args:
        working_days: How many, for example 10.
        start: The date to count from, such as 2025-03-28; today if it is left out.
    """
    day = start or dt.datetime.now(dt.UTC).date()
    while working_days:
        day += dt.timedelta(days=1)
        working_days -= day.weekday() < 5
    return DueDate(day, f"{day:%A}")
