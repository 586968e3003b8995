"""Tool registry: tools by name and calls checked before they run; missing settings are found at init."""

import logging

import msgspec
import pytest

from tests.chat.log_lines import log_lines
from tests.chat.tool_runtime.recording_clients import tool_call
from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.registry import ToolRegistry
from winterbourne.chat.tool_runtime.results import Outcome

RAISED: dict[str, type[BaseException]] = {
    "Aurora": ValueError,
    "Beagle": msgspec.ValidationError,
    "Endeavour": OSError,
    "Resolution": SystemExit,
}
INVALID_ARGUMENTS = "The arguments of moor do not fit its schema: a value is refused, at `$"
INTERNAL_ERROR = "moor failed because of an internal error."


class Berth(msgspec.Struct):
    ship: str

    def __post_init__(self) -> None:
        raise RAISED[self.ship](f"harbour:s3cr3t-pw has no {self.ship}")


@tool
async def moor(berth: Berth) -> str:
    """Moor."""
    return berth.ship


@tool(needs=["FINNHUB_API_KEY"])
async def needy() -> int:
    """Need a key."""
    return 1


@tool(name="needy")
async def namesake() -> int:
    """Have the same name."""
    return 1


@tool(needs=["FINHUB_API_KEY"])
async def mistyped() -> int:
    """Need a setting that does not exist."""
    return 1


@pytest.mark.parametrize(
    ("ship", "expected"),
    [
        ("Aurora", INVALID_ARGUMENTS),
        ("Beagle", INVALID_ARGUMENTS),
        ("Endeavour", INTERNAL_ERROR),
        ("Resolution", INTERNAL_ERROR),
    ],
)
@pytest.mark.parametrize("log_messages", [False, True])
def test_an_exception_raised_by_a_tools_argument_type_goes_to_the_log_only(
    ship: str, expected: str, *, log_messages: bool
) -> None:
    with log_lines() as lines:
        outcome = ToolRegistry([moor], Settings.of(log_messages=log_messages)).resolve(
            tool_call("moor", berth={"ship": ship}), ""
        )
    assert isinstance(outcome, Outcome)
    assert outcome.error.startswith(expected)
    assert outcome.status == "failed"
    (line,) = lines
    assert "harbour:s3cr3t-pw has no" in line
    assert (f"has no {ship}" in line) == log_messages


def test_two_tools_of_one_name_are_an_init_error() -> None:
    with pytest.raises(InvalidToolDeclaration, match="Two tools are named needy"):
        ToolRegistry([needy, namesake], Settings())


def test_a_need_that_is_not_a_setting_is_an_init_error() -> None:
    with pytest.raises(InvalidToolDeclaration, match="mistyped needs FINHUB_API_KEY, which is not a setting"):
        ToolRegistry([mistyped], Settings())


def test_a_missing_setting_is_logged_at_init_and_reported_to_the_model(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        registry = ToolRegistry([needy], Settings())
    assert caplog.messages == ["tool needy is not available: FINNHUB_API_KEY is not set"]
    outcome = registry.resolve(tool_call("needy"), "")
    assert isinstance(outcome, Outcome)
    assert outcome.error == "needy is not set up here: FINNHUB_API_KEY is not set. Tell the user; do not call it again."


def test_a_tool_whose_setting_is_present_can_run() -> None:
    assert not isinstance(
        ToolRegistry([needy], Settings.of(finnhub_api_key="k")).resolve(tool_call("needy"), ""), Outcome
    )


def test_unknown_tool_names_share_one_metric_label() -> None:
    registry = ToolRegistry([needy], Settings())
    assert [registry.metric_label(name) for name in ("needy", "made_up", "x" * 1000)] == ["needy", "unknown", "unknown"]
