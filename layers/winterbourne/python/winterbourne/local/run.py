"""`winterbourne run`: serves a function behind one of its doors on this machine until Ctrl-C."""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings_variable import unpack_settings
from winterbourne.local import chat_settings, command_line
from winterbourne.local.banner import format_banner
from winterbourne.local.console import LineWriter
from winterbourne.local.cors import Cors
from winterbourne.local.cors_template import TemplateError, default_cors, read_cors
from winterbourne.local.doors import DOORS
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.opt import make_opt
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.server import FunctionNotStarted, ServerConfig, run_server
from winterbourne.local.stub_services import STUBBED

__all__ = ["main"]

STDERR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Returns:
        0 after SIGINT (Ctrl-C), SIGTERM or SIGHUP; 1 if it cannot start, with the reason in one line.
    """
    args = command_line.parse(arguments)
    logging.basicConfig(handlers=[logging.StreamHandler(LineWriter(STDERR))])
    try:
        with suppress(asyncio.CancelledError), tempfile.TemporaryDirectory(prefix="winterbourne-") as scratch:
            if not args.opt:
                make_opt(Path(scratch) / "opt")
            asyncio.run(_serve(args, _server_config(args, Path(scratch))))
    except (OSError, TemplateError, SettingsError, FunctionNotStarted) as error:
        sys.stderr.write(f"winterbourne run: {_error_message(error)}\n")
        return 1
    return 0


async def _serve(args: Namespace, config: ServerConfig) -> None:
    task = asyncio.current_task()
    assert task  # noqa: S101 - this is one
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Begins the shutdown; a second signal does not interrupt it.
        asyncio.get_running_loop().add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    warnings = chat_settings.find_problems(config, args.environ, args.named) if args.is_chat else []
    async with run_server(config, partial(format_banner, config, chat=args.is_chat, warnings=warnings)) as addresses:
        if args.ready_file:
            _write_ready_file(args.ready_file, {**asdict(addresses), "log": str(config.log_file)})
        await asyncio.Event().wait()


def _server_config(args: Namespace, scratch: Path) -> ServerConfig:
    _look_around(args)
    return ServerConfig(
        **{**_fields_of(ServerConfig, args), "log_file": args.log_file.resolve()},
        function=_function_config(args, scratch),
        freeze_when_idle=not args.no_freeze,
        cors=_cors(args),
        response_limits=ResponseLimits(args.burst, args.rate, args.limit),
        # There is practice data for what the demo's tools ask.
        collects_traces=args.is_chat and not args.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
        use_stub_services=bool(STUBBED.keys() & args.named) and not args.no_practice,
    )


def _function_config(args: Namespace, scratch: Path) -> FunctionConfig:
    opt = args.opt or scratch / "opt"
    of_a_server = {"PYTHONPATH": str(opt / "python"), "PYTHONUNBUFFERED": "1"} if DOORS[args.door].server else {}
    return FunctionConfig(
        **_fields_of(FunctionConfig, args),
        wrapper=str(opt / "winterbourne"),
        variables={**of_a_server, **_chat_settings(args, scratch), **dict(args.env)},
    )


def _fields_of(kind: type[ServerConfig | FunctionConfig | Cors], args: Namespace) -> dict[str, Any]:
    """The arguments that are named like fields of a configuration; those that may be repeated as tuples."""
    values = {each.name: getattr(args, each.name) for each in fields(kind) if each.name in args}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _chat_settings(args: Namespace, scratch: Path) -> dict[str, str]:
    if not args.is_chat:
        return {}
    own, users = (
        chat_settings.local_settings(scratch, args.door, args.timeout_s),
        chat_settings.user_settings(args.environ, args.named),
    )
    state = args.environ.get("XDG_STATE_HOME") or "~/.local/state"  # a file of the project might be committed
    with suppress(OSError, RuntimeError):  # without a home, or where it cannot be written, each process has its own key
        folder = Path(state).expanduser() / "winterbourne" if "STORE" in users else scratch
        own["SIGNING_KEY"] = chat_settings.signing_key(folder)
    return {**own, **users}


def _look_around(args: Namespace) -> None:
    """Add to the arguments whether the function is a chat, the variables its code names, and the user's own."""
    args.is_chat = chat_settings.is_chat(args.task_root)
    args.named = chat_settings.named_variables(args.task_root) if args.is_chat else set()
    args.environ = {**os.environ, **dict(args.env)}
    if args.is_chat:
        unpack_settings(args.environ)


def _cors(args: Namespace) -> Cors:
    """The CORS configuration from the flags; what they leave unset comes from a template.

    A chat for which no origin is named lets pages of this machine in.
    """
    if not DOORS[args.door].has_cors:
        return Cors()
    given = {name: value for name, value in _fields_of(Cors, args).items() if value}
    default = default_cors(args.task_root.parent / "template.yaml") if args.is_chat or given else Cors()
    cors = replace(read_cors(args.cors_template) if args.cors_template else default, **given)
    return replace(cors, allow_local_origins=args.is_chat and not cors.allow_origins)


def _write_ready_file(ready_file: Path, addresses: dict[str, str]) -> None:
    """Write the file atomically (rename), so that a process that waits for it never reads half of it."""
    temporary_file = ready_file.with_name(ready_file.name + ".draft")
    temporary_file.write_text(json.dumps(addresses), encoding="utf-8")
    temporary_file.rename(ready_file)


def _error_message(error: Exception) -> str:
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
