"""Portable schemas: every provider takes them, or the tool is not offered."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import json_values
from winterbourne.chat.core.tool_schemas import portable_schema

TEXT = {"type": "string"}


def test_a_portable_schema_stays_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}
    assert portable_schema(schema) == schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {}),
        ({"type": ["object", "null"]}, {}),
        ({"properties": {"a": TEXT}}, {"a": TEXT}),
        (
            {"anyOf": [{"properties": {"a": TEXT}}, {"properties": {"b": TEXT}, "required": ["b"]}]},
            {"a": TEXT, "b": TEXT},
        ),
        ({"type": "object", "properties": None, "required": 5}, {}),
        ({"properties": {"a": TEXT, "b c": TEXT, "": TEXT, "x" * 65: TEXT}}, {"a": TEXT}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": TEXT}}}}, {"a": TEXT}),
        ({"$ref": "#"}, {}),
    ],
)
def test_the_rest_is_made_portable(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    portable = portable_schema(schema)
    assert portable is not None
    assert portable["type"] == "object"
    assert portable["properties"] == expected
    assert "required" not in portable


def test_only_what_every_branch_of_an_all_of_requires_stays_required() -> None:
    branches = [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}}]
    assert portable_schema({"allOf": branches}) == {
        "type": "object",
        "properties": {"a": TEXT, "b": TEXT},
        "required": ["a"],
    }


@pytest.mark.parametrize(
    "schema", [None, [], "object", {"type": "string"}, {"type": 5}, {"properties": {"b c": TEXT}, "required": ["b c"]}]
)
def test_a_tool_that_no_provider_takes_has_none(schema: object) -> None:
    assert portable_schema(schema) is None


@given(json_values)
def test_any_value_has_a_portable_schema_or_none(value: object) -> None:
    portable = portable_schema(value)
    assert portable is None or portable_schema(portable) == portable
