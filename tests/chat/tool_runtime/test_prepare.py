"""Preparing a tool: settings that are missing are found when it is added, and it may read those that it declares."""

import logging

import msgspec
import pytest

from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor


@tool(keys=["SHOP_API_KEY"])
async def needy() -> int:
    """Need a key."""
    return 1


@tool
async def reads(context: ToolContext) -> str:
    """Read a setting."""
    return context.setting("AWS_REGION")


def keys(**values: object) -> dict[str, object]:
    """Every setting by the name of its variable."""
    return Settings.of(**values).values()


class TestSettings:
    async def test_a_missing_setting_is_logged_at_init_and_reported_to_the_model(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            executor = ToolExecutor([needy], keys=keys())
        assert caplog.messages == ["tool needy is not available: SHOP_API_KEY is not set"]
        (message,) = await run_turn(executor, tool_call("needy"))
        assert message.content == (
            "needy is not set up here: SHOP_API_KEY is not set. Tell the user; do not call it again."
        )

    async def test_a_tool_whose_setting_is_present_can_run(self) -> None:
        (message,) = await run_turn(ToolExecutor([needy], keys={"SHOP_API_KEY": "k"}), tool_call("needy"))
        assert message.content == "1"

    async def test_a_tool_may_read_its_optional_settings_and_no_others(self) -> None:
        executor = ToolExecutor(
            [msgspec.structs.replace(reads, optional_settings=("AWS_REGION",))], keys=keys(aws_region="eu-west-2")
        )
        (message,) = await run_turn(executor, tool_call("reads"))
        assert message.content == '"eu-west-2"'
        (message,) = await run_turn(ToolExecutor([reads], keys=keys(aws_region="eu-west-2")), tool_call("reads"))
        assert message.content == "reads failed because of an internal error."


def test_a_tool_without_options_passes_through_no_wrapper() -> None:
    prepared = ToolExecutor([reads])._tools["reads"]
    assert prepared.call is reads.call
    assert not prepared.shortcuts
    assert not prepared.on_start
