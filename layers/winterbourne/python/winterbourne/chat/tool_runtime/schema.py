"""JSON Schema of a tool's parameters, derived from the msgspec struct that holds them.

Two forms: the plain one, closed to unknown fields on every level; and the strict one that some providers require, where
every property is required and an optional one may be null instead. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["Schema", "accepts_null", "parameters_schema", "resolve_ref", "strict_form"]

Schema: TypeAlias = dict[str, Any]

_SUBSCHEMA_MAPS: Final = ("properties", "$defs")


def parameters_schema(struct: type[msgspec.Struct], descriptions: Mapping[str, str]) -> Schema:
    """The schema of a struct: one object schema that includes its definitions.

    Args:
        struct: Has a field for each parameter.
        descriptions: By parameter; used if the type itself has no description.

    Raises:
        TypeError: A type has no JSON schema.
    """
    (root_ref,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema = components.pop(root_ref["$ref"].rpartition("/")[2])
    schema.pop("title", None)
    for name, text in descriptions.items():
        if name in schema["properties"]:
            schema["properties"][name].setdefault("description", text)
    closed_schema: Schema = _transform(
        schema | ({"$defs": components} if components else {}), _forbid_additional_properties
    )
    return closed_schema


def strict_form(schema: Schema) -> Schema:
    """The same schema with every property required; an optional one may be null, which means its default.

    Raises:
        TypeError: Some object has arbitrary keys, which the strict form cannot express.
    """
    strict: Schema = _transform(schema, lambda part: _require_all_properties(part, schema.get("$defs", {})))
    return strict


def accepts_null(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    """Whether the schema itself allows null."""
    target = resolve_ref(schema, definitions)
    if "anyOf" in target:
        return any(accepts_null(part, definitions) for part in target["anyOf"])
    return None in target["enum"] if "enum" in target else target.get("type", "null") == "null"


def resolve_ref(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema a reference points to, or the schema itself."""
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _transform(schema: Any, transform: Callable[[Schema], Schema]) -> Any:
    """Apply `transform` to a schema and every schema within it, innermost first."""
    if isinstance(schema, list):
        return [_transform(part, transform) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return transform({key: _transform_keyword(key, value, transform) for key, value in schema.items()})


def _transform_keyword(key: str, value: Any, transform: Callable[[Schema], Schema]) -> Any:
    if key in _SUBSCHEMA_MAPS:
        return {name: _transform(part, transform) for name, part in value.items()}
    if key in {"items", "prefixItems", "anyOf", "additionalProperties"}:
        return _transform(value, transform)
    return value


def _forbid_additional_properties(schema: Schema) -> Schema:
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _require_all_properties(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    if isinstance(schema.get("additionalProperties"), dict) or schema == {"type": "object"}:
        raise TypeError("an object with arbitrary keys has no strict form")
    if "properties" not in schema:
        return schema
    optional = set(schema["properties"]) - set(schema.get("required", ()))
    properties = {
        name: _make_nullable(part, definitions) if name in optional else part
        for name, part in schema["properties"].items()
    }
    return {**schema, "properties": properties, "required": list(properties)}


def _make_nullable(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    part = {key: value for key, value in schema.items() if key != "default"}
    if accepts_null(part, definitions):
        return part
    description = {"description": part.pop("description")} if "description" in part else {}
    return {"anyOf": [part, {"type": "null"}], **description}
