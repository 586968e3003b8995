"""Stateless requests of MCP say all about themselves, and what a server asks for is read within bounds."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    InboundModernRoute,
    classify_inbound_request,
    decode_header_value,
    validate_mcp_param_headers,
)

from winterbourne.chat.errors import InputRequired, ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.mcp.stateless import (
    MAX_FORM_BYTES,
    MAX_STATE_BYTES,
    answer,
    argument_headers,
    read_state,
    request_of,
)

FORM = {"type": "object", "properties": {"size": {"type": "string"}}}


def asked(state: Any = "s", **more: Any) -> dict[str, Any]:
    params = {"message": "Which size?", "requestedSchema": FORM, **more}
    requests = {"k": {"method": "elicitation/create", "params": params}}
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}


class TestRequest:
    """Checked by what the official server checks it with."""

    @given(st.text())
    def test_is_what_the_official_server_takes(self, name: str) -> None:
        params = {"name": name, "arguments": {}, "_meta": {"progressToken": 1}}
        message, headers = request_of({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        assert isinstance(classify_inbound_request(message, headers=headers), InboundModernRoute)
        assert all(value.isascii() and value.isprintable() for value in headers.values())
        assert message["params"]["_meta"]["progressToken"] == 1

    @given(st.text() | st.booleans() | st.integers(-(2**53), 2**53) | st.none() | st.lists(st.none()))
    def test_repeats_the_arguments_that_the_schema_marks(self, value: Any) -> None:
        schema = {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}, "other": {}}}
        arguments = {"city": value, "other": "x"}
        headers = argument_headers(schema, arguments)
        assert validate_mcp_param_headers(schema, arguments, headers) is None

    @pytest.mark.parametrize("token", ["", "a b", "a\r\nb", "a:b", 5, None, "é", "x" * 65])
    def test_has_no_header_that_cannot_be_one(self, token: Any) -> None:
        assert argument_headers({"properties": {"a": {"x-mcp-header": token}, "b": True}}, {"a": "1"}) == {}

    def test_says_whether_a_person_can_be_asked(self) -> None:
        message = {"method": "tools/call", "params": {}}
        key = "io.modelcontextprotocol/clientCapabilities"
        assert request_of(message)[0]["params"]["_meta"][key] == {}
        assert request_of(message, takes_forms=True)[0]["params"]["_meta"][key] == {"elicitation": {"form": {}}}

    def test_a_value_that_looks_encoded_is_encoded(self) -> None:
        _, headers = request_of({"method": "tools/call", "params": {"name": "=?base64?eA==?="}})
        assert decode_header_value(headers["mcp-name"]) == "=?base64?eA==?="


class TestInput:
    @given(st.none() | st.text())
    def test_goes_back_with_the_state_byte_for_byte(self, state: str | None) -> None:
        with pytest.raises(InputRequired) as error:
            read_state(asked(state))
        assert (error.value.message, error.value.schema) == ("Which size?", FORM)
        back = answer(error.value.state, {"size": "L"})
        assert back.get("requestState") == state
        assert back["inputResponses"] == {"k": {"action": "accept", "content": {"size": "L"}}}

    def test_a_state_alone_is_asked_again_with(self) -> None:
        assert read_state({"resultType": "input_required", "requestState": "s"}) == "s"

    @pytest.mark.parametrize(
        "result",
        [
            {"resultType": "partial"},
            {"resultType": 5},
            {"resultType": "input_required"},
            {"resultType": "input_required", "requestState": 5},
            {"resultType": "input_required", "requestState": "s", "inputRequests": [1]},
            {"resultType": "input_required", "requestState": "x" * (MAX_STATE_BYTES + 1)},
            asked("x" * (MAX_STATE_BYTES + 1)),
        ],
    )
    def test_that_cannot_be_read_is_the_servers_fault(self, result: dict[str, Any]) -> None:
        with pytest.raises(ToolUnavailable, match="kind that cannot be read"):
            read_state(result)

    @pytest.mark.parametrize(
        "result",
        [
            asked(mode="url"),
            asked(message=None),
            asked(requestedSchema=[1]),
            asked(requestedSchema={"type": "object", "title": "x" * MAX_FORM_BYTES}),
            asked() | {"inputRequests": {"k": {"method": "sampling/createMessage", "params": {}}}},
            asked() | {"inputRequests": {"k": "x"}},
            asked() | {"inputRequests": asked()["inputRequests"] | {"k2": {}}},
        ],
    )
    def test_that_cannot_be_given_is_said_to_the_model(self, result: dict[str, Any]) -> None:
        with pytest.raises(ToolError, match="something that cannot be given here"):
            read_state(result)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["params", "message", "requestedSchema", "mode", "k"]), inner)
            ),
        ),
        st.none() | st.text(),
    )
    def test_of_any_shape_is_refused_or_read(self, requests: Any, state: Any) -> None:
        try:
            read_state({"resultType": "input_required", "inputRequests": requests, "requestState": state})
        except ToolError as error:
            assert len(json.dumps(str(error))) < 200  # noqa: PT017 - one of several outcomes
