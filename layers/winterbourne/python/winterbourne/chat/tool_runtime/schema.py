"""JSON Schema of a tool's parameters, derived from the msgspec struct that holds them. Pure."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

__all__ = ["Schema", "parameters_schema"]

Schema: TypeAlias = dict[str, Any]


def parameters_schema(struct: type[msgspec.Struct], descriptions: Mapping[str, str]) -> Schema:
    """The schema of a struct: one object schema that includes its definitions, closed to unknown fields on every level.

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
    closed_schema: Schema = _close(schema | ({"$defs": components} if components else {}))
    return closed_schema


def _close(schema: Any) -> Any:
    """Forbid additional properties in a schema and every schema within it."""
    if isinstance(schema, list):
        return [_close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _close_keyword(key, value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in closed else closed


def _close_keyword(key: str, value: Any) -> Any:
    if key in {"properties", "$defs"}:
        return {name: _close(part) for name, part in value.items()}
    return _close(value) if key in {"items", "prefixItems", "anyOf", "additionalProperties"} else value
