"""A checked call, ready to be run."""

from typing import Any

import msgspec

from chat.toolkit.cache import Key
from chat.toolkit.tool import Tool

__all__ = ["Job"]


class Job(msgspec.Struct, frozen=True):
    """A tool with checked arguments. Jobs with the same key are identical; without one, every job runs."""

    tool: Tool
    arguments: Any
    key: Key | None

    @classmethod
    def of(cls, tool: Tool, arguments: Any, caller: str) -> "Job":
        """With the key that the tool's options ask for."""
        if tool.options.cache_ttl_s is None:
            return cls(tool, arguments, None)
        identity = msgspec.json.encode(arguments, order="sorted")
        return cls(tool, arguments, Key(tool.name, "" if tool.shared else caller, identity))
