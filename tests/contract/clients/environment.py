"""The virtual environments of other people's clients and suites, installed once from the locks beside this file."""

import fcntl
import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["HOME", "ROOT", "python", "source_of"]

ROOT = Path(__file__).parents[3]
HOME = ROOT / ".clients"
LOCK = Path(__file__).with_name("requirements.txt")


def python(lock_file: Path = LOCK, name: str = "python") -> Path:
    """An environment's Python. Parallel test workers wait for the first one, which installs it."""
    wanted = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    home, stamp = HOME / name, HOME / name / ".installed"
    HOME.mkdir(exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            uv = Path(sys.executable).with_name("uv")
            subprocess.run([uv, "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, home], check=True)
            install: list[Path | str] = [
                uv,
                "pip",
                "install",
                "--quiet",
                "--python",
                home / "bin/python",
                "--require-hashes",
                "-r",
                lock_file,
            ]
            subprocess.run(install, check=True)
            stamp.write_text(wanted)
    return home / "bin" / "python"


def source_of(package: str) -> Path:
    """The unpacked source distribution of a package, in the version of the lock and with its hash."""
    pinned = re.search(rf"^{package}(\[\w+\])?==(?P<version>\S+).*?(?=^\S)", LOCK.read_text(), re.DOTALL | re.MULTILINE)
    assert pinned, f"{package} is not in {LOCK.name}"
    pip: list[Path | str] = [python(), "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    folder = HOME / f"{package}-{pinned['version']}"
    if not folder.exists():
        wanted = HOME / f"{package}.txt"
        wanted.write_text(pinned[0])
        fetch: list[Path | str] = [*pip, "--no-binary", package, "--require-hashes", "-r", wanted, "--dest", HOME]
        subprocess.run(fetch, check=True)
        with tarfile.open(HOME / f"{folder.name}.tar.gz") as archive:
            archive.extractall(HOME, filter="data")
    return folder
