"""What a tool is handed of the settings when the runner calls it."""

import time

from chat.settings import Settings
from chat.toolkit.context import Clients
from chat.toolkit.keys import Keys
from chat.toolkit.tool import Tool
from chat.toolkit.work import Workshop

__all__ = ["keys_of"]


def keys_of(tool: Tool, settings: Settings | None = None) -> Keys:
    """The keys in this tool's context."""
    return Workshop(settings or Settings(), Clients(), time.time).keys(tool)
