"""Tools in a module that imports nothing else: what its process costs is the engine's."""

import time
from pathlib import Path

from winterbourne.chat import ToolContext, tool

__all__ = ["deadline", "private_kb"]

IMPORTED_AT = time.monotonic()


@tool(isolation="process")
def private_kb() -> int:
    """The private memory of its process, in kilobytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@tool(isolation="process", timeout_s=20)
def deadline(context: ToolContext) -> tuple[float, float]:
    """When its time is over, and how old its process is."""
    return context.deadline, time.monotonic() - IMPORTED_AT
