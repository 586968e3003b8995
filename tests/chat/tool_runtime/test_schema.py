"""Parameter schemas of tools: from structs, in plain and in strict form."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from winterbourne.chat.tool_runtime.schema import accepts_null, parameters_schema, resolve_ref, strict_form


class Inner(msgspec.Struct):
    """Something inside."""

    value: int = 0


class Outer(msgspec.Struct, kw_only=True):
    told: Annotated[str, Meta(description="Told by the type.")]
    untold: str
    inner: Inner = msgspec.field(default_factory=Inner)
    free: dict[str, int] = {}


class Closed(msgspec.Struct):
    inner: list[Inner] | None = None


def test_a_description_in_the_type_overrides_the_docstring() -> None:
    schema = parameters_schema(Outer, {"told": "Not this.", "untold": "This.", "unknown": "Dropped."})
    properties = schema["properties"]
    assert [properties[name]["description"] for name in ("told", "untold")] == ["Told by the type.", "This."]
    assert "unknown" not in properties


def test_definitions_are_embedded_and_structs_allow_no_additional_properties() -> None:
    schema = parameters_schema(Outer, {})
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert schema["additionalProperties"] is False
    assert schema["properties"]["free"]["additionalProperties"] == {"type": "integer"}, "free keys stay free"


def test_a_nested_struct_may_have_the_same_name() -> None:
    outer = msgspec.defstruct("Inner", [("inner", Inner)], module="elsewhere")
    assert list(parameters_schema(outer, {})["properties"]) == ["inner"]


def test_a_type_without_a_schema_is_an_error() -> None:
    class Odd(msgspec.Struct):
        value: complex

    with pytest.raises(TypeError):
        parameters_schema(Odd, {})


def test_the_strict_form_requires_everything_on_every_level() -> None:
    schema = strict_form(parameters_schema(Closed, {}))
    assert schema["required"] == ["inner"]
    assert schema["$defs"]["Inner"]["required"] == ["value"]
    assert schema["$defs"]["Inner"]["properties"]["value"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_free_keys_have_no_strict_form() -> None:
    with pytest.raises(TypeError, match="arbitrary keys"):
        strict_form(parameters_schema(Outer, {}))


def test_making_the_strict_form_does_not_change_the_plain_one() -> None:
    schema = parameters_schema(Closed, {})
    before = msgspec.json.encode(schema)
    strict_form(schema)
    assert msgspec.json.encode(schema) == before


@pytest.mark.parametrize(
    ("schema", "accepts"),
    [
        ({}, True),
        ({"type": "null"}, True),
        ({"type": "string"}, False),
        ({"enum": ["a", None]}, True),
        ({"enum": ["a"]}, False),
        ({"anyOf": [{"type": "string"}, {"anyOf": [{"type": "null"}]}]}, True),
        ({"$ref": "#/$defs/Inner"}, False),
    ],
)
def test_null_is_accepted_where_the_schema_allows_it(schema: dict[str, Any], *, accepts: bool) -> None:
    assert accepts_null(schema, {"Inner": {"type": "object"}}) is accepts


def test_references_are_followed() -> None:
    assert resolve_ref({"$ref": "#/$defs/A"}, {"A": {"type": "string"}}) == {"type": "string"}
    assert resolve_ref({"type": "null"}, {}) == {"type": "null"}
