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
    find_invalid_x_mcp_header,
    validate_mcp_param_headers,
)

from winterbourne.chat.errors import InputRequired, ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.mcp.stateless import (
    MAX_FORM_BYTES,
    MAX_STATE_BYTES,
    answer,
    argument_headers,
    has_valid_headers,
    read_state,
    request_of,
)

FORM = {"type": "object", "properties": {"size": {"type": "string"}}, "required": []}


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

    def test_repeats_the_arguments_of_objects_in_objects(self) -> None:
        schema = {"properties": {"to": {"properties": {"city": {"type": "string", "x-mcp-header": "City"}}}}}
        for arguments in ({"to": {"city": "Oslo"}}, {"to": {"city": None}}, {"to": 5}, {}):
            headers = argument_headers(schema, arguments)
            assert validate_mcp_param_headers(schema, arguments, headers) is None
        assert argument_headers(schema, {"to": {"city": "Oslo"}}) == {"mcp-param-city": "Oslo"}

    @pytest.mark.parametrize("token", ["", "a b", "a\r\nb", "a:b", 5, None, "é", "x" * 65])
    def test_has_no_header_that_cannot_be_one(self, token: Any) -> None:
        part = {"type": "string", "x-mcp-header": token}
        assert argument_headers({"properties": {"a": part, "b": True}}, {"a": "1"}) == {}

    parts = st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "number", "object", "array"])},
        optional={"x-mcp-header": st.sampled_from(["A", "a", "b", "", "a b", 5])},
    )
    schemas = st.recursive(
        parts,
        lambda inner: st.fixed_dictionaries(
            {"type": st.just("object")},
            optional={
                "properties": st.dictionaries(st.sampled_from("abc"), inner),
                "items": inner,
                "anyOf": st.lists(inner, max_size=2),
            },
        ),
    )

    @given(schemas)
    def test_is_possible_for_the_schemas_that_the_official_client_takes(self, schema: dict[str, Any]) -> None:
        assert has_valid_headers(schema) is (find_invalid_x_mcp_header(schema) is None)

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

    def test_of_several_kinds_is_one_form_and_goes_back_apart(self) -> None:
        others: dict[str, Any] = asked(requestedSchema={"properties": {"hue": {"type": "string"}}, "required": ["hue"]})
        same = asked()["inputRequests"]["k"]
        with pytest.raises(InputRequired) as error:
            read_state(asked() | {"inputRequests": {"k": same, "k2": others["inputRequests"]["k"]}})
        properties = {"size": {"type": "string"}, "hue": {"type": "string"}}
        assert error.value.message == "Which size?\nWhich size?"
        assert error.value.schema == {"type": "object", "properties": properties, "required": ["hue"]}
        parts = answer(error.value.state, {"size": "L", "hue": "red"})["inputResponses"]
        assert {key: part["content"] for key, part in parts.items()} == {"k": {"size": "L"}, "k2": {"hue": "red"}}

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
            asked(requestedSchema={"type": "object", "properties": {"x" * MAX_FORM_BYTES: {}}}),
            asked(requestedSchema={"type": "object", "properties": [1]}),
            asked(requestedSchema={"type": "object", "required": 5}),
            asked() | {"inputRequests": {"k": {"method": "sampling/createMessage", "params": {}}}},
            asked() | {"inputRequests": {"k": "x"}},
            asked() | {"inputRequests": asked()["inputRequests"] | {"k2": {}}},
            asked() | {"inputRequests": dict.fromkeys(("k", "k2"), asked()["inputRequests"]["k"])},
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
