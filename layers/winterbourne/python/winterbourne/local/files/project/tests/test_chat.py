"""The chat and its tools, without a network: a scripted model calls whatever tool the question names."""

import datetime as dt
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from chat.tools.due_date import due_date
from winterbourne import LambdaContext

SETTINGS = {"MODEL_PROVIDER": "scripted", "SCRIPTED_WORDS_PER_SECOND": "0", "AUTH": "none"}


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return import_module("chat.app").handler


def ask(handler: Any, question: str) -> str:
    """The stream that answers a question, in one piece."""
    event = json.loads(Path(__file__).with_name("events").joinpath("chat.json").read_text())
    event["body"] = json.dumps({"messages": [{"role": "user", "content": question}]})
    deadline_ms = f"{(time.time() + 60) * 1000:.0f}"
    response = handler(event, LambdaContext({"lambda-runtime-deadline-ms": deadline_ms}))
    return str(response["body"])


def test_a_weekend_has_no_working_days() -> None:
    friday = dt.date(2025, 3, 28)
    assert due_date.function
    assert due_date.function(1, start=friday).date == dt.date(2025, 3, 31)


def test_the_chat_calls_the_tool_and_answers(handler: Any) -> None:
    answer = ask(handler, "When is the due_date, 10 working days from now?")
    assert '"name":"due_date","status":"completed"' in answer
    assert '"type":"done"' in answer
