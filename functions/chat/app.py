"""The chat's Lambda handler."""

import os

from chat import tools
from winterbourne import streamify_response
from winterbourne.chat.app import build
from winterbourne.chat.process_setup import set_up_process
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.discovery import discover

__all__ = ["handler"]


def _tools(settings: Settings) -> list[Tool]:
    """The function's own tools, and those of the worker if there is one."""
    found = discover(tools)
    if settings.tools.tool_worker_function:
        from chat.tools import worker  # noqa: PLC0415 - only if there is a worker

        found += discover(worker)
    return found


_settings, _logger = set_up_process(os.environ)

handler = streamify_response(build(_settings, _tools(_settings), _logger).handle)
