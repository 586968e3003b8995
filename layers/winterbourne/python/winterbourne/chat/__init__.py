"""The chat engine: model providers, the tool executor, wire formats, storage and the chat page.

Exports what a chat of one's own is made of: `Chat`, `ToolWorker`, what the author of a tool needs, and the protocols of
what can be added from outside. Each name is imported on first use, so that a process that needs only the settings, for
example, does not pay for the rest.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "ApiKey",
    "Authenticator",
    "Backend",
    "Caller",
    "Chat",
    "ChatRequest",
    "Credentials",
    "Encoder",
    "Format",
    "Item",
    "ModelRequest",
    "Provider",
    "RequestRejected",
    "ResumedAnswer",
    "SettingsError",
    "Store",
    "ToolContext",
    "ToolError",
    "ToolUnavailable",
    "ToolWorker",
    "get_json",
    "presign",
    "remote_tool",
    "tool",
]

if TYPE_CHECKING:
    from winterbourne.chat.app import Chat
    from winterbourne.chat.auth.base import Authenticator, Caller, Credentials
    from winterbourne.chat.core.messages import ChatRequest
    from winterbourne.chat.core.provider import ModelRequest, Provider
    from winterbourne.chat.errors import RequestRejected, SettingsError, ToolError, ToolUnavailable
    from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer
    from winterbourne.chat.providers.provider_config import ApiKey
    from winterbourne.chat.storage.base import Backend, Item, Store
    from winterbourne.chat.tool_runtime.context import ToolContext
    from winterbourne.chat.tool_runtime.declaration import tool
    from winterbourne.chat.tool_runtime.get_json import get_json
    from winterbourne.chat.tool_runtime.presign import presign
    from winterbourne.chat.tool_runtime.remote import remote_tool
    from winterbourne.chat.worker import ToolWorker
else:  # a type checker that saw this function would take any misspelt name for a public one
    _MODULES = {
        "app": ("Chat",),
        "auth.base": ("Authenticator", "Caller", "Credentials"),
        "core.messages": ("ChatRequest",),
        "core.provider": ("ModelRequest", "Provider"),
        "errors": ("RequestRejected", "SettingsError", "ToolError", "ToolUnavailable"),
        "formats.base": ("Encoder", "Format", "ResumedAnswer"),
        "providers.provider_config": ("ApiKey",),
        "storage.base": ("Backend", "Item", "Store"),
        "tool_runtime.context": ("ToolContext",),
        "tool_runtime.declaration": ("tool",),
        "tool_runtime.get_json": ("get_json",),
        "tool_runtime.presign": ("presign",),
        "tool_runtime.remote": ("remote_tool",),
        "worker": ("ToolWorker",),
    }
    _PLACES = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name: str) -> Any:
        """Import a public name on first use (PEP 562)."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        return value
