"""OpenAI's SDK, LangChain, pydantic-ai and LiteLLM as clients of `/v1`, each as its users call it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.clients import environment
from tests.provider import Provider

pytestmark = pytest.mark.clients

__all__ = ["run"]

CLIENTS = ("openai_sdk", "langchain", "pydantic_ai_agent", "litellm_client")


def run(script: str, *arguments: str, python: Path | None = None) -> Any:
    """What a script of this folder prints, as JSON; LiteLLM prints lines of its own before it."""
    command: list[str | Path] = [
        python or environment.python(),
        Path(__file__).parent / "scripts" / f"{script}.py",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=CLIENTS)
def outcome(request: pytest.FixtureRequest, chat: str) -> Any:
    """The outcome of each scenario of one client's script."""
    return run(request.param, chat)


def test_a_stream_adds_up_to_the_answer(outcome: Any) -> None:
    assert "Paris" in outcome["streamed"]


def test_a_tool_of_the_clients_own_is_called_and_its_result_used(outcome: Any) -> None:
    assert "blue" in outcome["own_tool"]


def test_the_history_that_a_client_carries_is_taken(outcome: Any) -> None:
    assert "Rome" in outcome["second_question"]


def test_an_unknown_model_is_the_sdks_own_error(chat: str) -> None:
    assert run("openai_sdk", chat)["unknown_model"] == ["NotFoundError", 404, "model_not_found"]


CONTEXT_FULL = {"code": "context_length_exceeded", "message": "This model's maximum context length is 8192 tokens."}


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, CONTEXT_FULL, ["BadRequestError", 400, "context_length_exceeded"]),
        (401, {"message": "Incorrect API key provided"}, ["InternalServerError", 502, "model_refused"]),
        (404, {"message": "no such model"}, ["InternalServerError", 502, "model_refused"]),
    ],
)
def test_what_asking_again_cannot_mend_is_asked_once(
    refused: str, upstream: Provider, way: str, status: int, error: dict[str, str], kind: list[object]
) -> None:
    upstream.rejects_with(status, error)
    before = len(upstream.requests)
    assert run("openai_sdk_refused", refused, way) == kind
    assert len(upstream.requests) == before + 1
