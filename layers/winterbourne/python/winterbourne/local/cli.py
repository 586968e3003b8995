"""The command line: `winterbourne COMMAND`, also as `python -m winterbourne.local COMMAND`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from winterbourne import __version__

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "run": ("winterbourne.local.run", "serve the chat, or any function, at a function URL on this machine"),
    "doctor": ("winterbourne.local.doctor.__main__", "say what is wrong with a chat, and how to fix it"),
    "verify": ("winterbourne.local.verify.command", "prove on your AWS account what only AWS can settle"),
    "layer": (
        "winterbourne.local.layer",
        "write a Lambda layer: the engine, its runtime alone, or what your tools import",
    ),
    "function": ("winterbourne.local.function", "copy a function's own code for Lambda; what `sam build` calls"),
    "new": ("winterbourne.local.new", "write a project for a chat of your own, or compare one with this version"),
}
"""Each command's module, whose `main` takes the arguments and returns the exit status, and what the command does."""

MORE: Final = """\
`winterbourne COMMAND --help` says more of each. In a project, `make run` installs what is locked and calls `run`; where
there is no make, the project's README.md has the three commands to type.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, importing only its module; print the commands if there is none of that name."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if command in COMMANDS:
        try:
            return int(import_module(COMMANDS[command][0]).main(rest))
        except ModuleNotFoundError as error:
            if str(error.name).startswith("winterbourne"):
                raise
            sys.stderr.write(f"winterbourne {command}: {error.name} is not installed; winterbourne[local] brings it\n")
            return 1
    if command in {"", "-h", "--help", "help"}:
        sys.stdout.write(_help())
        return 0
    if command in {"-V", "--version"}:
        sys.stdout.write(f"winterbourne {__version__}\n")
        return 0
    sys.stderr.write(f"winterbourne: there is no command {command!r}; there are {', '.join(COMMANDS)}\n")
    return 2


def _help() -> str:
    rows = "".join(f"  {name:<8}  {text}\n" for name, (_, text) in COMMANDS.items())
    return f"usage: winterbourne COMMAND …\n\n{rows}\n{MORE}"
