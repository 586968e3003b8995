"""`winterbourne new`: writes the files of a new project; with `--diff`, compares those of an existing one."""

import argparse
import contextlib
import difflib
import hashlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from winterbourne import __version__

__all__ = ["DOORS", "ENGINE_FILES", "create", "diff", "engine_files", "main"]

FILES: Final = Path(__file__).with_name("files") / "project"

ENGINE_FILES: Final = Path(__file__).with_name("engine_files.txt").read_text("utf-8").split()
"""The files of a project that a new version may change. All others are the user's from the moment they are written."""

EXAMPLE_EVENT: Final = "tests/events/chat.json"

DOORS: Final = ("url", "cloudfront", "rest")
"""How requests can come in. The template is a function URL's; for a REST API pieces of it are others."""

_OTHER_DOORS: Final = Path(__file__).with_name("files") / "doors"
_PIECE: Final = re.compile(r"^ *# >> (.+)\n(?:.*\n)*?^ *# <<\n", re.MULTILINE)

DESCRIPTION: Final = """\
Write a project for a chat of your own: its function with one example tool, a test, and all that builds and deploys it.
With --diff, print what this version would write differently in the engine's files of an existing project (template,
samconfig, Makefiles), as a patch for `git apply` or `patch -p1`; the exit status is 1 if there is a difference."""

NEXT: Final = """\
Created {folder}. Next:

  cd {folder}
  make run

Its README.md says what is where, and what to type where there is no make.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a project, or print the patch.

    Returns:
        0 if the project is written, or with --diff if there is no difference; 1 if there is one; 2 if nothing could be
        written or compared, with the reason in one line.
    """
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="winterbourne new", description=DESCRIPTION, formatter_class=as_written)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="the project's folder; with --diff, here")
    text = "where the engine's wheel lies (default: WINTERBOURNE_WHEELS, or where this one was installed from)"
    parser.add_argument("--wheels", default=os.environ.get("WINTERBOURNE_WHEELS", ""), metavar="DIR", help=text)
    parser.add_argument("--diff", action="store_true", help="print a patch instead, and write nothing")
    text = "how requests come in: by a function URL (url), by CloudFront in front of one (cloudfront), or by an "
    text += "API Gateway REST API (rest); default: url, with --diff that of the project"
    parser.add_argument("--door", choices=DOORS, help=text)
    args = parser.parse_args(arguments)
    if not args.diff and not args.folder:
        parser.error("name the folder to write, such as my-chat")
    try:
        if args.diff:
            sys.stdout.write(patch := diff(args.folder or Path(), args.door))
            return int(bool(patch))
        create(args.folder, args.wheels, args.door or "url")
    except OSError as error:
        sys.stderr.write(f"winterbourne new: {error}\n")
        return 2
    sys.stdout.write(NEXT.format(folder=shlex.quote(str(args.folder))))
    return 0


def create(folder: Path, wheels: str = "", door: str = "url") -> None:
    """Write a project, named after its folder.

    Args:
        folder: A new folder, or an empty one.
        wheels: The folder in which the engine's wheel lies; if empty, where the installed one came from.
        door: One of DOORS.

    Raises:
        OSError: The folder is not empty, the wheel is not found, or a file cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder, or an empty one")
    wheel = _find_wheel(wheels)
    for path in (folder.resolve(), wheel):
        if odd := re.search(r"""["'$`\\]""", str(path)):
            raise OSError(f"make cannot work with the {odd[0]} in {path}: choose another folder")
    contents = engine_files(door) | {EXAMPLE_EVENT: _source(EXAMPLE_EVENT).read_bytes()}
    contents |= {name: _named_after(folder, _source(name).read_text("utf-8")).encode() for name in _user_files()}
    contents |= {"requirements.txt": _requirement(wheel).encode(), "local.mk": _local_makefile(wheel).encode()}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def diff(folder: Path, door: str | None = None) -> str:
    """What this version would write differently in a project's engine files, as a patch; empty if nothing.

    It leads from the files as they are: the user's own changes in them are part of it, as removals. The door is the
    project's own unless another one is named, to which the patch then leads.

    Raises:
        FileNotFoundError: The folder is no project.
    """
    template = folder / "template.yaml"
    if not template.is_file():
        raise FileNotFoundError(f"{folder} is no project of winterbourne: it has no template.yaml")
    recorded = re.search(r"^  Winterbourne:\n    Version: (\S+)", _read(template), re.MULTILINE)
    head = f"# From winterbourne {recorded[1] if recorded else '(no version recorded)'} to {__version__}\n"
    files = engine_files(door or _door_of(folder))
    patches = [patch for name, content in files.items() if (patch := _patch(folder, name, content))]
    return head + "".join(patches) if patches else ""


