"""Structured answers as stock clients ask for them: OpenAI's SDK, LangChain, pydantic-ai, instructor and the AI SDK.

The scripted provider constrains its output itself. The one behind `refused` does not, and wraps its JSON in words.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.contract.clients import environment
from tests.contract.clients.test_python_clients import run
from tests.provider import Provider

pytestmark = pytest.mark.clients

PARIS = {"city": "Paris", "temperature": 18}
FENCED = ('Here it is:\n```json\n{"city": "Paris",', ' "temperature": 18}\n```')
IN_ITS_OWN_WAYS = [
    ("structured_openai", ""),
    ("structured_langchain", "json_schema,json_mode"),
    ("structured_pydantic_ai", "native,prompted"),
    ("structured_instructor", "JSON,JSON_SCHEMA,MD_JSON"),
]
CONSTRAINED_AND_BY_A_TOOL = [
    ("structured_langchain", "json_schema,function_calling"),
    ("structured_pydantic_ai", "native,tool"),
    ("structured_instructor", "JSON_SCHEMA,TOOLS"),
]


def outcomes(script: str, *arguments: str) -> dict[str, Any]:
    """The outcome of each scenario; instructor needs an older SDK of OpenAI than the others."""
    lock = Path(__file__).with_name("instructor.txt")
    python = environment.python(lock, "instructor") if script == "structured_instructor" else None
    outcome: dict[str, Any] = run(script, *arguments, python=python)
    return outcome


def stream(text: str, reason: str) -> bytes:
    """A model's answer that ends for this reason."""
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]
    return b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"id": "c", "choices": choices}).encode()


@pytest.mark.parametrize(("script", "scenarios"), IN_ITS_OWN_WAYS)
def test_a_model_without_schemas_is_told_and_its_json_is_found(
    refused: str, upstream: Provider, script: str, scenarios: str
) -> None:
    upstream.responds_with(*FENCED)
    assert all(outcome == PARIS for outcome in outcomes(script, refused, "any", scenarios).values())
    assert "valid by this JSON schema" in json.dumps(upstream.requests) or "JSON object" in json.dumps(
        upstream.requests
    )


@pytest.mark.parametrize(("script", "scenarios"), CONSTRAINED_AND_BY_A_TOOL)
def test_servers_tools_run_before_an_answer_and_beside_a_forced_tool(chat: str, script: str, scenarios: str) -> None:
    constrained, by_a_tool = outcomes(script, chat, "scripted", scenarios).values()
    assert constrained == {"city": "the weather in Paris", "temperature": 1}
    assert by_a_tool["temperature"] == 18


def test_the_ai_sdk_has_its_object(refused: str, upstream: Provider) -> None:
    upstream.responds_with(*FENCED)
    assert npm.run("structured.mjs", refused, "any") == dict.fromkeys(
        ("openai", "compatible", "output", "streamed"), PARIS
    )


def test_an_invalid_answer_is_mended_once_and_never_shown(refused: str, upstream: Provider) -> None:
    upstream.responds_with_streams(stream('{"city": "Paris"}', "stop"), stream(json.dumps(PARIS), "stop"))
    before = len(upstream.requests)
    assert outcomes("structured_openai", refused, "any")["parsed"] == PARIS
    repair = upstream.requests[before + 1]["messages"]
    assert [message["role"] for message in repair[-3:]] == ["user", "assistant", "user"]
    assert "temperature" in repair[-1]["content"]


def test_an_answer_that_stays_invalid_is_the_sdks_own_error(refused: str, upstream: Provider) -> None:
    upstream.responds_with_streams(stream('{"city": "Pa', "length"))
    outcome = outcomes("structured_openai", refused, "any")
    assert outcome["parsed"] == outcome["any_object"] == [502, "invalid_output"]
    assert outcome["streamed"][1] == "invalid_output"
