"""What a tool is handed of the settings when the runner calls it."""

import time

from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import Clients
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import Workshop
from winterbourne.chat.tool_runtime.keys import Keys

__all__ = ["keys_of"]


def keys_of(tool: Tool, settings: Settings | None = None) -> Keys:
    """The keys in this tool's context."""
    return Workshop(settings or Settings(), Clients(), time.time).keys(tool)
