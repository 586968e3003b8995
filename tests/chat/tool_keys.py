"""The keys that a tool gets in its context when the runner calls it."""

import time

from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import HttpClients
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.keys import ToolKeys

__all__ = ["keys_of"]


def keys_of(tool: Tool, settings: Settings | None = None) -> ToolKeys:
    """The keys in this tool's context."""
    return ToolExecutor(settings or Settings(), HttpClients(), time.time).keys_for(tool)
