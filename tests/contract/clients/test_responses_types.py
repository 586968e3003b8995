"""openai's own types take what is sent to Responses, and what the strict fake of it and the transcripts send."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import transcripts
from tests.contract.clients.test_python_clients import run
from tests.contract.providers.clients import Talk
from tests.contract.providers.fake import Answer, ResponseEvents, strict_providers
from tests.contract.providers.scenarios import ADD, COUNT, PNG
from winterbourne.chat.infra.sse_parser import SseParser

pytestmark = [pytest.mark.clients, pytest.mark.usefixtures("own_hooks")]

AS_OPENAI_SENDS_THEM = ("text", "reasoning_and_calls", "refusal", "incomplete_in_arguments", "failed")
"""Transcripts in which nothing is made up."""
REST = {"created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
"""What they leave out of a response."""


def complaints(folder: Path, requests: list[Any], events: list[Any]) -> Any:
    file = folder / "given.json"
    file.write_text(json.dumps({"requests": requests, "events": events}))
    return run("responses_types", str(file))


def parsed(stream: bytes) -> list[Any]:
    return [json.loads(payload) for payload in SseParser().feed(stream)]


async def test_the_requests_fit(tmp_path: Path) -> None:
    async with strict_providers("openai") as providers:
        talk = Talk.begin("stored", providers["openai"])
        talk.model(Answer("Let me see.", (ADD, COUNT)), Answer("3 and 3."))
        await talk.ask("1 + 2, and ships?", PNG, max_tokens=500)
        await talk.ask("Sure?")
        requests: list[Any] = [dict(request) for request in providers["openai"].requests]
    items = [item for request in requests for item in request["input"] if item.get("type") == "reasoning"]
    assert items
    for item in items:
        item["id"] = "rs_1"  # the types demand the id of an item that is not stored, which the service refuses
    assert complaints(tmp_path, requests, []) == []


def test_the_fakes_events_fit(tmp_path: Path) -> None:
    events = ResponseEvents()
    stream = [
        *events.opening(),
        *events.reasoning("Hm.", "gAAAA"),
        *events.message("Let me see.", "commentary"),
        *events.call("call_1", "add", '{"a":1}'),
        events.ending(),
    ]
    assert complaints(tmp_path, [], parsed(b"".join(stream))) == []


def test_the_transcripts_fit(tmp_path: Path) -> None:
    events = [event for name in AS_OPENAI_SENDS_THEM for event in parsed(transcripts.wire("openai_responses", name))]
    whole = [{**event, "response": {**REST, **event["response"]}} if "response" in event else event for event in events]
    assert complaints(tmp_path, [], whole) == []


def test_what_does_not_fit_is_found(tmp_path: Path) -> None:
    event = {"type": "response.output_text.delta", "delta": 5}
    request = {"model": "m", "stream": True, "input": [{"type": "function_call_output", "call_id": "c"}]}
    assert len(complaints(tmp_path, [request], [event])) == 2
