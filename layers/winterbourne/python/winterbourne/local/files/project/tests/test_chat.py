"""The chat and its tools, without a network: a scripted model calls whatever tool the question names."""

import datetime as dt
from importlib import import_module
from typing import Any

import pytest

from chat.tools.due_date import due_date
from winterbourne.local.testing import ask

SETTINGS = {"MODEL_PROVIDER": "scripted", "SCRIPTED_WORDS_PER_SECOND": "0", "AUTH": "none"}


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return import_module("chat.app").handler


def test_a_weekend_has_no_working_days() -> None:
    friday = dt.date(2025, 3, 28)
    assert due_date(1, start=friday).date == dt.date(2025, 3, 31)


def test_the_chat_calls_the_tool_and_answers(handler: Any) -> None:
    frames = ask(handler, "When is the due_date, 10 working days from now?")
    assert ("due_date", "completed") in [(frame.get("name"), frame.get("status")) for frame in frames]
    assert frames[-1]["type"] == "done"
