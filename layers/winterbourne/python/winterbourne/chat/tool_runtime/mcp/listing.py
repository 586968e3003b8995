"""Makes tools of what an MCP server lists. A tool that no provider takes, or one too many, is left out alone. Pure.

Whatever is listed is sent to the model with every request, so that one definition that a provider rejects would break
every chat, and a long list would be paid for in each of them.
https://modelcontextprotocol.io/specification/2025-11-25/server/tools#listing-tools
"""

import hashlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import orjson

from winterbourne.chat.core.tool_schemas import portable_schema
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions
from winterbourne.chat.tool_runtime.mcp import stateless
from winterbourne.chat.tool_runtime.validation import argument_error

__all__ = ["MAX_BYTES", "MAX_DESCRIPTION_CHARS", "MAX_TOOLS", "MAX_TOOL_BYTES", "CallTool", "Listing"]

CallTool: TypeAlias = Callable[[str, Any, Mapping[str, str], ToolContext], Awaitable[Any]]
"""Calls a tool by the server's name for it, with arguments, the headers that repeat some of them, and a context."""

# Of one server. Bytes are those of descriptions and schemas as JSON.
MAX_TOOLS: Final = 128
MAX_BYTES: Final = 256 * 1024
MAX_TOOL_BYTES: Final = 16 * 1024
MAX_DESCRIPTION_CHARS: Final = 4096

MAX_DEFINITIONS: Final = 5000
"""How many of one page are looked at: more would hold the event loop up."""

# How long a list is used before it is asked for again. Servers before 2026-07-28 do not say.
DEFAULT_TTL_S: Final = 3600.0
MIN_TTL_S: Final = 60.0
MAX_TTL_S: Final = 86_400.0

_MAX_NAME_CHARS: Final = 64
_MAX_SCHEMA_DEPTH: Final = 32
_TOO_DEEP: Final = f"its schema nests more than {_MAX_SCHEMA_DEPTH} levels"
_MAX_LOGGED: Final = 10
_INVALID_NAME_CHARS: Final = re.compile(r"[^a-zA-Z0-9_-]")

_LOGGER: Final = logging.getLogger(__name__)


class _Unusable(Exception):
    """Why a tool is left out."""


