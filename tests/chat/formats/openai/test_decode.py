"""OpenAI chat completion requests: their options, the models on offer, and error bodies."""

from typing import Any

import orjson
import pytest

from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.messages import ChatRequest, OutputSchema, ToolSchema
from winterbourne.chat.core.request_checks import check_request
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.openai import FORMAT, models_body
from winterbourne.chat.settings import ModelSettings, Settings

HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}


def checked(body: dict[str, Any], settings: Settings) -> ChatRequest:
    request, _ = FORMAT.decode(body)
    known = Capabilities()
    return check_request(
        request, settings.request, settings.model, (), lambda _: known, limits_tokens=FORMAT.limits_tokens
    )


class TestBodies:
    def test_tools_and_choice_are_passed_on_but_not_strict(self) -> None:
        strict = {"type": "function", "function": {"name": "x", "description": "X", "strict": True}}
        choice = {"type": "function", "function": {"name": "x"}}
        chat = read(FORMAT, {"messages": [HI], "tools": [TOOL, strict], "tool_choice": choice})
        assert chat.tool_choice == "x"
        empty: dict[str, object] = {"type": "object", "properties": {}}
        assert chat.client_tools == (
            ToolSchema("ask_user", "", empty),
            ToolSchema("x", "X", empty),
        )

    def test_a_conversation_may_be_named_so_that_it_can_be_stopped(self) -> None:
        assert read(FORMAT, {"messages": [HI], "metadata": {"conversation_id": "c_1"}}).conversation_id == "c_1"

    def test_both_names_of_the_token_limit_are_read(self) -> None:
        assert read(FORMAT, {"messages": [HI], "max_tokens": 5}).max_tokens == 5
        assert read(FORMAT, {"messages": [HI], "max_completion_tokens": 6, "max_tokens": 5}).max_tokens == 6

    @pytest.mark.parametrize(
        "option",
        [
            {"n": 2},
            {"logprobs": True},
            {"top_logprobs": 2},
            {"logit_bias": {"50256": -100}},
            {"functions": [{"name": "f"}]},
            {"function_call": {"name": "f"}},
            {"modalities": ["text", "audio"]},
            {"audio": {"voice": "alloy", "format": "mp3"}},
            {"prediction": {"type": "content", "content": "x"}},
            {"web_search_options": {}},
            {"verbosity": "low"},
            {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        ],
        ids=str,
    )
    def test_an_option_that_nobody_keeps_is_rejected_by_its_name(self, option: dict[str, Any]) -> None:
        with pytest.raises(RequestRejected, match=next(iter(option))) as raised:
            read(FORMAT, {"messages": [HI], **option})
        assert (raised.value.status, raised.value.code) == (400, "unsupported_parameter")

    def test_an_option_that_asks_for_nothing_is_passed_over(self) -> None:
        nothing = {"n": 1, "logprobs": False, "logit_bias": None, "modalities": ["text"], "functions": []}
        harmless = {"user": "u", "service_tier": "auto", "safety_identifier": "s", "store": True}
        assert read(FORMAT, {"messages": [HI], **nothing, **harmless}) == read(FORMAT, {"messages": [HI]})

    def test_a_limit_of_tokens_above_ours_is_ours(self) -> None:
        settings, body = Settings.of(model_max_tokens=100), {"messages": [HI], "max_completion_tokens": 128_000}
        assert checked(body, settings).max_tokens == 100

    @pytest.mark.parametrize(
        ("response_format", "output"),
        [
            ({"type": "text"}, None),
            ({"type": "json_object"}, OutputSchema()),
            (
                {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
                OutputSchema(schema={"type": "object"}, name="n", strict=True),
            ),
            ({"type": "json_schema", "json_schema": {"name": "n"}}, OutputSchema(schema={}, name="n")),
        ],
        ids=str,
    )
    def test_the_format_of_the_answer_is_read(self, response_format: Any, output: OutputSchema | None) -> None:
        assert read(FORMAT, {"messages": [HI], "response_format": response_format}).output == output

    @pytest.mark.parametrize(
        "response_format", [{"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}]
    )
    def test_a_format_that_there_is_not_is_rejected(self, response_format: Any) -> None:
        assert rejection(FORMAT, {"messages": [HI], "response_format": response_format}) == (400, "invalid_request")

    def test_the_default_model_may_be_named_or_omitted(self) -> None:
        settings = Settings.of(model_id="big", model_choices="small")
        assert read(FORMAT, {"messages": [HI], "model": "big"}, settings).model_id is None
        assert read(FORMAT, {"messages": [HI]}, settings).model_id is None
        assert read(FORMAT, {"messages": [HI], "model": "small"}, settings).model_id == "small"

    def test_a_model_that_is_not_available_is_not_found(self) -> None:
        assert rejection(FORMAT, {"messages": [HI], "model": "huge"}) == (404, "model_not_found")

    def test_the_available_models_are_listed(self) -> None:
        listed = orjson.loads(models_body(ModelSettings(model_id="big", model_choices="small, big")))
        assert [model["id"] for model in listed["data"]] == ["big", "small"]

    def test_a_result_without_a_call_is_left_out(self) -> None:
        result = {"role": "tool", "tool_call_id": "c1", "content": "yes"}
        assert len(read(FORMAT, {"messages": [HI, result]}).messages) == 1

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (429, "rate_limit_error"),
            (500, "server_error"),
        ],
    )
    def test_an_error_body_has_the_sdks_shape(self, status: int, kind: str) -> None:
        body = orjson.loads(FORMAT.encode_error(status, "x", "no", "r-1")[1])
        assert body == {"error": {"message": "no", "type": kind, "param": None, "code": "x", "request_id": "r-1"}}
