"""`python -m winterbourne.local`: the function URL on this machine until Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from argparse import Namespace
from dataclasses import fields, replace
from pathlib import Path

from winterbourne.local import chat_settings, command_line
from winterbourne.local.banner import banner
from winterbourne.local.cors import Cors
from winterbourne.local.cors_template import TemplateUnreadable, cors_of
from winterbourne.local.environment import Function
from winterbourne.local.response_limits import Shape
from winterbourne.local.server import Addresses, Plan, running


def main() -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; 0 then, 1 and one line where an address cannot be had."""
    given = command_line.parse()
    try:
        with tempfile.TemporaryDirectory(prefix="winterbourne-") as scratch:
            asyncio.run(_serve(given, _plan(given, Path(scratch))))
    except (OSError, TemplateUnreadable) as error:
        sys.stderr.write(f"python -m winterbourne.local: {_sentence(error)}\n")
        return 1
    return 0


async def _serve(given: Namespace, plan: Plan) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(plan) as addresses:
        _announce(given, plan, addresses)
        await stop.wait()


def _plan(given: Namespace, scratch: Path) -> Plan:
    return Plan(
        function=_function(given, scratch),
        host=given.host,
        port=given.port,
        invoke_port=given.invoke_port,
        concurrency=given.concurrency,
        freezes=not given.no_freeze,
        cors=_cors(given),
        shape=Shape(given.burst, given.rate, given.limit),
        practice=_practises(given),
        log=given.log.resolve(),
    )


def _practises(given: Namespace) -> bool:
    return chat_settings.is_chat(given.task_root) and not given.no_practice


def _function(given: Namespace, scratch: Path) -> Function:
    return Function(
        task_root=given.task_root,
        handler=given.handler,
        python=given.python,
        wrapper=str(given.opt / "winterbourne"),
        name=given.name,
        memory_mb=given.memory,
        timeout_s=given.timeout,
        variables={**_chat_settings(given.task_root, scratch), **dict(given.env)},
        managed_instances=given.managed_instances,
        snap_start=given.snap_start,
    )


def _chat_settings(task_root: Path, scratch: Path) -> dict[str, str]:
    if not chat_settings.is_chat(task_root):
        return {}
    return {**chat_settings.local_settings(scratch), **chat_settings.users_settings(os.environ)}


def _cors(given: Namespace) -> Cors:
    """What the flags say; what they leave open is the template's, where one is given."""
    flags = Cors(
        allow_origins=tuple(given.cors_allow_origin),
        allow_methods=tuple(given.cors_allow_method),
        allow_headers=tuple(given.cors_allow_header),
        expose_headers=tuple(given.cors_expose_header),
        allow_credentials=given.cors_allow_credentials,
        max_age=given.cors_max_age,
    )
    if given.cors_template is None:
        return flags
    said = {field.name: value for field in fields(flags) if (value := getattr(flags, field.name))}
    return replace(cors_of(given.cors_template), **said)


def _announce(given: Namespace, plan: Plan, addresses: Addresses) -> None:
    text = banner(
        plan.function,
        url=addresses.url,
        invoke_url=addresses.invoke_url,
        log=str(plan.log),
        chat=chat_settings.is_chat(given.task_root),
        practice=plan.practice,
    )
    print(text, flush=True)  # noqa: T201 - what the user has to know
    if given.ready_file:
        _tell(given.ready_file, {"url": addresses.url, "invoke_url": addresses.invoke_url, "log": str(plan.log)})


def _tell(ready_file: Path, known: dict[str, str]) -> None:
    """Renamed into place, so that who waits for the file never reads half of it."""
    draft = ready_file.with_name(ready_file.name + ".draft")
    draft.write_text(json.dumps(known), encoding="utf-8")
    draft.rename(ready_file)


def _sentence(error: OSError | TemplateUnreadable) -> str:
    if isinstance(error, TemplateUnreadable) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


if __name__ == "__main__":
    sys.exit(main())
