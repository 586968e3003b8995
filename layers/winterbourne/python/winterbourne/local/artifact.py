"""Finishes what a build wrote for Lambda, so that the same sources and locks always give the same bytes."""

import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["empty_folder", "finish", "write_zip"]

DATE_S: Final = 946_684_800  # 2000-01-01, in UTC; not 1980, where zip begins: west of Greenwich that is 1979
ZIP_DATE: Final = (2000, 1, 1, 0, 0, 0)
IS_LAMBDAS: Final = "import sys; sys.exit(sys.version_info[:2] != (3, 13))"


def empty_folder(folder: Path) -> Path:
    """Make the folder if it does not exist, and return it.

    Raises:
        FileExistsError: There is something in it, which would become part of what is built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    return folder


def finish(folder: Path, target: str) -> bool:
    """Compile the modules ahead, and give all files one date and one of two modes.

    Args:
        folder: What was built.
        target: Where Lambda puts it, such as /opt, for tracebacks.

    Returns:
        False if a module does not compile; its error has been printed.
    """
    compiles = _compile(folder, target)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & 0o111 else 0o644)
        os.utime(path, (DATE_S, DATE_S))
    return compiles


def write_zip(folder: Path, file: Path) -> None:
    """Write the files of a finished folder to a zip file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)), ZIP_DATE)
            entry.external_attr = path.stat().st_mode << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def _compile(folder: Path, target: str) -> bool:
    """Lambda cannot keep what it compiles: without this, every cold start would compile every module again.

    It takes the very Python of Lambda. By hash, unchecked, since the dates say nothing.
    """
    if not (python := _lambdas_python()):
        sys.stderr.write("python3.13 is not on PATH: nothing is compiled ahead, cold starts take longer\n")
        return True
    paths = ["-s", str(folder), "-p", target, "--invalidation-mode", "unchecked-hash", str(folder)]
    return not subprocess.run([python, "-m", "compileall", "-q", *paths], check=False).returncode


def _lambdas_python() -> str:
    for command in (sys.executable, "python3.13"):
        with suppress(OSError):
            if not subprocess.run([command, "-c", IS_LAMBDAS], capture_output=True, check=False).returncode:
                return command
    return ""
