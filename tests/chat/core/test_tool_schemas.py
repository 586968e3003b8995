"""Portable schemas: every provider takes them, or the tool is not offered."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import json_values
from winterbourne.chat.core.tool_schemas import portable_schema

TEXT = {"type": "string"}


@pytest.mark.parametrize("required", [["a"], []])
def test_a_portable_schema_stays_as_it_is_in_its_own_order(required: list[str]) -> None:
    schema = {"required": required, "properties": {"a": TEXT}, "additionalProperties": False, "type": "object"}
    assert portable_schema(schema) is schema


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


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (5, {}),
        (None, {}),
        ("string", {}),
        ([], {}),
        (True, True),
        ({"type": "str"}, {}),
        ({"type": []}, {}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": "string", "required": True}, TEXT),
        ({"required": [5]}, {}),
        ({"type": "array", "items": [TEXT]}, {"type": "array"}),
        ({"items": {"type": "any"}}, {"items": {}}),
        ({"exclusiveMinimum": True, "minimum": 0}, {"minimum": 0}),
        ({"maximum": "9", "minLength": -0.5, "pattern": 5, "enum": "a"}, {}),
        ({"anyOf": []}, {}),
        ({"anyOf": [TEXT, 5]}, {"anyOf": [TEXT, {}]}),
        ({"additionalProperties": "false"}, {}),
        ({"additionalProperties": False, "default": None}, {"additionalProperties": False, "default": None}),
        ({"properties": {"b": {"type": "date"}}}, {"properties": {"b": {}}}),
        ({"properties": ["b"], "description": {"en": "x"}}, {}),
        ({"$ref": "https://elsewhere.example/schema", "title": "A"}, {"title": "A"}),
        ({"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}),
    ],
)
def test_keywords_that_json_schema_does_not_allow_are_left_out_on_every_level(value: object, valid: object) -> None:
    portable = portable_schema({"properties": {"a": value, "list": {"items": {"properties": {"a": value}}}}})
    assert portable is not None
    assert portable["properties"] == {"a": valid, "list": {"items": {"properties": {"a": valid}}}}


def test_a_schema_may_nest_as_deep_as_a_body() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    assert portable_schema({"properties": {"a": schema}}) is not None


def test_references_that_lead_back_to_each_other_end() -> None:
    branches = [{"$ref": "#"}, {"$ref": "#/$defs/A"}] * 1000
    assert portable_schema({"allOf": branches, "$defs": {"A": {"allOf": branches, "properties": {"a": TEXT}}}}) == {
        "type": "object",
        "properties": {"a": TEXT},
        "$defs": {"A": {"allOf": branches, "properties": {"a": TEXT}}},
    }


def test_a_reference_to_what_is_no_schema_has_no_properties() -> None:
    schema = {"$ref": "#/default", "default": {"properties": ["a"], "required": 5, "anyOf": 5}}
    assert portable_schema(schema) == {"type": "object", "properties": {}, "default": schema["default"]}


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
