"""Listings of MCP servers: what cannot be offered is left out alone, with a reason in the log; the rest is bounded."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import json_values
from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.listing import (
    MAX_BYTES,
    MAX_DEFINITIONS,
    MAX_DESCRIPTION_CHARS,
    MAX_TOOL_BYTES,
    MAX_TOOLS,
    Listing,
)

LOOK = {"name": "look"}
TEXT = {"type": "string"}


async def return_name(name: str, *_: Any) -> str:
    return name


def tools_of(*definitions: Any, server: str = "pier") -> list[Tool]:
    listing = Listing(server, return_name)
    listing.add_page(definitions)
    return listing.tools()


def names_of(*definitions: Any) -> list[str]:
    return [tool.name for tool in tools_of(*definitions)]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return {"properties": {"a": schema}}


class TestUnusableTool:
    @pytest.mark.parametrize(
        ("definition", "reason"),
        [
            ({}, "a tool (left out: it has no name)"),
            ({"name": None}, "it has no name"),
            ({"name": ""}, "it has no name"),
            ({"name": 5}, "it has no name"),
            ({"name": ["note"]}, "it has no name"),
            (None, "it has no name"),
            ("note", "it has no name"),
            ({"name": "look", "description": "again"}, "look (left out: it is listed twice)"),
            ({"name": "note", "inputSchema": [5]}, "note (left out: its schema is not an object)"),
            ({"name": "note", "inputSchema": "object"}, "its schema is not an object"),
            ({"name": "note", "inputSchema": True}, "its schema is not an object"),
            ({"name": "note", "inputSchema": {"type": "string"}}, "no provider takes its schema"),
            ({"name": "note", "inputSchema": {"type": 5}}, "no provider takes its schema"),
            ({"name": "note", "inputSchema": {"type": ["array", "null"]}}, "no provider takes its schema"),
            (
                {"name": "note", "inputSchema": {"properties": {"$top": TEXT}, "required": ["$top"]}},
                "no provider takes its schema",
            ),
            ({"name": "note", "inputSchema": nested(40)}, "its schema nests more than 32 levels"),
            ({"name": "note", "inputSchema": nested(900)}, "its schema nests more than 32 levels"),
            (
                {"name": "note", "inputSchema": {"properties": {"a": {"enum": ["x" * 20_000]}}}},
                f"more than {MAX_TOOL_BYTES}",
            ),
        ],
    )
    def test_is_left_out_alone(self, definition: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
        assert names_of(LOOK, definition, {"name": "say"}) == ["pier_look", "pier_say"]
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "MCP server pier" in record.message
        assert reason in record.message

    def test_that_is_too_large_is_not_even_looked_through(self, caplog: pytest.LogCaptureFixture) -> None:
        large = {"anyOf": [TEXT], "properties": {f"p{number}": TEXT for number in range(1000)}}
        assert names_of({"name": "note", "inputSchema": large}) == []
        assert "simpler schema" not in caplog.text

    def test_writes_no_line_of_its_own_into_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        names_of({"name": "a\nERROR b" + "x" * 500, "inputSchema": {"type": "string"}})
        assert "\n" not in caplog.records[0].message
        assert len(caplog.records[0].message) < 250

    def test_is_any_whose_arguments_cannot_be_repeated_in_headers(self, caplog: pytest.LogCaptureFixture) -> None:
        schema = {"properties": {"a": {**TEXT, "x-mcp-header": "A"}, "b": {**TEXT, "x-mcp-header": "a"}}}
        assert names_of({"name": "note", "inputSchema": schema}, LOOK) == ["pier_look"]
        assert "its x-mcp-header cannot be a header" in caplog.text

    def test_is_one_of_a_few_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        assert names_of(*[{}] * 1000, LOOK) == ["pier_look"]
        (record,) = caplog.records
        assert record.message.endswith("and 990 more")
        assert len(record.message) < 1000


class TestMendedTool:
    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"oneOf": [{"type": "object", "properties": {"a": TEXT}}]},
            {"allOf": [{"type": "object"}]},
            {"not": {"required": ["a"]}},
            {"enum": [{}]},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": TEXT}}}},
            {"type": ["object", "null"]},
            {"properties": None},
            {"properties": {"$top": TEXT, "a b": TEXT, "é": TEXT, "x" * 65: TEXT, "": TEXT}},
        ],
    )
    def test_is_offered_with_a_simpler_schema(self, schema: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        (tool,) = tools_of({"name": "note", "inputSchema": schema})
        assert tool.parameters["type"] == "object"
        assert tool.parameters["properties"].keys() <= {"a"}
        assert not tool.parameters.keys() & {"anyOf", "oneOf", "allOf", "not", "enum", "$ref"}
        assert "note (offered with a simpler schema)" in caplog.text

    @pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": {}}])
    def test_without_parameters_has_an_empty_object(self, schema: Any, caplog: pytest.LogCaptureFixture) -> None:
        (tool,) = tools_of({"name": "look", "inputSchema": schema, "annotations": 5, "outputSchema": "none"})
        assert tool.parameters == {"type": "object", "properties": {}}
        assert not caplog.records

    def test_keeps_the_order_of_what_is_required_out_of_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        schema = {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b", "a"]}
        (tool,) = tools_of({"name": "look", "inputSchema": schema})
        assert sorted(tool.parameters["required"]) == ["a", "b"]
        assert not caplog.records

    @pytest.mark.parametrize(
        ("fields", "description"),
        [
            ({"description": "Look."}, "Look."),
            ({"description": None}, "look"),
            ({"description": 5, "title": "A look"}, "A look"),
            ({"description": " \n", "title": ""}, "look"),
            ({"description": ["Look."], "title": {}}, "look"),
            ({"description": "x" * 50_000}, "x" * MAX_DESCRIPTION_CHARS),
        ],
    )
    def test_has_a_description_of_some_length(self, fields: dict[str, Any], description: str) -> None:
        (tool,) = tools_of(LOOK | fields)
        assert tool.description == description


class TestName:
    @pytest.mark.parametrize(
        ("own", "name"), [("look", "pier_look"), ("to.port", "pier_to_port"), ("to port/é", "pier_to_port__")]
    )
    def test_has_no_character_that_a_provider_rejects(self, own: str, name: str) -> None:
        assert names_of({"name": own}) == [name]

    async def test_of_two_that_become_one_is_told_apart_by_a_hash(self) -> None:
        twins = tools_of({"name": "to.port"}, {"name": "to_port"}, {"name": "to port"})
        first, plain, third = (tool.name for tool in twins)
        assert plain == "pier_to_port"
        assert re.fullmatch(r"pier_to_port_[0-9a-f]{8}", first)
        assert re.fullmatch(r"pier_to_port_[0-9a-f]{8}", third)
        assert first != third
        assert [await tool.call({}, ToolContext()) for tool in twins] == ["to.port", "to_port", "to port"]

    def test_does_not_depend_on_the_order(self) -> None:
        twins = [{"name": "to.port"}, {"name": "to_port"}]
        assert names_of(*twins) == names_of(*reversed(twins))[::-1]

    def test_that_is_too_long_ends_with_a_hash(self, caplog: pytest.LogCaptureFixture) -> None:
        first, second = names_of({"name": "x" * 70 + "a"}, {"name": "x" * 70 + "b"})
        assert len(first) == len(second) == 64
        assert first != second
        assert first[:55] == second[:55]
        assert f"offered as {first}" in caplog.text

    def test_that_fits_exactly_stays(self) -> None:
        assert names_of({"name": "x" * 59}) == ["pier_" + "x" * 59]


class TestLimits:
    def test_of_the_number_of_tools(self, caplog: pytest.LogCaptureFixture) -> None:
        names = names_of(*({"name": f"t{number}"} for number in range(MAX_TOOLS + 12)))
        assert names == [f"pier_t{number}" for number in range(MAX_TOOLS)]
        (record,) = caplog.records
        assert "MCP server pier lists more than 128 tools" in record.message
        assert "left out: t128, t129," in record.message
        assert record.message.endswith("t137, and 2 more")

    def test_of_the_bytes_of_all_tools(self, caplog: pytest.LogCaptureFixture) -> None:
        tools = tools_of(*({"name": f"t{number}", "description": "d" * 50_000} for number in range(140)))
        size = sum(len(orjson.dumps([tool.description, tool.parameters])) for tool in tools)
        assert MAX_BYTES - 5000 < size <= MAX_BYTES
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    def test_are_those_of_all_pages_together(self) -> None:
        listing = Listing("pier", return_name)
        for page in range(10):
            assert not listing.is_full
            listing.add_page([{"name": f"t{page}.{number}"} for number in range(MAX_TOOLS // 10)])
        listing.add_page([{"name": f"last{number}"} for number in range(MAX_TOOLS)])
        assert listing.is_full
        assert len(listing.tools()) == MAX_TOOLS

    def test_are_on_what_is_looked_at_too(self) -> None:
        definitions = iter([LOOK] * (MAX_DEFINITIONS + 5))
        Listing("pier", return_name).add_page(definitions)
        assert len(list(definitions)) == 5

    def test_are_not_used_up_by_tools_that_are_left_out(self) -> None:
        assert len(names_of(*({"name": f"t{n}", "inputSchema": 5} for n in range(1000)), LOOK)) == 1


@given(st.lists(json_values | st.fixed_dictionaries({"name": st.text()}, optional={"inputSchema": json_values})))
def test_any_listing_makes_tools_with_unique_valid_names(definitions: list[Any]) -> None:
    tools = tools_of(*definitions)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.name) for tool in tools)
    assert len({tool.name for tool in tools}) == len(tools)
    for tool in tools:
        assert orjson.dumps([tool.description, tool.parameters])
        assert tool.parameters["type"] == "object"
        assert tool.description


def test_a_field_that_the_schema_no_longer_has_is_no_longer_accepted() -> None:
    schema = {"properties": {"$top": TEXT, "a": TEXT}, "additionalProperties": False}
    (tool,) = tools_of({"name": "look", "inputSchema": schema})
    assert tool.validate_arguments('{"a":"x"}') == {"a": "x"}
    with pytest.raises(ToolError, match="no field `\\$top`"):
        tool.validate_arguments('{"$top":"x"}')
