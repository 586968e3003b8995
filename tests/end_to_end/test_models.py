"""Every provider through the whole chat function, against aimock, an independent provider server."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.aimock import aimock
from tests.local_server import local_server

pytestmark = pytest.mark.slow

FIVE = [
    {"id": "call_a", "name": "get_weather", "arguments": {"city": "Paris"}},
    {"id": "call_b", "name": "get_weather", "arguments": {"city": "Lima"}},
    {"id": "call_c", "name": "current_time", "arguments": {"timezone": "UTC"}},
    {"id": "call_d", "name": "calculate", "arguments": {"expression": "6 * 7"}},
    {
        "id": "call_e",
        "name": "convert_currency",
        "arguments": {"amount": 5, "from_currency": "EUR", "to_currency": "USD"},
    },
]
FIXTURES: list[dict[str, Any]] = [
    {
        "match": {"userMessage": "five tools", "hasToolResult": False},
        "response": {"content": "Let me check.", "toolCalls": FIVE},
        "chunkSize": 8,
    },
    {
        "match": {"userMessage": "five tools", "hasToolResult": True},
        "response": {"content": "All five answered: 🌍."},
        "chunkSize": 3,
    },
    {"match": {"userMessage": "and then", "turnIndex": 1}, "response": {"content": "I remember."}},
    {
        "match": {"userMessage": "busy once", "sequenceIndex": 0},
        "response": {"error": {"message": "Slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 1},
    },
    {"match": {"userMessage": "busy once"}, "response": {"content": "Here I am."}},
    {
        "match": {"userMessage": "cut me"},
        "response": {"content": "This will not come to its end, I am afraid."},
        "chunkSize": 4,
        "latency": 20,
        "truncateAfterChunks": 8,
    },
    {
        "match": {"userMessage": "broken arguments", "hasToolResult": False},
        "response": {
            "toolCalls": [
                {"id": "call_x", "name": "calculate", "arguments": '{"expression": '},
                {"id": "call_y", "name": "calculate", "arguments": {"expression": "6 * 7"}},
            ]
        },
    },
    {"match": {"userMessage": "broken arguments", "hasToolResult": True}, "response": {"content": "One of two."}},
    {
        "match": {"userMessage": "wrong key"},
        "response": {"error": {"message": "bad key", "type": "auth"}, "status": 401},
    },
]

SETTINGS: dict[str, Callable[[str], dict[str, str]]] = {
    "openai": lambda url: {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-test-12345678"},
    "openai responses": lambda url: {**SETTINGS["openai"](url), "OPENAI_API": "responses"},
    "anthropic": lambda url: {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-test-12345678"},
    "bedrock": lambda url: {"BEDROCK_BASE_URL": url, "AWS_BEARER_TOKEN_BEDROCK": "sk-test-12345678"},
}


@pytest.fixture(scope="module", params=SETTINGS)
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the chat with one provider."""
    folder = tmp_path_factory.mktemp(request.param)
    with aimock(folder, FIXTURES) as provider:
        settings = {"MODEL_PROVIDER": request.param.split()[0], **SETTINGS[request.param](provider)}
        flags = [flag for name, value in settings.items() for flag in ("--env", f"{name}={value}")]
        with local_server(folder, *flags) as server:
            yield f"{server.url}/chat"


def ask(chat: str, *contents: str | dict[str, Any]) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": one} if isinstance(one, str) else one for one in contents]
    answer = httpx.post(chat, json={"messages": messages}, timeout=30)
    assert answer.status_code == 200, answer.text
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def answer_text(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["delta"] for frame in frames if frame["type"] == "content")


def outcomes(frames: list[dict[str, Any]]) -> dict[str, str]:
    calls = [frame for frame in frames if frame["type"] == "tool_call"]
    return {call["id"]: call["status"] for call in calls if call["status"] != "started"}


def test_five_tools_in_parallel_then_an_answer(chat: str) -> None:
    frames = ask(chat, "five tools please")
    assert answer_text(frames) == "Let me check.All five answered: 🌍."
    assert outcomes(frames) == {call["id"]: "completed" for call in FIVE}
    assert (frames[-1]["type"], frames[-1]["stop_reason"], frames[-1]["turns"]) == ("done", "stop", 2)


def test_a_second_question_includes_the_first_answer(chat: str) -> None:
    frames = ask(chat, "hello", {"role": "assistant", "content": "Hello!"}, "and then?")
    assert answer_text(frames) == "I remember."


def test_a_single_429_is_retried_unnoticed(chat: str) -> None:
    frames = ask(chat, "busy once")
    assert answer_text(frames) == "Here I am."
    assert frames[-1]["type"] == "done"


def test_a_broken_stream_ends_with_an_error_after_the_text_so_far(chat: str) -> None:
    frames = ask(chat, "cut me")
    assert "This will not come to its end".startswith(answer_text(frames)[:4])
    assert answer_text(frames)
    assert (frames[-1]["type"], frames[-1]["code"]) == ("error", "model_stream_truncated")


def test_broken_arguments_fail_one_call_and_no_other(chat: str) -> None:
    frames = ask(chat, "broken arguments")
    assert outcomes(frames) == {"call_x": "failed", "call_y": "completed"}
    assert answer_text(frames) == "One of two."


def test_a_rejected_key_is_reported_without_the_key(chat: str) -> None:
    frames = ask(chat, "wrong key")
    assert (frames[-1]["type"], frames[-1]["code"]) == ("error", "model_refused")
    assert frames[-1]["message"] == "The model is not available at the moment."
    assert "12345678" not in json.dumps(frames)
