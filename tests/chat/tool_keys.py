"""The keys that a tool gets in its context when the executor calls it."""

from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.keys import KeyRing, ToolKeys

__all__ = ["keys_of"]


def keys_of(tool: Tool, settings: Settings | None = None) -> ToolKeys:
    """The keys in this tool's context."""
    ring = KeyRing((settings or Settings()).values())
    return ring.restricted_to((*tool.options.needs, *tool.optional_settings))
