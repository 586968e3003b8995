"""The chat engine: model providers, the tool executor, wire formats, storage and the chat page.

Exports what the author of a tool needs. Each name is imported on first use, so a process that needs only the settings,
for example, does not pay for the rest.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["ToolContext", "ToolError", "ToolUnavailable", "get_json", "remote_tool", "tool"]

if TYPE_CHECKING:
    from winterbourne.chat.errors import ToolError, ToolUnavailable
    from winterbourne.chat.tool_runtime.context import ToolContext
    from winterbourne.chat.tool_runtime.declaration import tool
    from winterbourne.chat.tool_runtime.get_json import get_json
    from winterbourne.chat.tool_runtime.remote import remote_tool
else:  # a type checker that saw this function would take any misspelt name for a public one
    _MODULES = {
        "ToolContext": "tool_runtime.context",
        "ToolError": "errors",
        "ToolUnavailable": "errors",
        "get_json": "tool_runtime.get_json",
        "remote_tool": "tool_runtime.remote",
        "tool": "tool_runtime.declaration",
    }

    def __getattr__(name: str) -> Any:
        """Import a public name on first use (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