class Listing(msgspec.Struct, eq=False):
    """Collects the tools of one server, page by page.

    Attributes:
        server: The server's name, the prefix of its tools' names.
        call: Calls a tool.
        definitions: Those of tools that can be used, as far as they are, by the server's own names.
        ttl_s: How long the list may be used.
        is_private: Whether it may differ between those who ask for it.
        is_whole: Whether no page is missing.
        is_full: Whether the server has listed more than is taken, so that no further page is of use.
    """

    server: str
    call: CallTool
    definitions: dict[str, dict[str, Any]] = {}
    ttl_s: float = DEFAULT_TTL_S
    is_private: bool = False
    is_whole: bool = True
    is_full: bool = False
    _bytes: int = 0
    _surplus: list[str] = []
    _notes: list[str] = []

    def add_page(self, definitions: Iterable[Any]) -> None:
        """Take the definitions of one page."""
        for definition in itertools.islice(definitions, MAX_DEFINITIONS):
            name = definition.get("name") if isinstance(definition, dict) else None
            try:
                self._add(name, definition)
            except _Unusable as why:
                self._note(name, f"left out: {why}")

    def note_cache(self, page: Mapping[str, Any]) -> None:
        """Take what a page says of how long, and for whom, it may be kept."""
        self.is_private |= page.get("cacheScope") == "private"
        if isinstance(ttl_ms := page.get("ttlMs"), int):
            self.ttl_s = min(max(ttl_ms / 1000, MIN_TTL_S), MAX_TTL_S)

    def tools(self) -> list[Tool]:
        """The tools of all pages. What was left out or changed is logged, in one line each."""
        names = _unique_names(self.server, self.definitions)
        tools = [self._make_tool(own, names[own], definition) for own, definition in self.definitions.items()]
        self._warn(f"more than {MAX_TOOLS} tools, {MAX_BYTES} bytes; left out", self._surplus)
        self._warn("tools that cannot be used as they are", self._notes)
        return tools

    def _add(self, name: Any, definition: Mapping[str, Any]) -> None:
        if not name or not isinstance(name, str):
            raise _Unusable("it has no name")
        if name in self.definitions:
            raise _Unusable("it is listed twice")
        if not self.is_full:
            description, parameters = self._usable_parts(name, definition)
            self._bytes += _checked_size(description, parameters)
            self.is_full = len(self.definitions) == MAX_TOOLS or self._bytes > MAX_BYTES
            if not self.is_full:
                self.definitions[name] = {"name": name, "description": description, "inputSchema": parameters}
                return
        self._surplus.append(_label(name))

    def _usable_parts(self, name: str, definition: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The description and the schema; what is too large or too deep is not even looked through."""
        description, schema = _description(name, definition), definition.get("inputSchema") or {}
        if not isinstance(schema, dict):
            raise _Unusable("its schema is not an object")
        _checked_size(description, schema)
        if _nests_deeper(schema, _MAX_SCHEMA_DEPTH):
            raise _Unusable(_TOO_DEEP)
        schema = {"type": "object", "properties": {}, **schema}
        if not stateless.has_valid_headers(schema):
            raise _Unusable("its x-mcp-header cannot be a header")
        if (parameters := portable_schema(schema)) is None:
            raise _Unusable("no provider takes its schema")
        if any(schema[key] != parameters.get(key) for key in schema.keys() - {"required"}):
            self._note(name, "offered with a simpler schema")
        return description, parameters

    def _make_tool(self, own_name: str, name: str, definition: Mapping[str, Any]) -> Tool:
        parameters = definition["inputSchema"]

        async def call(arguments: Any, context: ToolContext) -> Any:
            return await self.call(own_name, arguments, stateless.argument_headers(parameters, arguments), context)

        if not _plain_name(self.server, own_name).startswith(name):
            self._note(own_name, f"offered as {name}")
        return Tool(
            name=name,
            description=definition["description"],
            parameters=parameters,
            validate_arguments=_argument_validator(name, parameters),
            call=call,
            options=ToolOptions(breaker=f"mcp:{self.server}"),
        )

    def _warn(self, what: str, tools: Sequence[str]) -> None:
        if tools:
            more = f", and {len(tools) - _MAX_LOGGED} more" if len(tools) > _MAX_LOGGED else ""
            shown = ", ".join(tools[:_MAX_LOGGED]) + more
            _LOGGER.warning("MCP server %s lists %s: %s", self.server, what, shown)

    def _note(self, name: Any, text: str) -> None:
        self._notes.append(f"{_label(name) if name and isinstance(name, str) else 'a tool'} ({text})")


def _label(name: str) -> str:
    """A tool's name for a line of the log."""
    return " ".join(name.split())[:_MAX_NAME_CHARS]


def _description(name: str, definition: Mapping[str, Any]) -> str:
    texts = (definition.get("description"), definition.get("title"))
    found = next((text for text in texts if isinstance(text, str) and text.strip()), name)
    return found[:MAX_DESCRIPTION_CHARS]


def _checked_size(description: str, schema: dict[str, Any]) -> int:
    try:
        size = len(orjson.dumps([description, schema]))
    except orjson.JSONEncodeError:
        raise _Unusable(_TOO_DEEP) from None
    if size > MAX_TOOL_BYTES:
        raise _Unusable(f"its description and schema have {size} bytes, more than {MAX_TOOL_BYTES}")
    return size


def _nests_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _nests_deeper(part, levels - 1) for part in parts)


def _plain_name(server: str, own_name: str) -> str:
    return _INVALID_NAME_CHARS.sub("_", f"{server}_{own_name}")


def _unique_names(server: str, own_names: Iterable[str]) -> dict[str, str]:
    """The names that providers accept. One that had to be cut, or is changed and not unique, ends with a hash."""
    plain_names = {own: _plain_name(server, own) for own in own_names}
    counts = Counter(plain_names.values())

    def unique(own: str, plain: str) -> str:
        is_unique = counts[plain] == 1 or plain == f"{server}_{own}"
        if is_unique and len(plain) <= _MAX_NAME_CHARS:
            return plain
        return f"{plain[: _MAX_NAME_CHARS - 9]}_{hashlib.sha256(own.encode()).hexdigest()[:8]}"

    return {own: unique(own, plain) for own, plain in plain_names.items()}


def _argument_validator(name: str, parameters: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Validate what needs no JSON Schema library; the server, which has one, checks the types."""
    required = parameters.get("required", ())
    properties = parameters["properties"]
    is_closed = parameters.get("additionalProperties") is False

    def validate(text: str) -> dict[str, Any]:
        try:
            arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
            orjson.dumps({"params": {"arguments": arguments}})  # as they will be sent; orjson accepts less than msgspec
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise argument_error(name, f"{error}, at `$`") from None
        except (orjson.JSONEncodeError, RecursionError):
            raise argument_error(name, "they nest too deep, or an integer has more than 64 bits, at `$`") from None
        if missing := [field for field in required if field not in arguments]:
            raise argument_error(name, f"the required field `{missing[0]}` is missing, at `$`")
        if is_closed and (unknown := [field for field in arguments if field not in properties]):
            raise argument_error(name, f"there is no field `{unknown[0]}`, at `$.{unknown[0]}`")
        return arguments

    return validate
