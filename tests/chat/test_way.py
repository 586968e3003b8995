"""The way of a request: through how many files of the source one question with one tool call travels."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.chat.test_app import make_service
from tests.runtime.harness import serving, url_event
from tests.upstream import saying, upstream
from winterbourne import streamify_response
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.tool_runtime.declaration import tool

SOURCE = str(Path(__file__).parents[2] / "layers")

CALL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":'
    b'{"name":"add","arguments":"{\\"one\\":1,\\"other\\":1}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
)
ANSWER = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"two"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
QUESTION = url_event("POST", "/chat", body='{"messages":[{"role":"user","content":"1+1"}]}') | {
    "headers": {"content-type": "application/json"}
}


@tool
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


@contextmanager
def files_called() -> Iterator[list[str]]:
    """The file of each call on this thread, in order; a coroutine that goes on counts as called again."""
    files: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE) and frame.f_code.co_name[0] != "<":
            files.append(frame.f_code.co_filename)

    sys.setprofile(profile)
    try:
        yield files
    finally:
        sys.setprofile(None)


@pytest.mark.usefixtures("own_hooks")
async def test_a_question_with_a_tool_call_changes_files_at_most_190_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what it was: each change is a place where a reader has to open another file to go on."""
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)  # a poller sets it
    async with upstream(*[saying(CALL), saying(ANSWER)] * 2) as provider:
        service = make_service(add, model_provider="openai", openai_base_url=f"{provider.url}/v1")
        async with serving(streamify_response(LambdaDoor(service).handle)) as api:
            await api.invoke(QUESTION)  # opens the connection to the provider, imports what is imported late
            with files_called() as files:
                outcome = await api.invoke(QUESTION)
    assert b'"type":"done"' in outcome.body
    assert len(set(files)) <= 46
    assert sum(one != other for one, other in itertools.pairwise(files)) <= 190
