"""Finishes what a build wrote for Lambda, so that the same sources and locks always give the same bytes."""

import os
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["empty_folder", "finish", "lambdas_python", "write_zip"]

DATE_S: Final = 946_684_800  # 2000-01-01, in UTC; not 1980, where zip begins: west of Greenwich that is 1979
ZIP_DATE: Final = (2000, 1, 1, 0, 0, 0)
RUNTIME: Final = re.compile(r"^\s*Runtime: python(3\.\d+)\s*$", re.MULTILINE)
NEWEST: Final = "3.14"  # the newest under which all tests have run, and so the template's


def empty_folder(folder: Path) -> Path:
    """Make the folder if it does not exist, and return it.

    Raises:
        FileExistsError: There is something in it, which would become part of what is built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    return folder


def lambdas_python() -> str:
    """The Python of the functions, such as 3.14, as the template around the working directory or `.venv` names it."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(sys.prefix).parent):
        with suppress(OSError):
            if runtime := RUNTIME.search((folder / "template.yaml").read_text("utf-8")):
                return runtime[1]
    return NEWEST


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
    version = lambdas_python()
    if not (python := _command_of(version)):
        sys.stderr.write(f"python{version} is not on PATH: nothing is compiled ahead, cold starts take longer\n")
        return True
    paths = ["-s", str(folder), "-p", target, "--invalidation-mode", "unchecked-hash", str(folder)]
    return not subprocess.run([python, "-m", "compileall", "-q", *paths], check=False).returncode


def _command_of(version: str) -> str:
    is_it = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for command in (sys.executable, f"python{version}"):
        with suppress(OSError):
            if not subprocess.run([command, "-c", is_it], capture_output=True, check=False).returncode:
                return command
    return ""
