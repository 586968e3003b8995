"""Schemas as providers take them: narrowed only where the caller is strict, and told in words where that loses any."""

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has no type stubs
import pytest
from hypothesis import given

from tests.chat.core.test_output import SCHEMAS, VALUES
from winterbourne.chat.core.messages import OutputSchema
from winterbourne.chat.core.output import check_schema
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.output_format import closed_output, openai_output

TEXT = {"type": "string"}
CLOSED = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}
OPTIONAL = {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]}
LOOP = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "additionalProperties": False}
LOOP |= {"$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}


def asked(schema: Any, *, strict: bool = False) -> ModelRequest:
    return ModelRequest(messages=(), output=OutputSchema(schema=schema, strict=strict))


def closed(schema: Any, *, strict: bool = False) -> tuple[bool, Any]:
    """Whether the model is told it in words, and the schema that its provider gets."""
    request, form = closed_output(asked(schema, strict=strict), is_native=True)
    return bool(request.system), form


def openai(schema: Any, *, strict: bool = False) -> tuple[bool, Any, Any]:
    """Likewise, and whether in strict mode."""
    request, field = openai_output(asked(schema, strict=strict), is_native=True)
    return bool(request.system), field and field.get("schema"), field and field.get("strict")


class TestClosed:
    def test_a_schema_that_every_provider_takes_stays_as_it_is(self) -> None:
        assert closed(CLOSED) == (False, CLOSED)

    def test_notes_for_people_are_left_out(self) -> None:
        noted = {**CLOSED, "title": "T", "$schema": "https://json-schema.org/draft/2020-12/schema", "default": {}}
        assert closed(noted) == (False, CLOSED)

    def test_limits_are_told_in_words(self) -> None:
        assert closed({**CLOSED, "properties": {"a": {**TEXT, "minLength": 1}}}) == (True, CLOSED)

    def test_an_open_object_is_closed_only_for_a_strict_caller(self) -> None:
        assert closed(OPTIONAL) == (True, None)
        assert closed(OPTIONAL, strict=True) == (False, {**OPTIONAL, "additionalProperties": False})

    @pytest.mark.parametrize(
        "value",
        [
            {"type": "object", "additionalProperties": TEXT},
            {"type": "object", "additionalProperties": True},
            {"type": "array"},
            {"not": TEXT},
            {"allOf": [TEXT]},
            {"enum": [{}]},
            {"const": [1]},
            {},
            True,
            {"$ref": "#"},
            {"$ref": "#/properties/a"},
            {"$ref": "#/$defs/B"},
        ],
        ids=str,
    )
    def test_what_a_provider_refuses_is_told_in_words_alone(self, value: Any) -> None:
        assert closed({**CLOSED, "properties": {"a": value}}, strict=True) == (True, None)

    def test_so_is_a_schema_that_leads_back_to_itself_or_is_no_object(self) -> None:
        assert closed(LOOP) == (True, None)
        assert closed({"type": "array", "items": TEXT}) == (True, None)
        assert closed(None) == (True, None)

    @pytest.mark.parametrize(("number", "value"), [(25, TEXT), (17, {"anyOf": [TEXT, {"type": "null"}]})])
    def test_so_is_one_with_more_optional_or_varied_values_than_are_compiled(self, number: int, value: Any) -> None:
        properties = {f"p{at}": value for at in range(number)}
        required = [] if value is TEXT else list(properties)
        assert closed({**CLOSED, "properties": properties, "required": required}) == (True, None)
        assert closed({**CLOSED, "properties": {"p0": value}, "required": required[:1]})[1]

    def test_so_is_one_whose_draft_does_not_check_what_is_read_of_it(self) -> None:
        schema = {**CLOSED, "$schema": "http://json-schema.org/draft-06/schema#", "$defs": True}
        check_schema(OutputSchema(schema=schema), "schema")
        assert closed(schema) == (True, None)

    def test_many_ways_to_one_definition_are_gone_once(self) -> None:
        """Each definition refers to the next one twice: 2 ** 40 ways."""
        definitions: dict[str, Any] = {
            f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}, {"$ref": f"#/$defs/d{at + 1}"}]} for at in range(40)
        }
        schema = {**CLOSED, "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, "d40": TEXT}}
        assert closed(schema) == (True, None)  # too many unions

    def test_a_model_without_the_field_is_told_in_words(self) -> None:
        request, form = closed_output(asked(CLOSED), is_native=False)
        assert (json.dumps(CLOSED) in request.system, form) == (True, None)


class TestOpenAI:
    def test_a_schema_that_is_not_strict_is_sent_as_it_is(self) -> None:
        assert openai(OPTIONAL) == (False, OPTIONAL, False)

    def test_a_strict_one_is_closed_and_requires_all(self) -> None:
        expected = {**OPTIONAL, "required": ["a", "b"], "additionalProperties": False}
        assert openai(OPTIONAL, strict=True) == (False, expected, True)

    def test_a_strict_one_that_cannot_be_expressed_is_sent_without_strict_mode(self) -> None:
        assert openai(LOOP, strict=True) == (False, LOOP, False)

    def test_any_object_is_asked_for_in_words_too(self) -> None:
        request, field = openai_output(asked(None), is_native=True)
        assert ("JSON" in request.system, field) == (True, {"type": "json_object"})

    def test_what_is_no_object_is_told_in_words_alone(self) -> None:
        assert openai({"type": "array", "items": TEXT}) == (True, None, None)


@given(SCHEMAS, VALUES)
def test_what_a_narrowed_schema_allows_is_valid_by_the_callers_up_to_the_limits_told(schema: Any, value: Any) -> None:
    wrapped = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    for is_told, form, *_ in (closed(wrapped, strict=True), openai(wrapped, strict=True)):
        if form and not is_told and jsonschema.Draft202012Validator(form).is_valid({"a": value}):
            jsonschema.Draft202012Validator(wrapped).validate({"a": value})
