"""One runner per environment: made before the loop runs, used in it."""

import asyncio

from chat.toolkit.runner import ToolRunner
from chat.toolkit.tool import tool
from tests.function.toolkit.hearing import answers, asked


@tool(breaker="one", cache_ttl_s=1, concurrency=1)
def one() -> int:
    """One."""
    return 1


def test_it_is_made_without_an_event_loop() -> None:
    runner = ToolRunner([one])
    (message,) = asyncio.run(answers(runner, asked("one")))
    assert message.content == "1"


def test_its_schemas_are_what_a_model_is_told() -> None:
    (schema,) = ToolRunner([one]).schemas
    assert (schema.name, schema.description) == ("one", "One.")
