"""A checked call, ready to be run."""

from typing import Any

import msgspec

from winterbourne.chat.tool_runtime.cache import Key
from winterbourne.chat.tool_runtime.declaration import Tool

__all__ = ["Job"]


class Job(msgspec.Struct, frozen=True):
    """A tool with checked arguments, and their JSON text as the model wrote it.

    Jobs with the same key are identical; without one, every job runs.
    """

    tool: Tool
    arguments: Any
    key: Key | None
    text: str = ""

    @classmethod
    def of(cls, tool: Tool, arguments: Any, caller: str, text: str = "") -> "Job":
        """With the key that the tool's options ask for."""
        if tool.options.cache_ttl_s is None:
            return cls(tool, arguments, None, text)
        identity = msgspec.json.encode(arguments, order="sorted")
        return cls(tool, arguments, Key(tool.name, "" if tool.shared else caller, identity), text)
