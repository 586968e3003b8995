"""The form of MCP's stateless requests (2026-07-28), and what a server asks for in an unfinished result. Pure.

A request says all about itself: in its headers, for what stands between client and server, and the same in `_meta`.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from winterbourne.chat.errors import InputRequired, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool

__all__ = ["CLIENT_INFO", "VERSION", "answer", "argument_headers", "read_state", "request_of"]

VERSION: Final = "2026-07-28"
CLIENT_INFO: Final = dict(zip(("name", "version"), http_pool.USER_AGENT.split("/"), strict=True))

MAX_STATE_BYTES: Final = 64 * 1024
MAX_FORM_BYTES: Final = 16 * 1024

_META: Final = "io.modelcontextprotocol/"
_HEADER_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PLAIN_VALUE: Final = re.compile(r"(?!\s|=\?base64\?)[\x20-\x7e]*(?<!\s)")


def request_of(message: Mapping[str, Any], *, takes_forms: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """A message as a stateless request, and its headers. `takes_forms`: whether the server may ask for input."""
    params, meta = message["params"], {f"{_META}protocolVersion": VERSION, f"{_META}clientInfo": CLIENT_INFO}
    meta[f"{_META}clientCapabilities"] = {"elicitation": {"form": {}}} if takes_forms else {}
    headers = {"mcp-protocol-version": VERSION, "mcp-method": message["method"]}
    if "name" in params:
        headers["mcp-name"] = _header_value(params["name"])
    return {**message, "params": {**params, "_meta": {**params.get("_meta", {}), **meta}}}, headers


def argument_headers(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat arguments (`x-mcp-header`): of an object's own properties, as far as they have values."""
    headers = {}
    for name, part in schema.get("properties", {}).items():
        token, value = part.get("x-mcp-header") if isinstance(part, dict) else None, arguments.get(name)
        if isinstance(token, str) and _HEADER_TOKEN.fullmatch(token) and isinstance(value, str | int | float):
            headers[f"mcp-param-{token}"] = _header_value(str(value).lower() if isinstance(value, bool) else str(value))
    return headers


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
    is_elicitation = isinstance(request, dict) and request.get("method") == "elicitation/create"
    params = request.get("params") if is_elicitation else None
    form = params if isinstance(params, dict) else {}
    text, schema = form.get("message"), form.get("requestedSchema", {})
    is_form = isinstance(text, str) and isinstance(schema, dict) and form.get("mode", "form") == "form"
    if len(requests) > 1 or not is_form or len(orjson.dumps(schema)) > MAX_FORM_BYTES:
        raise ToolError("The tool's server asks for something that cannot be given here.")
    raise InputRequired(str(text)[:MAX_FORM_BYTES], dict(schema), orjson.dumps([key, state]).decode())


def answer(state: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What goes on with a call, whose `InputRequired` had this state, once a person has filled in the form."""
    key, server_state = orjson.loads(state)
    responses = {"inputResponses": {key: {"action": "accept", "content": content}}}
    return responses if server_state is None else {**responses, "requestState": server_state}


def _header_value(text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="
