"""Structured output: what a model is told of a JSON schema, and whether the text of its answer is valid by it."""

import functools
import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from winterbourne.chat.core.messages import ChatRequest, OutputSchema
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import RequestRejected

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["REPAIR_REQUEST", "check_schema", "find_json", "with_instructions"]

Request = TypeVar("Request", ChatRequest, ModelRequest)

REPAIR_REQUEST: Final = "That was not valid: {}. Answer again, with the valid JSON alone."

_INSTRUCTIONS: Final = "The text of your final answer must be {} and nothing else: no words around it, no Markdown."
_FENCE: Final = re.compile(r"```\w*\s*\n(.*?)\n\s*```", re.DOTALL)
_ANY_OBJECT: Final = {"type": "object"}
_MAX_PROBLEMS: Final = 5
_MAX_PROBLEM_CHARS: Final = 300
_MAX_SIZE: Final = 20_000  # of a schema with a copy in the place of each reference: they can double it again and again
_MOVING: Final = ("$id", "$dynamicRef", "$recursiveRef")
"""What changes where a reference leads."""
_MAX_BACKTRACKS: Final = 100_000  # of one pattern and one text, some milliseconds: either may come from the caller


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
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:_MAX_PROBLEM_CHARS]
        raise RequestRejected(400, "invalid_schema", f"{name}: {reason}") from None


def find_json(output: OutputSchema, text: str) -> tuple[str, str]:
    """The valid JSON in the text of an answer, without a Markdown fence around it.

    Returns:
        The JSON and nothing; or nothing and what is wrong, in words for the model.
    """
    problem = ""
    for candidate in (text.strip(), *_FENCE.findall(text)):
        if not (reason := _problem(output, candidate)):
            return candidate, ""
        problem = problem or reason
    return "", problem


def _problem(output: OutputSchema, text: str) -> str:
    try:
        value = msgspec.json.decode(text)
        errors = list(_validator(_schema_text(output)).iter_errors(value))
    except (ValueError, RecursionError) as error:  # no JSON, half a character, nested too deep
        return f"it is no JSON ({str(error)[:_MAX_PROBLEM_CHARS]})"
    told = (f"{error.message[:_MAX_PROBLEM_CHARS]} at {_path(error.instance_path)}" for error in errors[:_MAX_PROBLEMS])
    return "; ".join(told)


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


@functools.lru_cache(maxsize=16)
def _validator(schema: str) -> "Validator":
    """What validates by a schema. Nothing is fetched, and patterns end: those of `re` may take for ever."""
    import jsonschema_rs  # noqa: PLC0415 - 40 ms, for answers of this kind alone

    decoded = json.loads(schema)
    if _size(decoded, decoded, {}) > _MAX_SIZE:
        raise ValueError("too large")
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=_MAX_BACKTRACKS)
    return jsonschema_rs.validator_for(decoded, offline=True, pattern_options=options)


def _size(node: Any, root: Any, known: dict[str, int]) -> int:
    """How many values a schema has, with those that references lead to; `known` has the sizes of these."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    size = 1 + sum(_size(child, root, known) for child in children)
    if isinstance(node, dict) and any(isinstance(node.get(name), str) for name in _MOVING) and node is not root:
        raise ValueError(f"none of {', '.join(_MOVING)} is taken")
    if isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
        if reference not in known:
            known[reference] = 1  # it may lead back
            known[reference] = _size(_resolve(reference, root), root, known)
        size += known[reference]
    return size


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