def _door_of(folder: Path) -> str:
    if re.search(r"^    Door: rest$", _read(folder / "template.yaml"), re.MULTILINE):
        return "rest"
    return "cloudfront" if (folder / "cloudfront.yaml").exists() else "url"


def engine_files(door: str) -> dict[str, bytes]:
    """The engine's files of a project, by name: they are the same for each door but for the template's pieces."""
    contents = {name: _source(name).read_bytes() for name in ENGINE_FILES}
    if door == "rest":
        own = {piece[1]: piece[0] for piece in _PIECE.finditer((_OTHER_DOORS / "rest.yaml").read_text("utf-8"))}
        template = contents["template.yaml"].decode()
        contents["template.yaml"] = _PIECE.sub(lambda piece: own[piece[1]], template).encode()
    elif door == "cloudfront":
        contents["cloudfront.yaml"] = (_OTHER_DOORS / "cloudfront.yaml").read_bytes()
    return contents


def _patch(folder: Path, name: str, content: bytes) -> str:
    old = _lines(_read(folder / name)) if (folder / name).exists() else []
    new = _lines(content.decode())
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")  # with the line ends it has


def _lines(text: str) -> list[str]:
    """The lines as a patch has them: one that does not end is followed by a remark."""
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in io.StringIO(text)]


def _source(name: str) -> Path:
    """Where a file of a project lies: in the wheel, or in a checkout, whose root has the engine's files itself."""
    if (FILES / name).exists():
        return FILES / name
    for folder in Path(__file__).parents:
        if (folder / "layers/winterbourne/pyproject.toml").exists():
            return folder / name
    raise FileNotFoundError("this winterbourne has no project files: install a wheel that `make wheel` has made")


def _user_files() -> Iterator[str]:
    """The files that are the user's once written."""
    for path in sorted(FILES.rglob("*")):
        name = path.relative_to(FILES).as_posix()
        if path.is_file() and "__pycache__" not in name and name not in {*ENGINE_FILES, EXAMPLE_EVENT}:
            yield name


def _named_after(folder: Path, text: str) -> str:
    own_name = folder.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", own_name.lower()).strip("-") or "my-chat"
    title = re.sub(r"[^\w']+|_+", " ", own_name).strip()[:60]
    return text.replace("my-chat", name).replace("My chat", title[:1].upper() + title[1:] or "My chat")


def _find_wheel(folder: str) -> Path:
    folder = folder or _installed_from()
    name = f"winterbourne-{__version__}-py3-none-any.whl"
    wheel = Path(folder).resolve() / name
    if not folder or not wheel.is_file():
        where = f"{name} is not in {folder}" if folder else f"where {name} lies is not known"
        raise FileNotFoundError(f"{where}; name its folder: winterbourne new DIR --wheels FOLDER")
    return wheel


def _installed_from() -> str:
    """The folder of the wheel that was installed (PEP 610); empty if it was installed in another way."""
    origin = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        origin = metadata.distribution("winterbourne").read_text("direct_url.json")
    url = urlsplit(json.loads(origin or "{}").get("url", ""))
    return str(Path(url2pathname(url.path)).parent) if url.scheme == "file" else ""


def _requirement(wheel: Path) -> str:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"winterbourne[chat,local]=={__version__} --hash=sha256:{digest}\n"


def _local_makefile(wheel: Path) -> str:
    folder = str(wheel.parent).replace("#", r"\#")
    return f"# The folder on this machine in which the engine's wheels lie.\nWINTERBOURNE_WHEELS ?= {folder}\n"
