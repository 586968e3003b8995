"""The page of the commands."""

import argparse
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final
from unittest import mock

import griffe

from tests.reference import markdown
from tests.reference.sources import load
from tests.stack import ROOT
from winterbourne.local import cli

__all__ = ["VARIABLES", "page", "parser_of", "targets"]

VARIABLES: Final = {
    "ARGS": "further arguments, `ARGS=--short`, for `make run` those of [`winterbourne run`](#winterbourne-run), for "
    "`make bench` the parts to measure, for `make verify` those of [`winterbourne verify`](#winterbourne-verify)",
    "CI": "set by most services that build and deploy: nothing is asked, and to have nothing to change is no failure",
    "EVENT": "the file with the event, by default `{default}`",
    "KEY": "the caller's key; else the environment's, else that of the stack's secret",
    "ORIGIN": "the origin of a page that must be able to call, `https://app.example.com`",
    "PARAMETERS": "parameters of `template.yaml` beside the stage's, `PARAMETERS='ModelId=… Settings=MAX_TURNS=6'`",
    "PORT": "the port of the function URL, by default `{default}`",
    "PYTEST_ARGS": "arguments for pytest, by default `{default}` here and none in a project",
    "PYTHON": "the Python for a new `.venv`, by default `{default}`; any target takes it",
    "REGION": "the AWS region of the stack, by default that of the AWS configuration",
    "STACK": "the name of a deployed stack, `winterbourne-dev`",
    "STAGE": "the stage of `samconfig.toml`, by default `{default}`",
    "TESTS": "files and folders of tests, by default all",
    "UPGRADE": "empty, `UPGRADE=`, to keep the locked versions and lock only what is new",
    "URL": "the chat's URL, by default the stack's, and without a stack `http://127.0.0.1:3000`",
    "WINTERBOURNE_WHEELS": "the folder in which the engine's wheels are; `local.mk` has it for one machine",
    "WITHOUT": "a Python to leave out, `WITHOUT=3.13`",
}
"""What the variables of the Makefile mean."""


def page() -> str:
    """The page."""
    return markdown.fill(
        "commands.md",
        project=_targets(targets("Makefile")),
        repository=_targets(targets("development.mk")),
        variables=_variables(),
        commands="\n\n".join(map(_command, cli.COMMANDS)),
        runtime=_statuses("winterbourne.runtime"),
    )


def targets(makefile: str) -> dict[str, str]:
    """What is said of each target that is listed."""
    text = (ROOT / makefile).read_text("utf-8")
    return dict(re.findall(r"^([a-z-]+):.*?## (.*)$", text, re.MULTILINE))


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command, caught where it would read a command line."""
    module = import_module(cli.COMMANDS[command][0])

    def caught(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise _Caught(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", caught):
        try:
            module.main([])
        except _Caught as error:
            return error.parser
    raise AssertionError(command)


class _Caught(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _targets(listed: dict[str, str]) -> str:
    rows = (
        (f"`make {name}`", text, ", ".join(f"`{each}`" for each in _used_by(name))) for name, text in listed.items()
    )
    return markdown.table(("command", "what it does", "variables"), rows)


def _used_by(target: str) -> list[str]:
    """The variables that a target's recipe and text name; those that choose a stage are in the recipe of `stage`."""
    text = _recipe(target) + _recipe("stage") * bool(
        re.search(rf"^{target}:[^#]*\b(stage|build)\b", _makefiles(), re.MULTILINE)
    )
    return [name for name in sorted(VARIABLES) if re.search(rf"\$\$?\(?{name}\b|\b{name}=[^ )]", text)]


def _recipe(target: str) -> str:
    """The rules of a target, with the variables in them that the Makefile itself sets."""
    text = "".join(re.findall(rf"^{target}:.*\n(?:\t.*\n)*", _makefiles(), re.MULTILINE))
    for name, value in re.findall(r"^([a-z_]+) :?= ((?:.*\\\n)*.*)", _makefiles(), re.MULTILINE):
        text = text.replace(f"$({name})", value)
    return text


def _makefiles() -> str:
    return "".join((ROOT / name).read_text("utf-8") for name in ("Makefile", "development.mk"))


def _variables() -> str:
    defaults = dict(re.findall(r"^([A-Z_]+) \?= (.*)$", _makefiles(), re.MULTILINE))
    return markdown.definitions((name, text.format(default=defaults.get(name))) for name, text in VARIABLES.items())


def _command(name: str) -> str:
    parser = parser_of(name)
    described = markdown.prose(parser.description or "")
    parts = [f"### `winterbourne {name}`", _usage(parser), described, *_options(parser), _epilog(parser)]
    return "\n\n".join([*filter(None, parts), _statuses(cli.COMMANDS[name][0])])


def _usage(parser: argparse.ArgumentParser) -> str:
    needed = [_invocation(each) for each in parser._actions if not each.option_strings or each.required]
    return f"```sh\n{' '.join([parser.prog, *needed, '[options]'])}\n```"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A table of the arguments and options of each group."""
    tables: dict[str, list[argparse.Action]] = {}
    for group in parser._action_groups:
        title = "" if group.title in {"options", "positional arguments"} else _capital(group.title)
        tables.setdefault(title, []).extend(each for each in group._group_actions if each.dest != "help")
    for title, actions in tables.items():
        rows = [(f"`{_invocation(each)}`", _capital(_help(each))) for each in actions]
        if rows:
            yield (f"**{title}**\n\n" if title else "") + markdown.table(("option", "meaning"), rows)


def _invocation(action: argparse.Action) -> str:
    """`--port PORT`: versions of argparse differ in how they write it."""
    if not action.option_strings:
        return f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar)
    values = "|".join(map(str, action.choices or ())) or action.metavar or action.dest.upper()
    return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {values}"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % vars(action)


def _capital(text: str | None) -> str:
    return f"{(text or '')[:1].upper()}{(text or '')[1:]}"


def _epilog(parser: argparse.ArgumentParser) -> str:
    _, _, examples = (parser.epilog or "").partition("\n")
    return f"```sh\n{textwrap.dedent(examples).strip()}\n```" if examples else ""


def _statuses(module: str) -> str:
    """The exit statuses, as `main` describes what it returns."""
    docstring = load()[module.partition(".")[2]]["main"].docstring
    (returned,) = [each for each in docstring.parsed if each.kind is griffe.DocstringSectionKind.returns]
    return f"**Exit status**: {markdown.prose(returned.value[0].description)}"
