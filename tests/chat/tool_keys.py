"""The keys that a tool gets in its context when the executor calls it."""

from collections.abc import Mapping

from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.keys import KeyRing, ToolKeys

__all__ = ["keys_of"]


def keys_of(tool: Tool, values: Mapping[str, object] | None = None) -> ToolKeys:
    """The keys in this tool's context, from variables; from default settings if there are none."""
    ring = KeyRing(Settings().values() if values is None else values)
    return ring.restricted_to((*tool.options.needs, *tool.optional_settings), tool.options.keys)
