"""Structured output: what a model is told of a JSON schema, and whether the text of its answer is valid by it."""

import functools
import itertools
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from winterbourne.chat.core.messages import ChatRequest, OutputSchema
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import RequestRejected

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["MALFORMED", "REPAIR_REQUEST", "check_schema", "find_json", "objects_in", "with_instructions"]

Request = TypeVar("Request", ChatRequest, ModelRequest)

REPAIR_REQUEST: Final = "That was not valid: {}. Answer again, with the valid JSON alone."

MALFORMED: Final = (AttributeError, TypeError)
"""What reading a schema may raise: no draft checks the keywords of later ones."""

_INSTRUCTIONS: Final = "The text of your final answer must be {} and nothing else: no words around it, no Markdown."
_FENCE: Final = r"(?m)^[ \t]*```\w*|```\w*[ \t\r]*$"
_MAX_FENCED: Final = 8
_ANY_OBJECT: Final = {"type": "object"}
_MAX_PROBLEMS: Final = 5
_MAX_PROBLEM_CHARS: Final = 300
_MOVING: Final = ("$id", "$dynamicRef", "$recursiveRef")
"""What changes where a reference leads."""
_MAX_OBJECTS: Final = 20_000  # in a schema
_MAX_BACKTRACKS: Final = 10_000  # of one pattern and one text, some 0.2 ms: either may come from the caller
_MAX_PATTERNS_BYTES: Final = 40_000_000  # of all of them, a quarter for one; 6 ms for each million
_MAX_STEPS: Final = 300_000  # some 0.3 s at most
_REFERENCE_STEPS: Final = 5  # it takes that much longer to count
_PATTERN_STEPS: Final = 100
_MAX_REPORT: Final = 10_000_000  # in steps times characters: each error of a report has a copy of the value
_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
"""The keywords whose schemas are for the same value."""
_WITHIN: Final = (
    *("patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
)
"""Those whose schemas are for what is in it, besides `properties`."""
_BY_NAME: Final = ("dependentSchemas", "dependencies", "patternProperties")


def with_instructions(request: Request) -> Request:
    """The request with what it says of the answer's text in its system prompt, for a model that has no field for it."""
    if not request.output:
        return request
    told = _instructions(request.output)
    system = request.system or ""
    return request if told in system else msgspec.structs.replace(request, system=f"{system}\n\n{told}".strip())


def check_schema(output: OutputSchema, name: str) -> None:
    """Reject a schema by which nothing can be validated, or not within a bound.

    Args:
        output: What the request wants.
        name: The field's name in the request's format.

    Raises:
        RequestRejected: 400 for what is no JSON schema, is too large, or refers to another document.
    """
    try:
        _validator(_schema_text(output))
    except (ValueError, RecursionError, *MALFORMED) as error:
        told = str(error) if isinstance(error, ValueError) else "it leads back to itself, or is no JSON schema"
        reason = told.partition("\n")[0][:_MAX_PROBLEM_CHARS]
        raise RequestRejected(400, "invalid_schema", f"{name}: {reason}") from None


def find_json(output: OutputSchema, text: str) -> tuple[str, str]:
    """The valid JSON in the text of an answer, without a Markdown fence around it.

    Returns:
        The JSON and nothing; or nothing and what is wrong, in words for the model.
    """
    problem = ""
    fenced = re.split(_FENCE, text)[1::2]
    for candidate in map(str.strip, (text, *fenced[:_MAX_FENCED])):
        if not (reason := _problem(output, candidate)):
            return candidate, ""
        problem = problem or reason
    return "", problem


def _problem(output: OutputSchema, text: str) -> str:
    schema = _ANY_OBJECT if output.schema is None else output.schema
    try:
        validator, value = _validator(_schema_text(output)), msgspec.json.decode(text)
        steps = _MAX_STEPS - _steps_left(schema, value, schema, _MAX_STEPS)
    except (ValueError, RecursionError, *MALFORMED) as error:  # no JSON, half a character, nested too deep
        return f"it is no JSON ({str(error)[:_MAX_PROBLEM_CHARS]})"
    if steps > _MAX_STEPS:
        return "it is too long, or nested too deep, to be validated"
    if validator.is_valid(value):
        return ""
    if steps * len(text) > _MAX_REPORT:
        return "it is not valid by the schema"
    errors = itertools.islice(validator.iter_errors(value), _MAX_PROBLEMS)
    return "; ".join(f"{error.message[:_MAX_PROBLEM_CHARS]} at {_path(error.instance_path)}" for error in errors)


def _steps_left(schema: Any, value: Any, root: Any, steps: int) -> int:
    """How many of these steps are left once a value is validated; negative for too many.

    A schema that leads back to itself in two ways doubles them on each level of the value.
    """
    if not isinstance(schema, dict):
        return steps - 1
    size = len(value) if isinstance(value, dict | list) and not schema.keys().isdisjoint(_WITHIN) else 0
    patterns = ("pattern" in schema) + len(schema.get("patternProperties", ())) * size
    words = sum(len(each) for each in schema.values() if isinstance(each, dict | list))
    steps -= 1 + size + words + ("$ref" in schema) * _REFERENCE_STEPS + patterns * _PATTERN_STEPS
    for sub, part in _schemas_in(schema, value, root):
        if steps < 0:
            break
        steps = _steps_left(sub, part, root, steps)
    return steps


def _schemas_in(schema: dict[str, Any], value: Any, root: Any) -> Iterator[tuple[Any, Any]]:
    """The schemas that a schema leads to, each with the value or the part of it that it is for."""
    repeats = 1 + ("unevaluatedProperties" in schema or "unevaluatedItems" in schema)  # they try the others once more
    for name, found in [*schema.items()] * repeats:
        subs = found if isinstance(found, list) else found.values() if name in _BY_NAME else (found,)
        if name == "$ref":
            yield _resolve(found, root), value
        elif name == "properties" and isinstance(value, dict):
            yield from ((sub, value[key]) for key, sub in found.items() if key in value)
        elif name in _IN_PLACE:
            yield from ((sub, value) for sub in subs)
        elif name in _WITHIN and isinstance(value, dict | list):
            named = schema.get("properties", ()) if name == "additionalProperties" else ()
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            yield from ((sub, part) for key, part in parts if key not in named for sub in subs)


def _path(keys: list[str | int]) -> str:
    return "".join(["$", *(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)])


def _instructions(output: OutputSchema) -> str:
    if output.schema is None:
        return _INSTRUCTIONS.format("a JSON object")
    described = f" ({output.description})" if output.description else ""
    return f"{_INSTRUCTIONS.format(f'JSON{described} that is valid by this JSON schema')}\n{_schema_text(output)}"


def _schema_text(output: OutputSchema) -> str:
    schema: dict[str, Any] = _ANY_OBJECT if output.schema is None else output.schema
    return json.dumps(schema, ensure_ascii=False)


@functools.lru_cache(maxsize=8)
def _validator(schema: str) -> "Validator":
    """What validates by a schema. Nothing is fetched, and patterns end: those of `re` may take for ever."""
    import jsonschema_rs  # noqa: PLC0415 - 40 ms, for answers of this kind alone

    decoded = json.loads(schema)
    objects = list(objects_in(decoded))
    for one in objects:
        if isinstance(reference := one.get("$ref"), str):
            _resolve(reference, decoded)
        if one is not decoded and any(isinstance(one.get(name), str) for name in _MOVING):
            raise ValueError(f"none of {', '.join(_MOVING)} is taken")
    if len(objects) > _MAX_OBJECTS or _steps_left(decoded, None, decoded, _MAX_STEPS) < 0:
        raise ValueError("too large")
    found = (each for one in objects for name in ("pattern", "patternProperties") if (each := one.get(name)))
    patterns = sum(len(each) if isinstance(each, dict) else 1 for each in found)
    most = _MAX_PATTERNS_BYTES // max(patterns, 4)
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=_MAX_BACKTRACKS, size_limit=most)
    return jsonschema_rs.validator_for(decoded, offline=True, pattern_options=options)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a value, itself included."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(part)


def _resolve(reference: str, root: Any) -> Any:
    if reference.rstrip("#") and not reference.startswith("#/"):
        raise ValueError(f"$ref {reference[:64]!r} leads to another document, or to an anchor")
    found = root
    for key in reference.split("/")[1:]:
        name = unquote(key).replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"$ref {reference[:64]!r} leads nowhere")
        found = found[name]
    return found
