"""The chat's Lambda handler: the tools it offers, in a process of its own."""

import json

import pytest

from tests.chat.processes import run

TOOLS = ["calculate", "convert_currency", "current_time", "get_stock_quote", "get_weather"]


@pytest.mark.parametrize(
    ("worker", "tools"), [("", TOOLS), ("worker", [*TOOLS, "simulate_savings"])], ids=["alone", "with a worker"]
)
def test_the_handler_answers_with_the_functions_tools(worker: str, tools: list[str]) -> None:
    output = run(
        """
        from chat import app
        event = {"rawPath": "/readyz", "requestContext": {"http": {"method": "GET"}}}
        print("answer", app.handler(event, CONTEXT)["body"])
        """,
        AUTH="none",
        MODEL_PROVIDER="scripted",
        TOOL_WORKER_FUNCTION=worker,
    )
    assert json.loads(output.rpartition("answer ")[2])["tools"] == tools
