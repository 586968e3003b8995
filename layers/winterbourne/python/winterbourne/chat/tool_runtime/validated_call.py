"""A validated tool call, ready to run."""

from typing import Any

import msgspec

from winterbourne.chat.tool_runtime.cache import CacheKey
from winterbourne.chat.tool_runtime.declaration import Tool

__all__ = ["ValidatedCall"]


class ValidatedCall(msgspec.Struct, frozen=True):
    """A tool with validated arguments, and their JSON text as the model wrote it.

    Calls with the same `cache_key` are identical; without one, every call runs.
    """

    tool: Tool
    arguments: Any
    cache_key: CacheKey | None
    arguments_json: str = ""

    @classmethod
    def create(cls, tool: Tool, arguments: Any, caller_id: str, arguments_json: str = "") -> "ValidatedCall":
        """Create a call with the cache key that the tool's options require."""
        if tool.options.cache_ttl_s is None:
            return cls(tool, arguments, None, arguments_json)
        canonical_arguments = msgspec.json.encode(arguments, order="sorted")
        return cls(
            tool,
            arguments,
            CacheKey(tool.name, "" if tool.is_cache_shared else caller_id, canonical_arguments),
            arguments_json,
        )
