"""`python -m tests.pythons`: run the tests under each supported Python that this machine has, and say how each ended.

What it does not know is passed on to pytest. Each Python has an environment of its own in `.pythons`, made from the
locks. With `--httpx2` there is one run, under the Python that runs this, in an environment without httpx: there
`import httpx` gives its successor, to the engine as to the tests.

Exits with 1 if a run failed, or in CI if a Python is missing.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.requirements import find_python

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "requirements-dev.txt", ROOT / "layers/dependencies/requirements.txt")
SUCCESSOR = "httpx2"
SUCCEEDED = ("httpx", "httpcore")
# What is imported under their names. It goes first, for httpx2 makes an alias only of what is not imported yet.
ALIAS = """import sys

del sys.modules[__name__]
import httpx2

httpx2.alias_httpx()
"""
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def main(arguments: list[str]) -> bool:
    """Run the tests under each; whether all passed, and in CI none is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.pythons", description="What else is given is pytest's.", allow_abbrev=False
    )
    parser.add_argument("--without", metavar="3.X", action="append", default=[], help="leave this Python out")
    parser.add_argument("--httpx2", action="store_true", help="run once, with httpx2 in httpx's place")
    options, pytest_arguments = parser.parse_known_args(arguments)
    if options.httpx2:
        passed, line = run(SUCCESSOR, sys.executable, pytest_arguments)
        print(line, flush=True)
        return passed
    wanted = [version for version in SUPPORTED if version not in options.without]
    found = {version: python for version in wanted if (python := find_python(version))}
    missing = [version for version in wanted if version not in found]
    print(f"running under Python {_listed(found)}; not here: {_listed(missing)}", flush=True)
    summary = [run(version, python, pytest_arguments) for version, python in found.items()]
    lacking = missing if os.environ.get("CI") == "true" else []
    summary += [(False, f"Python {version}: is not here, and CI needs it") for version in lacking]
    print("", *(line for _, line in summary), sep="\n", flush=True)
    return bool(summary) and all(passed for passed, _ in summary)


def run(name: str, python: str, pytest_arguments: list[str]) -> tuple[bool, str]:
    """Run pytest in one environment; whether it passed, and a line that says so."""
    title = name if name == SUCCESSOR else f"Python {name}"
    print(f"\n{title}: {python}", flush=True)
    started = time.monotonic()
    try:
        command = [str(environment(name, python)), "-m", "pytest", *pytest_arguments]
    except subprocess.CalledProcessError:  # which has told why
        return False, f"{title}: its environment cannot be made"
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    outcome = f"failed, pytest's exit status is {status}" if status else "passed"
    return not status, f"{title}: {outcome}, {time.monotonic() - started:.0f} s"


def environment(name: str, python: str, home: Path = ROOT / ".pythons") -> Path:
    """The Python of an environment with what the locks list, made anew if they, the Python or this folder changed."""
    folder = home / name
    made, stamp = folder / "bin" / "python", folder / "made-of"
    parts = [python, str(folder), ALIAS, *(hashlib.sha256(lock.read_bytes()).hexdigest() for lock in LOCKS)]
    wanted = "\n".join(parts)
    if not (stamp.exists() and stamp.read_text() == wanted and _answers(made)):
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        uv = [str(Path(sys.executable).with_name("uv")), "pip"]
        locked = [f"--requirements={lock}" for lock in LOCKS]
        subprocess.run([*uv, "install", "--quiet", "--python", made, "--require-hashes", *locked], check=True)
        (site,) = folder.glob("lib/python3.*/site-packages")
        (site / "winterbourne.pth").write_text(f"{ROOT / 'layers/winterbourne/python'}\n")
        if name == SUCCESSOR:
            subprocess.run([*uv, "uninstall", "--quiet", "--python", made, *SUCCEEDED], check=True)
            for module in SUCCEEDED:
                (site / f"{module}.py").write_text(ALIAS)
        stamp.write_text(wanted)
    return made


def _answers(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def _listed(versions: Iterable[str]) -> str:
    return ", ".join(versions) or "none"


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
