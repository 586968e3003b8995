"""Build hook: puts the files of the repository's root that `winterbourne new` writes into wheel and sdist."""

from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET: Final = "winterbourne/local/files/project"


class ProjectFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Includes the files at their paths in a project; none of them if this folder is not in its repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes it
        """Add the files to what is included; the sdist has the package in a folder `python`."""
        root = Path(self.root).parents[1]
        target = TARGET if self.target_name == "wheel" else f"python/{TARGET}"
        engine_files = Path(self.root, "python/winterbourne/local/engine_files.txt").read_text("utf-8").split()
        files = (*engine_files, "tests/events/chat.json")
        if all((root / name).is_file() for name in files):
            build_data["force_include"] |= {str(root / name): f"{target}/{name}" for name in files}
