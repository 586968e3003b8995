"""The form of MCP's stateless requests (2026-07-28), and what a server asks for in an unfinished result. Pure.

A request says all about itself: in its headers, for what stands between client and server, and the same in `_meta`.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import base64
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
import orjson

from winterbourne.chat.errors import InputRequired, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool

__all__ = ["CLIENT_INFO", "VERSION", "answer", "argument_headers", "has_valid_headers", "read_state", "request_of"]

VERSION: Final = "2026-07-28"
CLIENT_INFO: Final = dict(zip(("name", "version"), http_pool.USER_AGENT.split("/"), strict=True))

MAX_STATE_BYTES: Final = 64 * 1024
MAX_FORM_BYTES: Final = 16 * 1024

_META: Final = "io.modelcontextprotocol/"
_NOT_GIVEN: Final = "The tool's server asks for something that cannot be given here."
_REPEATED_TYPES: Final = ("string", "integer", "boolean")
_HEADER_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PLAIN_VALUE: Final = re.compile(r"(?!\s|=\?base64\?)[\x20-\x7e]*(?<!\s)")


class _Form(msgspec.Struct):
    properties: dict[str, Any] = {}
    required: list[str] = []


class _Question(msgspec.Struct):
    message: str
    mode: Literal["form"] = "form"
    form: _Form = msgspec.field(default_factory=_Form, name="requestedSchema")


class _Elicitation(msgspec.Struct):
    method: Literal["elicitation/create"]
    params: _Question


def request_of(message: Mapping[str, Any], *, takes_forms: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """A message as a stateless request, and its headers. `takes_forms`: whether the server may ask for input."""
    params, meta = message["params"], {f"{_META}protocolVersion": VERSION, f"{_META}clientInfo": CLIENT_INFO}
    meta[f"{_META}clientCapabilities"] = {"elicitation": {"form": {}}} if takes_forms else {}
    headers = {"mcp-protocol-version": VERSION, "mcp-method": message["method"]}
    if "name" in params:
        headers["mcp-name"] = _header_value(params["name"])
    return {**message, "params": {**params, "_meta": {**params.get("_meta", {}), **meta}}}, headers


def argument_headers(schema: Mapping[str, Any], arguments: Any) -> dict[str, str]:
    """The headers that repeat arguments (`x-mcp-header`), as far as they have values."""
    headers = {}
    for path, name in _repeated(schema):
        value = functools.reduce(lambda part, key: part.get(key) if isinstance(part, dict) else None, path, arguments)
        if isinstance(value, str | int | float):
            headers[name] = _header_value(str(value).lower() if isinstance(value, bool) else str(value))
    return headers


def has_valid_headers(schema: Mapping[str, Any]) -> bool:
    """Whether each `x-mcp-header` in a schema can be a header, and another one; a tool without that must be refused."""
    return len({name for _, name in _repeated(schema)}) == orjson.dumps(schema).count(b'"x-mcp-header":')


def read_state(result: Mapping[str, Any]) -> str | None:
    """The state to ask again with, of a result that is not complete yet.

    Raises:
        InputRequired: A person has to fill in a form before; one for all that is asked.
        ToolError: The server asks for something else.
        ToolUnavailable: The result cannot be read, or is too large to be kept.
    """
    state, requests = result.get("requestState"), result.get("inputRequests") or {}
    is_readable = isinstance(state, str | None) and isinstance(requests, dict) and (requests or state is not None)
    if result.get("resultType") != "input_required" or not is_readable or len(state or "") > MAX_STATE_BYTES:
        raise ToolUnavailable("The tool's server sent a result of a kind that cannot be read.")
    if not requests:
        return state
    try:
        questions = [each.params for each in msgspec.convert(requests, dict[str, _Elicitation]).values()]
    except msgspec.ValidationError:
        raise ToolError(_NOT_GIVEN) from None
    fields = {key: list(question.form.properties) for key, question in zip(requests, questions, strict=True)}
    properties = {name: part for question in questions for name, part in question.form.properties.items()}
    required = [name for question in questions for name in question.form.required]
    schema = {"type": "object", "properties": properties, "required": required}
    if len(properties) < sum(map(len, fields.values())) or len(orjson.dumps(schema)) > MAX_FORM_BYTES:
        raise ToolError(_NOT_GIVEN)
    message = "\n".join(question.message for question in questions)[:MAX_FORM_BYTES]
    raise InputRequired(message, schema, orjson.dumps([fields, state]).decode())


def answer(state: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What goes on with a call, whose `InputRequired` had this state, once a person has filled in the form."""
    fields, server_state = orjson.loads(state)
    parts = {key: {name: content[name] for name in names if name in content} for key, names in fields.items()}
    responses = {"inputResponses": {key: {"action": "accept", "content": part} for key, part in parts.items()}}
    return responses if server_state is None else {**responses, "requestState": server_state}


def _repeated(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The paths of an object's properties that a header repeats, and its name; those of objects in it too."""
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, dict) else ():
        if isinstance(part, dict):
            token = part.get("x-mcp-header")
            if isinstance(token, str) and _HEADER_TOKEN.fullmatch(token) and part.get("type") in _REPEATED_TYPES:
                yield (*path, name), f"mcp-param-{token.lower()}"
            yield from _repeated(part, (*path, name))


def _header_value(text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="
