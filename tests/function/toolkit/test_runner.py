"""Tools run side by side, and every call gets exactly one last word."""

import asyncio

from chat.events import Batch, ToolEvent, ToolFinished
from chat.messages import ToolCall
from chat.toolkit.runner import ToolRunner
from chat.toolkit.tool import tool
from tests.clock import jumping


@tool
async def wait(seconds: float) -> float:
    """Wait.

    Args:
        seconds: How long.
    """
    await asyncio.sleep(seconds)
    return seconds


@tool
async def fail() -> None:
    """Raise."""
    raise RuntimeError("no luck")


class Heard:
    """A client that hears everything."""

    def __init__(self) -> None:
        self.events: list[ToolEvent] = []

    async def __call__(self, batch: Batch) -> None:
        self.events += batch  # type: ignore[arg-type]  # the runner sends tool events only

    @property
    def finished(self) -> list[ToolFinished]:
        return [event for event in self.events if isinstance(event, ToolFinished)]


class TestCallsOfOneTurn:
    @jumping
    async def test_finish_in_their_own_time_and_are_handed_over_in_call_order(self) -> None:
        heard = Heard()
        async with ToolRunner([wait]).turn(heard) as turn:
            for number, seconds in enumerate((0.3, 0.1, 0.2)):
                turn.start(ToolCall(str(number), "wait", f'{{"seconds":{seconds}}}'))
            messages = await turn.results()
        assert [message.content for message in messages] == ["0.3", "0.1", "0.2"]
        assert [event.id for event in heard.finished] == ["1", "2", "0"]

    @jumping
    async def test_a_failing_or_unknown_one_disturbs_no_other(self) -> None:
        async with ToolRunner([wait, fail]).turn(Heard()) as turn:
            for name in ("fail", "wait", "made_up"):
                turn.start(ToolCall(name, name, '{"seconds":1}' if name == "wait" else ""))
            failed, waited, unknown = await turn.results()
        assert (failed.content, failed.is_error) == ("RuntimeError: no luck", True)
        assert (waited.content, waited.is_error) == ("1.0", False)
        assert unknown.content == "There is no tool named made_up; the tools are wait, fail."
