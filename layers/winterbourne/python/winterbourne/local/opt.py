"""Makes a stand-in for /opt, where Lambda puts the layers: the exec wrapper, and the engine that is running."""

import shutil
from pathlib import Path
from typing import Final

__all__ = ["PACKAGE", "WRAPPER", "copy_wrapper", "make_opt"]

PACKAGE: Final = Path(__file__).resolve().parents[1]
"""The folder of the package `winterbourne`."""

WRAPPER: Final = Path(__file__).parent / "files" / "wrapper"
"""The exec wrapper; in a layer it is called `winterbourne`."""


def make_opt(folder: Path) -> Path:
    """Write it to a new folder; third-party packages remain those of the interpreter that runs the function.

    Returns:
        The folder.
    """
    (folder / "python").mkdir(parents=True)
    (folder / "python" / "winterbourne").symlink_to(PACKAGE)
    copy_wrapper(folder)
    return folder


def copy_wrapper(folder: Path) -> None:
    """Write the exec wrapper to what becomes /opt."""
    shutil.copyfile(WRAPPER, folder / "winterbourne").chmod(0o755)
