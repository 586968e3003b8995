"""The OpenAI SDKs, for Node and for Python, against the local function URL."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import APIError, APIStatusError, NotFoundError, OpenAI
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolParam,
)

from tests import npm

pytestmark = pytest.mark.slow

MODEL = "scripted"
FIVE = "the weather in Paris and Lima, and AAPL and MSFT shares, and 1200 EUR in USD"
PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"question": {"type": "string"}},
    "required": ["question"],
}
ASK_USER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "ask_user", "description": "Ask", "parameters": PARAMETERS},
}


def user_message(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def outcome(chat: str) -> Any:
    """The outcome of each scenario of tests/clients/openai.mjs."""
    return npm.run("openai.mjs", chat)


@pytest.fixture(scope="module")
def client(chat: str) -> Iterator[OpenAI]:
    """The SDK for Python."""
    with OpenAI(base_url=f"{chat}/v1", api_key="unused", max_retries=0) as client:
        yield client


class TestNode:
    def test_a_stream_adds_up_to_a_completion(self, outcome: Any) -> None:
        completion = outcome["streamed"]["completion"]
        assert completion["choices"][0]["finish_reason"] == "stop"
        assert "Paris" in completion["choices"][0]["message"]["content"]
        assert completion["usage"]["total_tokens"] > 0
        assert outcome["streamed"]["kinds"] == ["chat.completion.chunk"]

    def test_server_tools_run_within_the_answer(self, outcome: Any) -> None:
        message = outcome["whole"]["choices"][0]["message"]
        assert "Paris" in message["content"]
        assert "tool_calls" not in message

    def test_a_call_of_the_callers_tool_is_returned_and_its_result_is_used(self, outcome: Any) -> None:
        called, after = outcome["ownTool"]["called"], outcome["ownTool"]["after"]
        assert called["finish_reason"] == "tool_calls"
        assert [call["function"]["name"] for call in called["message"]["tool_calls"]] == ["ask_user"]
        assert "blue" in after["choices"][0]["message"]["content"]

    def test_models_are_listed(self, outcome: Any) -> None:
        assert outcome["models"] == [MODEL]

    def test_errors_have_the_sdks_own_types(self, outcome: Any) -> None:
        unknown, stream, whole = outcome["unknownModel"], outcome["failedStream"], outcome["failedWhole"]
        assert (unknown["kind"], unknown["status"], unknown["code"]) == ("NotFoundError", 404, "model_not_found")
        assert (stream["kind"], stream["code"]) == ("APIError", "model_busy")
        assert (whole["kind"], whole["status"]) == ("InternalServerError", 503)


class TestPython:
    def test_a_stream_comes_in_chunks_and_counts_its_tokens(self, client: OpenAI) -> None:
        options: ChatCompletionStreamOptionsParam = {"include_usage": True}
        with client.chat.completions.create(
            model=MODEL, messages=user_message(FIVE), stream=True, stream_options=options
        ) as stream:
            *chunks, last = stream
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert "Lima" in text
        assert len(chunks) > 20
        assert last.usage
        assert last.usage.total_tokens > 0
        assert last.usage.to_dict()["cost"] > 0  # type: ignore[operator]

    def test_an_answer_can_be_a_single_response(self, client: OpenAI) -> None:
        completion = client.chat.completions.create(model=MODEL, messages=user_message("the weather in Paris"))
        assert "Paris" in (completion.choices[0].message.content or "")
        assert completion.usage
        assert completion.usage.total_tokens > 0

    def test_a_call_of_the_callers_tool_is_returned_and_its_result_is_used(self, client: OpenAI) -> None:
        messages = user_message("please ask_user")
        with client.chat.completions.stream(model=MODEL, messages=messages, tools=[ASK_USER]) as stream:
            called = stream.get_final_completion().choices[0]
        assert called.finish_reason == "tool_calls"
        assert called.message.tool_calls
        [call] = called.message.tool_calls
        assert call.function.name == "ask_user"
        history: list[ChatCompletionMessageParam] = [
            *messages,
            called.message.model_dump(exclude_none=True),  # type: ignore[list-item]  # a plain dict
            {"role": "tool", "tool_call_id": call.id, "content": "blue"},
        ]
        after = client.chat.completions.create(model=MODEL, messages=history, tools=[ASK_USER])
        assert "blue" in (after.choices[0].message.content or "")

    def test_an_answer_with_a_conversation_id_can_be_stopped(self, client: OpenAI, chat: str) -> None:
        name = {"conversation_id": f"c_{uuid.uuid4().hex}"}
        chunks = []
        with client.chat.completions.create(
            model=MODEL, messages=user_message("count to 2000"), stream=True, metadata=name
        ) as stream:
            for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == 3:
                    assert httpx.post(f"{chat}/chat/{name['conversation_id']}/stop", timeout=30).status_code == 202
        assert chunks[-1].choices[0].finish_reason == "length"
        assert chunks[-1].model_extra == {"stopped": "user"}
        assert len(chunks) < 2000

    def test_models_are_listed(self, client: OpenAI) -> None:
        assert [model.id for model in client.models.list()] == [MODEL]

    def test_an_unavailable_model_is_not_found(self, client: OpenAI) -> None:
        with pytest.raises(NotFoundError) as raised:
            client.chat.completions.create(model="huge", messages=user_message("Hi"))
        assert raised.value.code == "model_not_found"

    def test_a_failure_without_a_stream_has_its_status(self, client: OpenAI) -> None:
        with pytest.raises(APIStatusError) as failed:
            client.chat.completions.create(model=MODEL, messages=user_message("fail halfway"))
        assert failed.value.status_code == 503

    def test_a_failure_in_a_stream_is_raised_where_it_is_read(self, client: OpenAI) -> None:
        with client.chat.completions.create(model=MODEL, messages=user_message("fail halfway"), stream=True) as stream:
            heard = iter(stream)
            assert next(heard).choices[0].delta.role == "assistant"
            with pytest.raises(APIError, match="The model is busy"):
                list(heard)
