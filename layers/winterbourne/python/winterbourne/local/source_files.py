"""Notices that the function's files have changed, by their times and sizes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["SourceFiles"]

SUFFIXES: Final = (".py", ".md", ".txt", ".json", ".toml", ".yaml", ".yml", ".html", ".js", ".css")


class SourceFiles:
    """The files that belong to a function: under its task root, except hidden ones and what a run itself writes.

    Args:
        root: The task root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = dict(self._scan())

    def changed(self) -> list[str]:
        """The files that were written, added or removed since the last call, relative to the root."""
        seen, self._seen = self._seen, dict(self._scan())
        changed = sorted(path for path in seen.keys() | self._seen.keys() if seen.get(path) != self._seen.get(path))
        for path in map(Path, changed):
            # Python takes a compiled module for current if the source has its size and was written in the same second.
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink(missing_ok=True)
        return [os.path.relpath(path, self._root) for path in changed]

    def _scan(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder, folders, files in os.walk(self._root):
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__", "node_modules"))]
            for name in files:
                if name.endswith(SUFFIXES) and not name.startswith("."):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(OSError):  # removed in the meantime, or a broken link
                        status = os.stat(path)
                        yield path, (status.st_mtime_ns, status.st_size)
