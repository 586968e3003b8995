"""JSON schemas as providers constrain a model's output by them: each takes few keywords, and refuses the others. Pure.

https://docs.claude.com/en/docs/build-with-claude/structured-outputs
https://platform.openai.com/docs/guides/structured-outputs
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
"""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.messages import OutputSchema
from winterbourne.chat.core.output import MALFORMED, objects_in, with_instructions
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["closed_output", "openai_output"]

_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$comment", "title", "default", "examples", "discriminator"})
_CONSTRAINTS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"}
    | {"format", "minItems", "maxItems", "uniqueItems"}
)
"""What some provider refuses, and the model is told in words instead: the answer is validated in any case."""
_KEPT: Final = frozenset({"type", "required", "additionalProperties", "enum", "const", "description"})
_TYPED: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "$ref"})
_MAX_OPTIONAL: Final = 24
_MAX_UNIONS: Final = 16


def openai_output(request: ModelRequest, *, is_native: bool) -> tuple[ModelRequest, dict[str, Any] | None]:
    """How OpenAI is told what the output is, in the words of Responses.

    Args:
        request: What is asked, with an `output`.
        is_native: Whether the model takes the field.

    Returns:
        The request, with what the field does not say in its system prompt; None if the field is left out. A schema
        that strict mode cannot express is sent without it.
    """
    output = request.output
    if not output or not is_native:
        return with_instructions(request), None
    if output.schema is None:
        return with_instructions(request), {"type": "json_object"}
    if output.schema.get("type") != "object":
        return with_instructions(request), None
    form = _StrictForm(output, all_required=True)
    schema = form.fit_root() if output.strict else None
    name = {"name": output.name, **({"description": output.description} if output.description else {})}
    field = {"type": "json_schema", **name, "schema": schema or output.schema, "strict": schema is not None}
    return with_instructions(request) if schema and form.lost else request, field


def closed_output(request: ModelRequest, *, is_native: bool) -> tuple[ModelRequest, dict[str, Any] | None]:
    """The schema by which Anthropic and Bedrock constrain the output.

    Returns:
        The request, with what the schema does not say in its system prompt; None for a schema if there is none or it
        cannot be expressed.
    """
    output = request.output
    if not output or not is_native or not output.schema or output.schema.get("type") != "object":
        return with_instructions(request), None
    form = _StrictForm(output)
    schema = form.fit_root()
    if form.optional > _MAX_OPTIONAL or form.unions > _MAX_UNIONS:
        schema = None
    return request if schema and not form.lost else with_instructions(request), schema


class _Inexpressible(Exception):
    """The schema has something that not every provider takes."""


class _StrictForm(msgspec.Struct):
    """Makes the form of a schema that has only what all providers take.

    Attributes:
        output: What the request wants: only if that is `strict`, an object is closed to properties it does not name.
        all_required: Whether the properties must all be required.
        lost: Whether a constraint is left out.
        optional: How many properties are not required.
        unions: How many values may have one of several types.
    """

    output: OutputSchema
    all_required: bool = False
    lost: bool = False
    optional: int = 0
    unions: int = 0

    def fit_root(self) -> dict[str, Any] | None:
        """The form; None if the schema cannot be expressed."""
        from graphlib import TopologicalSorter  # noqa: PLC0415 - for answers of this kind alone

        schema = self.output.schema or {}
        try:
            kept = {f"#/{name}/": schema.get(name, {}) for name in ("$defs", "definitions")}
            graph = {head + name: _references(one) for head, ones in kept.items() for name, one in ones.items()}
            TopologicalSorter(graph).prepare()  # a ValueError if a definition leads back to itself
            return self._fit(schema) if _references(schema) <= graph.keys() else None
        except (_Inexpressible, ValueError, RecursionError, *MALFORMED):
            return None

    def _fit(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, dict) or schema.keys().isdisjoint(_TYPED):
            raise _Inexpressible
        fitted: dict[str, Any] = {}
        for key, value in schema.items():
            if key in {"properties", "$defs", "definitions"}:
                fitted[key] = {name: self._fit(one) for name, one in value.items()}
            elif key in {"anyOf", "oneOf"}:
                fitted["anyOf"] = [self._fit(one) for one in value]
            elif key == "items":
                fitted[key] = self._fit(value)
            elif key in _KEPT:
                fitted[key] = value
            elif key not in _CONSTRAINTS | _ANNOTATIONS | {"$ref"}:
                raise _Inexpressible
        self.lost = self.lost or not schema.keys().isdisjoint({*_CONSTRAINTS, "oneOf"})
        # No provider takes anything beside a reference, and some of its neighbours are only words.
        return {"$ref": schema["$ref"]} if "$ref" in schema else self._close(fitted)

    def _close(self, schema: dict[str, Any]) -> dict[str, Any]:
        types = schema.get("type")
        named = types if isinstance(types, list) else [types]
        self.unions += "anyOf" in schema or len(named) > 1
        if "array" in named and "items" not in schema:
            raise _Inexpressible
        if any(isinstance(value, dict | list) for value in [*schema.get("enum", ()), schema.get("const")]):
            raise _Inexpressible
        if "object" not in named:
            return schema
        if schema.get("additionalProperties", not self.output.strict):
            raise _Inexpressible
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not set(required) <= properties.keys():
            raise _Inexpressible
        if self.all_required:
            required = list(properties)
        self.optional += len(properties) - len(required)
        return {**schema, "properties": properties, "required": required, "additionalProperties": False}


def _references(schema: Any) -> set[str]:
    return {one["$ref"] for one in objects_in(schema) if "$ref" in one}
