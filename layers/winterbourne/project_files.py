"""Build hook: puts the files of the repository's root that `winterbourne new` writes into wheel and sdist."""

from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES: Final = (
    "Makefile",
    "template.yaml",
    "samconfig.toml",
    "functions/Makefile",
    "layers/arm64/.keep",
    "layers/x86_64/.keep",
    "layers/dependencies/Makefile",
    "layers/winterbourne/Makefile",
    "tests/events/chat.json",
    "tests/events/environment.json",
)
TARGET: Final = "winterbourne/local/files/project"


class ProjectFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Includes the files at their paths in a project; none of them if this folder is not in its repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes it
        """Add the files to what is included; the sdist has the package in a folder `python`."""
        root = Path(self.root).parents[1]
        target = TARGET if self.target_name == "wheel" else f"python/{TARGET}"
        if all((root / name).is_file() for name in FILES):
            build_data["force_include"] |= {str(root / name): f"{target}/{name}" for name in FILES}
