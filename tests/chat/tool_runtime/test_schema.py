"""Parameter schemas of tools, from structs."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from winterbourne.chat.tool_runtime.schema import parameters_schema


class Inner(msgspec.Struct):
    """Something inside."""

    value: int = 0


class Outer(msgspec.Struct, kw_only=True):
    told: Annotated[str, Meta(description="Told by the type.")]
    untold: str
    inner: Inner = msgspec.field(default_factory=Inner)
    free: dict[str, int] = {}


class Nested(msgspec.Struct):
    inner: list[dict[str, Inner]] | None = None


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


def test_structs_in_lists_and_dicts_allow_no_additional_properties_either() -> None:
    schema = parameters_schema(Nested, {})
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert schema["properties"]["inner"]["anyOf"][0]["items"]["additionalProperties"] == {"$ref": "#/$defs/Inner"}


def test_a_nested_struct_may_have_the_same_name() -> None:
    outer = msgspec.defstruct("Inner", [("inner", Inner)], module="elsewhere")
    assert list(parameters_schema(outer, {})["properties"]) == ["inner"]


def test_a_type_without_a_schema_is_an_error() -> None:
    class Odd(msgspec.Struct):
        value: complex

    with pytest.raises(TypeError):
        parameters_schema(Odd, {})
