"""The chat and its tools, without a network: a scripted model calls whatever tool the question names."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from chat.tools.due_date import due_date
from winterbourne import LambdaContext


@pytest.fixture(scope="module")
def handler() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"MODEL_PROVIDER": "scripted", "SCRIPTED_WORDS_PER_SECOND": "0", "AUTH": "none"}.items():
            environment.setenv(name, value)
        yield import_module("chat.app").handler


def ask(handler: Any, question: str) -> list[dict[str, Any]]:
    """The frames of the answer to a request as a function URL sends it."""
    event = {
        "version": "2.0",
        "rawPath": "/chat",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/chat", "sourceIp": "127.0.0.1"}},
        "body": json.dumps({"messages": [{"role": "user", "content": question}]}),
    }
    deadline_ms = f"{(time.time() + 60) * 1000:.0f}"
    response = handler(event, LambdaContext({"lambda-runtime-deadline-ms": deadline_ms}))
    assert response["statusCode"] == 200, response["body"]
    return [json.loads(line[6:]) for line in response["body"].splitlines() if line.startswith("data: {")]


def test_a_weekend_has_no_working_days() -> None:
    friday = dt.date(2025, 3, 28)
    assert due_date.function
    assert due_date.function(1, start=friday).date == dt.date(2025, 3, 31)


def test_the_chat_calls_the_tool_and_answers(handler: Any) -> None:
    frames = ask(handler, "When is the due_date, 10 working days from now?")
    assert [f["name"] for f in frames if f["type"] == "tool_call" and f["status"] == "completed"] == ["due_date"]
    assert frames[-1]["type"] == "done"
