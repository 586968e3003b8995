"""The form of MCP's stateless requests (2026-07-28), and what a server asks for in an unfinished result. Pure.

A request says all about itself: in its headers, for what stands between client and server, and the same in `_meta`.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool

__all__ = ["CLIENT_INFO", "VERSION", "InputRequired", "argument_headers", "header_paths", "read_state", "request_of"]

VERSION: Final = "2026-07-28"
CLIENT_INFO: Final = dict(zip(("name", "version"), http_pool.USER_AGENT.split("/"), strict=True))

MAX_STATE_BYTES: Final = 64 * 1024
MAX_FORM_BYTES: Final = 16 * 1024

_META: Final = "io.modelcontextprotocol/"
_HEADER_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PLAIN_VALUE: Final = re.compile(r"(?!\s|=\?base64\?)[\x20-\x7e]*(?<!\s)")


class InputRequired(Exception):
    """A call cannot go on before a person has filled in a form.

    Attributes:
        message: What the person is asked.
        schema: JSON schema of what is filled in.
        state: What the server wants back with the answer, as it came; with the key that the answer has there.
    """

    def __init__(self, message: str, schema: dict[str, Any], state: tuple[str, str | None]) -> None:
        super().__init__(message)
        self.message, self.schema, self.state = message, schema, state


def request_of(message: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A message as a stateless request, and its headers. Input is not offered: `clientCapabilities` has none."""
    params = message["params"]
    meta = {f"{_META}protocolVersion": VERSION, f"{_META}clientCapabilities": {}, f"{_META}clientInfo": CLIENT_INFO}
    headers = {"mcp-protocol-version": VERSION, "mcp-method": message["method"]}
    if "name" in params:
        headers["mcp-name"] = _header_value(params["name"])
    return {**message, "params": {**params, "_meta": {**params.get("_meta", {}), **meta}}}, headers


def header_paths(schema: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The headers that repeat arguments (`x-mcp-header`), each with the path of its argument.

    Raises:
        ValueError: One cannot be a header, or two are alike: such a tool must not be called.
    """
    found = list(_annotated(schema, ()))
    tokens = {token.lower() for token, _ in found if isinstance(token, str) and _HEADER_TOKEN.fullmatch(token)}
    if len(tokens) != len(found):
        raise ValueError
    return {f"mcp-param-{token.lower()}": path for token, path in found}


def argument_headers(paths: Mapping[str, Sequence[str]], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The headers for the arguments of a call; those that are missing, or no plain values, have none."""
    values = {name: _value_at(arguments, path) for name, path in paths.items()}
    return {name: _header_value(text) for name, value in values.items() if (text := _as_text(value)) is not None}


def read_state(result: Mapping[str, Any]) -> str | None:
    """The state to ask again with, of a result that is not complete yet.

    Raises:
        InputRequired: A person has to fill in a form before.
        ToolError: The server asks for something else.
        ToolUnavailable: The result cannot be read, or is too large to be kept.
    """
    state, requests = result.get("requestState"), result.get("inputRequests") or {}
    is_readable = isinstance(state, str | None) and isinstance(requests, dict) and (requests or state is not None)
    if result.get("resultType") != "input_required" or not is_readable or len(state or "") > MAX_STATE_BYTES:
        raise ToolUnavailable("The tool's server sent a result of a kind that cannot be read.")
    if not requests:
        return state
    key, request = next(iter(requests.items()))
    params = request.get("params") if isinstance(request, dict) else None
    form = params if isinstance(params, dict) else {}
    text, schema = form.get("message"), form.get("requestedSchema", {})
    is_form = isinstance(text, str) and isinstance(schema, dict) and form.get("mode", "form") == "form"
    if len(requests) > 1 or not is_form or len(orjson.dumps(schema)) > MAX_FORM_BYTES:
        raise ToolError("The tool's server asks for something that cannot be given here.")
    raise InputRequired(str(text)[:MAX_FORM_BYTES], dict(schema), (key, state))


def _annotated(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, dict) else ():
        if isinstance(part, dict):
            if "x-mcp-header" in part:
                yield part["x-mcp-header"], (*path, name)
            yield from _annotated(part, (*path, name))


def _value_at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _header_value(text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="
