"""`winterbourne layer`: writes the layer of the engine, of its runtime alone, or of what the user's tools import."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from winterbourne import __version__
from winterbourne.local.artifact import empty_folder, finish, lambdas_python, write_zip
from winterbourne.local.opt import PACKAGE, copy_wrapper
from winterbourne.local.root_certificates import lay_out

__all__ = ["LOCKS", "ROOTS", "main"]

LOCKS: Final = Path(__file__).parent / "files" / "locks"
"""The engine's locks: `runtime.txt`, `chat.txt` (what a chat's layer gets) and `dev.txt` (for tests and builds)."""

ROOTS: Final = "winterbourne/chat/infra/roots"
"""Where `winterbourne.chat.infra.http_pool` looks for the root certificates."""

PLATFORMS: Final = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
RUNTIMES: Final = "python3.11 python3.12 python3.13 python3.14"
# A line of a lock with its hashes: name, version.
ENTRY: Final = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+).*\n?(?:[ \t].*\n?)*", re.MULTILINE)
NOT_IMPORTED: Final = {".pyc", ".pyi", ".pyo", ".c", ".h", ".pxd", ".lock", ".js", ".css"}  # a page of Powertools


class BuildError(Exception):
    """The layer cannot be built; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the layer.

    Returns:
        0 if it is written; 1 if that is not possible, with the reason in one line.
    """
    args = _parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="winterbourne-") as scratch:
            if args.into.suffix.lower() != ".zip":
                target = empty_folder(args.into)  # and it stays empty if the layer cannot be built
                _write(args, Path(scratch))
                shutil.copytree(scratch, target, dirs_exist_ok=True)
                return 0
            _write(args, Path(scratch))
            write_zip(Path(scratch), args.into)
        sys.stdout.write(_publish_line(args))
    except (OSError, UnicodeDecodeError, BuildError) as error:
        sys.stderr.write(f"winterbourne layer: {error}\n")
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    text = "Write a layer: a chat's (exec wrapper, engine, its packages), the runtime alone, or what your tools import."
    parser = argparse.ArgumentParser(prog="winterbourne layer", description=text)
    text = "folder to write it to, empty or new; or a zip file, and then how to publish it is printed"
    parser.add_argument("--into", type=Path, required=True, metavar="DIR|FILE.zip", help=text)
    text = "processor of the function; to be named except with --runtime-only, which is the same for both"
    parser.add_argument("--architecture", choices=sorted(PLATFORMS), help=text)
    kind = parser.add_mutually_exclusive_group()
    text = "only the exec wrapper and the runtime, for functions that are no chats; pure Python"
    kind.add_argument("--runtime-only", action="store_true", help=text)
    text = "instead of the engine, the packages of this requirements.txt that the engine's layer does not have"
    kind.add_argument("--dependencies", type=Path, metavar="FILE", help=text)
    args = parser.parse_args(arguments)
    if not args.architecture and not args.runtime_only:
        parser.error("name the --architecture: there are compiled packages in it")
    return args


def _write(args: argparse.Namespace, folder: Path) -> None:
    packages = folder / "python"
    packages.mkdir()
    if args.dependencies:
        # Paths in the lock are relative to the project's root, where `make lock` made it.
        root = args.dependencies.resolve().parents[:3][-1]
        _install(_beyond_the_engine(args.dependencies), packages, args.architecture, root)
        _remove(packages, {".pyc", ".lock"})  # some packages read their own stubs when they run
    else:
        lock = (LOCKS / ("runtime.txt" if args.runtime_only else "chat.txt")).read_text("utf-8")
        _install(lock, packages, args.architecture)
        _remove(packages, NOT_IMPORTED)
        _copy_engine(folder, lock, *(("chat",) if args.runtime_only else ()))
        if not args.runtime_only:
            lay_out(packages / "certifi" / "cacert.pem", packages / ROOTS)
    finish(folder, "/opt")


def _beyond_the_engine(lock: Path) -> str:
    """The lock without the packages of the engine's layer.

    Raises:
        BuildError: It has another version of one of them.
    """
    text, engine = lock.read_text("utf-8"), dict(ENTRY.findall((LOCKS / "chat.txt").read_text("utf-8")))
    for name, version in ENTRY.findall(text):
        if version != (expected := engine.get(name, version)):
            raise BuildError(f"{lock} has {name} {version}, the engine's layer has {expected}: run `make lock`")
    return ENTRY.sub(lambda entry: "" if entry[1] in engine else entry[0], text)


def _install(lock: str, packages: Path, architecture: str = "", root: Path | None = None) -> None:
    """Install wheels only, each with its locked hash, for the Python of Lambda: neither that nor a container is needed.

    The lock is whole, so nothing is looked for that it does not name.
    """
    if re.sub(r"^\s*#.*$", "", lock, flags=re.MULTILINE).strip():
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write(lock)
            file.flush()
            command = [*_installer(architecture), "--target", str(packages.resolve()), "--require-hashes", "--no-deps"]
            if subprocess.run([*command, "--only-binary", ":all:", "-r", file.name], cwd=root, check=False).returncode:
                raise BuildError("the locked packages cannot be installed; the reason is above")


def _installer(architecture: str) -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    if uv := str(beside) if beside.exists() else shutil.which("uv"):
        platform = ["--python-platform", PLATFORMS[architecture]] if architecture else []
        target = ["--python", sys.executable, "--python-version", lambdas_python(), *platform]
        return [uv, "pip", "install", "--quiet", *target, "--link-mode", "copy", "--no-compile-bytecode"]
    if architecture:  # pip judges a lock's markers by the Python that runs it
        raise BuildError("compiled packages for another Python need uv, which is not here: pip install uv")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]


def _remove(packages: Path, suffixes: Collection[str]) -> None:
    """Remove what nobody imports: commands, files with these suffixes, and a wheel's own bookkeeping."""
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.suffix in suffixes or path.name == ".lock" or _is_bookkeeping(path):
            path.unlink()
    if not any(packages.iterdir()):  # Lambda takes no empty layer
        (packages / ".keep").touch()


def _is_bookkeeping(path: Path) -> bool:
    """Of each dist-info, importlib.metadata is asked for the version and the entry points; the licence must stay."""
    kept = {"METADATA", "entry_points.txt"}
    in_info = path.parent.suffix == ".dist-info" and path.name not in kept and not path.name.lower().startswith("licen")
    return in_info or path.parent.name == "sboms"


def _copy_engine(folder: Path, lock: str, *left_out: str) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.pyi", "local", *left_out)
    shutil.copytree(PACKAGE, folder / "python" / "winterbourne", ignore=ignored)
    copy_wrapper(folder)
    marker = folder / "python" / f"winterbourne-{__version__}.dist-info"
    marker.mkdir()
    packages = "".join(f"Requires-Dist: {name}\n" for name, _ in ENTRY.findall(lock))
    metadata = f"Metadata-Version: 2.1\nName: winterbourne\nVersion: {__version__}\n{packages}"
    (marker / "METADATA").write_text(metadata, "utf-8")


def _publish_line(args: argparse.Namespace) -> str:
    runtimes, processors = (
        (RUNTIMES, " ".join(PLATFORMS)) if args.runtime_only else (f"python{lambdas_python()}", args.architecture)
    )
    name, file = shlex.quote(args.into.stem), shlex.quote(f"fileb://{args.into}")
    return (
        f"aws lambda publish-layer-version --layer-name {name} --description 'Winterbourne {__version__}'"
        f" --zip-file {file} --compatible-runtimes {runtimes} --compatible-architectures {processors}\n"
    )
