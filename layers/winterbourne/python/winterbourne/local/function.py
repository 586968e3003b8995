"""`winterbourne function`: copies one function's own code for Lambda, without caches and hidden files."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from winterbourne.local.artifact import empty_folder, finish

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the function, compiled ahead.

    Returns:
        0 if it is copied, or if there is no such folder and nothing to copy; 1 if it cannot be copied or compiled,
        with the reason.
    """
    text = "Copy a function's code and compile it, as `sam build` does."
    parser = argparse.ArgumentParser(prog="winterbourne function", description=text)
    parser.add_argument("name", type=Path, metavar="NAME", help="the function's folder, such as chat")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder to write it to, empty or new")
    args = parser.parse_args(arguments)
    try:
        into = empty_folder(args.into)
        if not args.name.is_dir():
            sys.stderr.write(f"winterbourne function: there is no folder {args.name}, so this function is empty\n")
            return 0
        shutil.copytree(args.name, into / args.name.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return 0 if finish(into, "/var/task") else 1
    except OSError as error:
        sys.stderr.write(f"winterbourne function: {error}\n")
        return 1
