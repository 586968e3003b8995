"""Argument validation: the JSON a model wrote → typed values, or one sentence that says what to fix.

Nothing is guessed: no string becomes a number, no unknown field is dropped. What means the same is taken: `2.0` for an
integer, as JSON Schema has it, and `null` for no arguments. Pure; independent of tools.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.schema import Schema

__all__ = ["ArgumentValidator", "argument_error"]


def argument_error(name: str, reason: str) -> ToolError:
    """What a model is told of arguments that are refused, for one reason with its place."""
    return ToolError(f"The arguments of {name} do not fit its schema: {reason}; fix that and call it again.")


class ArgumentValidator:
    """Validates JSON text and converts it to a struct.

    Args:
        name: The tool's name, for error messages.
        struct: Has one field per parameter.
        parameters: The struct's schema, with `additionalProperties: false` on every level.
    """

    def __init__(self, name: str, struct: type[msgspec.Struct], parameters: Schema) -> None:
        self._name = name
        self._struct = struct
        self._parameters = parameters
        self._definitions: Mapping[str, Schema] = parameters.get("$defs", {})

    def __call__(self, text: str) -> Any:
        """Validate arguments. Empty text means no arguments.

        Raises:
            ToolError: One sentence for the model that names the JSON path; its cause, if any, is what a
                `__post_init__` of the tool's own types raised.
        """
        try:
            value = _decode_json(text or "{}")
            if value is None and not self._parameters.get("required"):
                value = {}
            value = self._fit(value, self._parameters, "$")
        except msgspec.ValidationError as error:
            raise self._argument_error(str(error)) from None
        except RecursionError:
            raise self._argument_error("the JSON text is nested too deep") from None
        return self._convert(value)

    def _convert(self, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._struct, str_keys=True)
        except msgspec.ValidationError as error:
            if _is_raised_by_msgspec(error):
                raise self._argument_error(str(error)) from None
            path = re.search(_PATH_AT_END, str(error))
            raise self._argument_error(f"a value is refused{path[0] if path else ''}") from error

    def _argument_error(self, reason: str) -> ToolError:
        problem, _, path = reason.partition(" - at ")
        return argument_error(self._name, f"{_lowercase_first(problem)}, at {path or '`$`'}")

    def _fit(self, value: Any, schema: Schema, path: str) -> Any:
        """The value with integers where the schema has some; rejects unknown fields on every level.

        Raises:
            msgspec.ValidationError: A field is unknown.
        """
        if isinstance(value, dict):
            return self._fit_object(value, self._matching_object_schema(value, schema), path)
        if isinstance(value, list):
            arrays = [part for part in self._union_members(schema) if "items" in part]
            return [self._fit(item, _item_schema(arrays, at), f"{path}[{at}]") for at, item in enumerate(value)]
        if isinstance(value, float) and value.is_integer() and abs(value) < _FIRST_INEXACT:
            members = list(self._union_members(schema))
            is_integer = any(part.get("type") == "integer" or value in part.get("enum", ()) for part in members)
            return int(value) if is_integer and not any(part.get("type") == "number" for part in members) else value
        return value

    def _fit_object(self, value: dict[str, Any], schema: Schema, path: str) -> dict[str, Any]:
        additional_properties = schema.get("additionalProperties") or {}
        properties = schema.get("properties", dict.fromkeys(value, additional_properties))
        if unknown := [key for key in value if key not in properties]:
            names = ", ".join(f"`{name}`" for name in properties) or "none"
            raise msgspec.ValidationError(f"unknown field `{unknown[0]}` (the fields are {names}) - at `{path}`")
        return {key: self._fit(item, properties[key], f"{path}.{key}") for key, item in value.items()}

    def _matching_object_schema(self, value: dict[str, Any], schema: Schema) -> Schema:
        """The object schema of a value, in a union by its tag; empty if none fits, then msgspec rejects the value."""
        objects = [part for part in self._union_members(schema) if part.get("type") == "object"]
        matching = objects if len(objects) == 1 else [part for part in objects if _matches_tag(value, part)]
        return matching[0] if matching else {}

    def _union_members(self, schema: Schema) -> Iterator[Schema]:
        """The members of a union, nested unions included, or the schema itself; references are resolved."""
        target = self._definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if "anyOf" not in target:
            yield target
        for part in target.get("anyOf", ()):
            yield from self._union_members(part)


def _item_schema(arrays: Sequence[Schema], at: int) -> Schema:
    """The schema of an item in an array, by its place in a tuple."""
    schemas = (part.get("prefixItems", ())[at : at + 1] or [part["items"]] for part in arrays)
    return next((schema for schema, *_ in schemas if schema), {})


def _is_raised_by_msgspec(error: msgspec.ValidationError) -> bool:
    """Whether msgspec itself raised it, not code of the tool's own types: then no frame is below ours."""
    return error.__cause__ is None and error.__traceback__ is not None and error.__traceback__.tb_next is None


def _decode_json(text: str) -> Any:
    """Decode any JSON value.

    Raises:
        msgspec.ValidationError: The text is not JSON, or an object has a duplicate key.
        RecursionError: It is nested too deep.
    """
    try:
        value = msgspec.json.decode(text)
    except UnicodeEncodeError:
        raise msgspec.ValidationError("the JSON text contains a lone surrogate") from None
    except msgspec.DecodeError as error:
        raise msgspec.ValidationError(f"the text is not valid JSON ({_lowercase_first(str(error))})") from None
    _KEY_CHECKER.decode(text)
    return value


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> None:
    """Reject duplicate keys: which of the two values is meant would be a guess."""
    for name, number in Counter(name for name, _ in pairs).items():
        if number > 1:
            raise msgspec.ValidationError(f"the field `{name}` is given twice - at `$..{name}`")


_FIRST_INEXACT: Final = 2.0**53  # it and larger floats may stand for any of several integers

# The path that msgspec appends to the error message of a tool's own type.
_PATH_AT_END: Final = r" - at `\$[\w.\[\]]*`\Z"

# msgspec silently keeps the last value of a duplicate key, so the text is parsed again just for its keys.
_KEY_CHECKER: Final = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys, parse_int=str, parse_float=str)


def _matches_tag(value: Mapping[str, Any], schema: Schema) -> bool:
    """Whether every enum field in the value has an allowed value; a union's tag is such a field."""
    properties: Iterable[tuple[str, Schema]] = schema.get("properties", {}).items()
    return all(value[key] in part["enum"] for key, part in properties if "enum" in part and key in value)


def _lowercase_first(text: str) -> str:
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]
