"""Makes the JSON schema of a tool's parameters one that every provider accepts. Pure."""

import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from winterbourne.chat.core.messages import ToolSchema
from winterbourne.chat.core.shapes import has_shape

__all__ = ["portable_schema", "portable_tools"]

_LOGGER: Final = logging.getLogger(__name__)

_PROPERTY_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_COMBINATORS: Final[tuple[str, ...]] = ("allOf", "anyOf", "oneOf")
_MAX_DEPTH: Final = 8  # of combinations within combinations; a reference may lead back to itself
_MAX_LEVELS: Final = 64  # of schemas within schemas

_Type: TypeAlias = Literal["array", "boolean", "integer", "null", "number", "object", "string"]
_SCHEMA: Final = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_SCHEMA_LIST: Final = (*_COMBINATORS, "prefixItems")
_SCHEMA_MAP: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_VALUE_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(_SCHEMA, dict | bool),
    **dict.fromkeys(_SCHEMA_LIST, Annotated[list[Any], Meta(min_length=1)]),
    **dict.fromkeys(_SCHEMA_MAP, dict),
    "type": _Type | Annotated[list[_Type], Meta(min_length=1)],
    "required": list[str],
    "enum": list,
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"), float),
    **dict.fromkeys(("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), int),
    **dict.fromkeys(("description", "format", "pattern", "title"), str),
    "$ref": Annotated[str, Meta(pattern="^#")],  # nobody fetches what is elsewhere
}
"""What the value of a keyword is (JSON Schema, draft 2020-12)."""


def portable_tools(tools: Iterable[ToolSchema]) -> Iterator[ToolSchema]:
    """The tools as every provider takes them, without those that one would reject."""
    for tool in tools:
        if (parameters := portable_schema(tool.parameters)) is not None:
            yield msgspec.structs.replace(tool, parameters=parameters)
        else:
            _LOGGER.warning("the tool %s is not offered: no provider takes its parameters", tool.name)


def portable_schema(schema: object) -> dict[str, Any] | None:
    """A schema that every provider accepts: an object, without combinations at its top, its properties well named.

    Properties of combined schemas are merged, optional ones whose name no provider takes are left out, and so are
    keywords with values that JSON Schema does not allow. The tool itself still validates its arguments.

    Returns:
        None if the tool cannot be offered: its parameters are no object, or a required one has such a name.
    """
    if not isinstance(schema, dict):
        return None
    types = schema.get("type", "object")
    if "object" not in (types if isinstance(types, list) else [types]):
        return None
    valid: dict[str, Any] = _without_invalid_keywords(schema, _MAX_LEVELS)
    properties, required = _merged(valid, valid, 0, set())
    named = {name: value for name, value in properties.items() if _PROPERTY_NAME.fullmatch(name)}
    if required & (properties.keys() - named.keys()):
        return None
    dropped = {*_COMBINATORS, "$ref", "not", "enum", "const", "if", "then", "else", "required"}
    kept = {key: value for key, value in valid.items() if key not in dropped}
    needed = [name for name in properties if name in required and name in named]
    has_required = bool(needed) or schema.get("required") == []
    portable = {**kept, "type": "object", "properties": named, **({"required": needed} if has_required else {})}
    return schema if portable == schema else portable  # in its own order


def _without_invalid_keywords(schema: Any, levels: int) -> Any:
    """The schema without keywords that a provider may reject, on every level; one that is none allows any value."""
    if not isinstance(schema, dict) or not levels:
        return schema if isinstance(schema, bool) else {}
    clean = partial(_without_invalid_keywords, levels=levels - 1)
    valid = {key: value for key, value in schema.items() if has_shape(value, _VALUE_TYPES.get(key, Any))}
    for key, value in valid.items():
        if key in _SCHEMA:
            valid[key] = clean(value)
        elif key in _SCHEMA_LIST:
            valid[key] = [clean(part) for part in value]
        elif key in _SCHEMA_MAP:
            valid[key] = {name: clean(part) for name, part in value.items()}
    return valid


def _merged(
    schema: dict[str, Any], root: dict[str, Any], depth: int, resolved: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """The properties of a schema and of those combined in it, and the names of those that all of them require.

    Each reference is `resolved` once: with many that lead back to each other it would never end.
    """
    properties = dict(schema.get("properties", {}))
    required = set(schema.get("required", ()))
    combined = {key: schema[key] for key in _COMBINATORS if key in schema}
    if (reference := schema.get("$ref")) and reference not in resolved:
        resolved.add(reference)
        combined["$ref"] = [_resolve(reference, root)]
    for key, branches in combined.items() if depth < _MAX_DEPTH else ():
        merged = [_merged(branch, root, depth + 1, resolved) for branch in branches if isinstance(branch, dict)]
        for others, _ in merged:
            properties = {**others, **properties}
        if key in {"allOf", "$ref"}:
            required.update(*(names for _, names in merged))
    return properties, required


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    """What a local reference, `#/$defs/NAME`, points to."""
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found.get(key) if isinstance(found, dict) else None
    return _without_invalid_keywords(found, _MAX_LEVELS)
