"""JSON schemas of a tool's parameters, from the msgspec struct that holds them.

Two forms: the plain one, closed to unknown fields on every level; and the strict one some providers ask for, where
every property is required and an optional one may be null instead. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["Schema", "accepts_null", "parameters", "resolved", "strict_form"]

Schema: TypeAlias = dict[str, Any]

_KEEPS_SUBSCHEMAS: Final = ("properties", "$defs")


def parameters(struct: type[msgspec.Struct], descriptions: Mapping[str, str]) -> Schema:
    """The schema of a struct, as an object with its definitions inside.

    Args:
        struct: Has a field for each parameter.
        descriptions: By parameter; used where the type itself says nothing.

    Raises:
        TypeError: A type has no JSON schema.
    """
    (whole,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema = components.pop(whole["$ref"].rpartition("/")[2])
    schema.pop("title", None)
    for name, text in descriptions.items():
        if name in schema["properties"]:
            schema["properties"][name].setdefault("description", text)
    closed: Schema = _mapped(schema | ({"$defs": components} if components else {}), _closed)
    return closed


def strict_form(schema: Schema) -> Schema:
    """The same schema with every property required; one that was optional may be null, which means its default.

    Raises:
        TypeError: Some object has free keys, which the strict form cannot say.
    """
    strict: Schema = _mapped(schema, lambda part: _required(part, schema.get("$defs", {})))
    return strict


def accepts_null(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    """Whether null is a value of its own here."""
    whole = resolved(schema, definitions)
    if "anyOf" in whole:
        return any(accepts_null(part, definitions) for part in whole["anyOf"])
    return None in whole["enum"] if "enum" in whole else whole.get("type", "null") == "null"


def resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema a reference points to, or the schema itself."""
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


# Private functions


def _mapped(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Change every schema within a schema, the innermost first."""
    if isinstance(schema, list):
        return [_mapped(part, change) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return change({key: _mapped_keyword(key, value, change) for key, value in schema.items()})


def _mapped_keyword(key: str, value: Any, change: Callable[[Schema], Schema]) -> Any:
    if key in _KEEPS_SUBSCHEMAS:
        return {name: _mapped(part, change) for name, part in value.items()}
    if key in {"items", "prefixItems", "anyOf", "additionalProperties"}:
        return _mapped(value, change)
    return value


def _closed(schema: Schema) -> Schema:
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _required(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    if isinstance(schema.get("additionalProperties"), dict) or schema == {"type": "object"}:
        raise TypeError("an object with free keys has no strict form")
    if "properties" not in schema:
        return schema
    optional = set(schema["properties"]) - set(schema.get("required", ()))
    properties = {
        name: _nullable(part, definitions) if name in optional else part for name, part in schema["properties"].items()
    }
    return {**schema, "properties": properties, "required": list(properties)}


def _nullable(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    part = {key: value for key, value in schema.items() if key != "default"}
    if accepts_null(part, definitions):
        return part
    described = {"description": part.pop("description")} if "description" in part else {}
    return {"anyOf": [part, {"type": "null"}], **described}
