"""A tool in a module that imports nothing else: what its process costs is the engine's."""

from pathlib import Path

from winterbourne.chat import tool

__all__ = ["private_kb"]


@tool(isolation="process")
def private_kb() -> int:
    """The private memory of its process, in kilobytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
