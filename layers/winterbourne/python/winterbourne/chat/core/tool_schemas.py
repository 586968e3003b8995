"""Makes the JSON schema of a tool's parameters one that every provider accepts. Pure."""

import re
from typing import Any, Final

__all__ = ["portable_schema"]

_PROPERTY_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_COMBINATORS: Final = ("allOf", "anyOf", "oneOf")
_MAX_DEPTH: Final = 8  # of combinations within combinations; a reference may lead back to itself


def portable_schema(schema: object) -> dict[str, Any] | None:
    """A schema that every provider accepts: an object, without combinations at its top, its properties well named.

    Properties of combined schemas are merged, optional ones whose name no provider takes are left out. The tool itself
    still validates its arguments.

    Returns:
        None if the tool cannot be offered: its parameters are no object, or a required one has such a name.
    """
    if not isinstance(schema, dict):
        return None
    types = schema.get("type", "object")
    if "object" not in (types if isinstance(types, list) else [types]):
        return None
    properties, required = _merged(schema, schema, 0)
    named = {name: value for name, value in properties.items() if _PROPERTY_NAME.fullmatch(name)}
    if required & (properties.keys() - named.keys()):
        return None
    dropped = {*_COMBINATORS, "$ref", "not", "enum", "const", "if", "then", "else", "required"}
    kept = {key: value for key, value in schema.items() if key not in dropped}
    needed = [name for name in properties if name in required and name in named]
    return {**kept, "type": "object", "properties": named, **({"required": needed} if needed else {})}


def _merged(schema: dict[str, Any], root: dict[str, Any], depth: int) -> tuple[dict[str, Any], set[str]]:
    """The properties of a schema and of those combined in it, and the names of those that all of them require."""
    own = schema.get("properties")
    properties = dict(own) if isinstance(own, dict) else {}
    names = schema.get("required")
    required = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    combined = {key: branches for key in _COMBINATORS if isinstance(branches := schema.get(key), list)}
    if isinstance(reference := schema.get("$ref"), str):
        combined["$ref"] = [_resolve(reference, root)]
    for key, branches in combined.items() if depth < _MAX_DEPTH else ():
        merged = [_merged(branch, root, depth + 1) for branch in branches if isinstance(branch, dict)]
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
    return found
