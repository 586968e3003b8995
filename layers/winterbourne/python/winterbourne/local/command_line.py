"""Command line parser of `winterbourne run`. An option that sets a field of a configuration is named like it."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from winterbourne.local.doors import DOORS

__all__ = ["parse"]

DESCRIPTION: Final = """\
Serve a Lambda function at a function URL on this machine, or behind another door, streaming included. The function runs
in the same process that Lambda would start, behind a real Runtime API; nothing is deployed and no AWS account is
needed."""

EXAMPLES: Final = """\
examples:
  winterbourne run                                         the chat with a scripted model
  MODEL_PROVIDER=openai OPENAI_API_KEY=… winterbourne run  the chat with a real model
  winterbourne run --task-root DIR --handler app.handler   any other function
  winterbourne run --door rest                             the chat behind a REST API of API Gateway
  winterbourne run --invoke-port 3001                      also serve boto3's invoke and invoke_with_response_stream
"""

HELP: Final = """\
where to listen:
--door                    what requests come through, by default a function URL: DOORS
--base-path               base path of a custom domain, with --door rest; without it the stage is the first segment
--host                    address to listen on (default: %(default)s)
--port                    port of the door; 0 chooses a free one (default: %(default)s; agentcore: 8080)
--invoke-port             also serve the Invoke API (boto3) on this port
--allow-host              host name that requests may be sent to, besides localhost and IP addresses; may be repeated
--log                     file to append the log to (default: %(default)s)
--ready-file              write url, invoke_url and log to this file, as JSON, once the server listens

the function:
--task-root               directory of the function's code, /var/task on Lambda (default: functions)
--opt                     directory of the layers, /opt on Lambda (default: this engine alone)
--python                  Python interpreter to run the function with (default: this one)
--handler                 handler of the function (default: %(default)s), or MODULE:OBJECT for an ASGI application
--name                    name of the function (default: %(default)s)
--timeout                 timeout of an invocation in seconds (default: %(default)g)
--memory                  memory size reported to the function; not enforced (default: %(default)s)
--env                     environment variable for the function, over that of your shell; may be repeated
--no-practice             let the chat's tools call the real services instead of getting practice data

execution environments:
--concurrency             maximum number of processes; each serves one request at a time (default: %(default)s)
--managed-instances       run one process that serves N requests concurrently, as on Lambda Managed Instances
--snap-start              restore the process before its first invocation, as with SnapStart
--no-freeze               do not freeze processes between invocations

CORS, as the function URL's `Cors` property (default for a chat: localhost):
--cors-template           read the CORS configuration from this SAM template (needs PyYAML)
--cors-allow-origin       allowed origin, such as https://example.com, or *; may be repeated
--cors-allow-method       allowed method, such as POST, or *; may be repeated
--cors-allow-header       allowed header, such as content-type, or *; may be repeated
--cors-expose-header      response header that pages may read; may be repeated
--cors-allow-credentials  allow browsers to send cookies
--cors-max-age            seconds for which browsers may cache a preflight response

limits of a streamed response (0 disables --rate and --limit):
--burst                   megabytes sent before the rate limit applies (default: %(default)s; rest: 10)
--rate                    megabytes per second after the burst (default: %(default)s)
--limit                   maximum size of a response in megabytes (default: %(default)s)
""".replace("DOORS", "; ".join(f"{name} ({door.about})" for name, door in DOORS.items()))
"""The groups of options, and the help of each option."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; if it is invalid, print an error and exit with status 2."""
    parser = argparse.ArgumentParser(
        prog="winterbourne run",
        usage="%(prog)s [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group()
    for line in filter(None, HELP.splitlines()):
        if line.startswith("--"):
            option, text = line.split(maxsplit=1)
            group.add_argument(option, help=text, **_OPTIONS[option])
        else:
            group = parser.add_argument_group(line.removesuffix(":"))
    asked = parser.parse_known_args(arguments)[0]
    if asked.base_path and asked.door != "rest":
        parser.error(f"--base-path: only --door rest has one, not {asked.door}")
    door = DOORS[asked.door]
    parser.set_defaults(**door.defaults)
    args = parser.parse_args(arguments)
    if door.server and args.invoke_port is not None:
        parser.error(f"--invoke-port: behind --door {args.door} there is no Lambda function")
    return args


Number = TypeVar("Number", int, float)


def _number(parse: Callable[[str], Number], least: float, most: float, kind: str) -> Callable[[str], Number]:
    """An argument type: a number from `least` to `most`, `kind` in the message for anything else."""

    def check(text: str) -> Number:
        with contextlib.suppress(ValueError, OverflowError):
            if least <= (number := parse(text)) <= most:
                return number
        raise argparse.ArgumentTypeError(f"{text} is not {kind}")

    return check


def _bytes(megabytes: str) -> int:
    return math.floor(float(megabytes) * 1024 * 1024)


_port = _number(int, 0, 65535, "a port number (0 to 65535)")
_positive_int = _number(int, 1, math.inf, "a positive integer")
_positive_float = _number(float, sys.float_info.min, sys.float_info.max, "a positive number")
_megabytes = _number(_bytes, 0, math.inf, "0 or a positive number")


def _directory(text: str) -> Path:
    directory = Path(text).resolve()
    if not directory.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return directory


def _handler(text: str) -> str:
    if not all(text.rpartition(":" if ":" in text else ".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE.FUNCTION, such as app.handler, or MODULE:APPLICATION")
    return text


def _environment_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, value


_REPEATED: Final = {"action": "append", "default": []}

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "--door": {"default": "url", "choices": DOORS, "metavar": "DOOR"},
    "--base-path": {"default": "", "metavar": "PATH"},
    "--host": {"default": "127.0.0.1"},
    "--port": {"type": _port, "default": 3000},
    "--invoke-port": {"type": _port, "metavar": "PORT"},
    "--allow-host": {"dest": "allow_hosts", "metavar": "NAME", **_REPEATED},
    "--log": {"dest": "log_file", "default": "local.log", "type": Path, "metavar": "FILE"},
    "--ready-file": {"type": Path, "metavar": "FILE"},
    "--task-root": {"default": "functions", "type": _directory, "metavar": "DIR"},
    "--opt": {"type": _directory, "metavar": "DIR"},
    "--python": {"default": sys.executable, "metavar": "FILE"},
    "--handler": {"type": _handler, "default": "chat.app.handler"},
    "--name": {"default": "local"},
    "--timeout": {"dest": "timeout_s", "type": _positive_float, "default": 120.0, "metavar": "SECONDS"},
    "--memory": {"dest": "memory_mb", "type": _positive_int, "default": 1024, "metavar": "MB"},
    "--env": {"type": _environment_variable, "metavar": "KEY=VALUE", **_REPEATED},
    "--no-practice": {"action": "store_true"},
    "--concurrency": {"default": 4, "type": _positive_int, "metavar": "N"},
    "--managed-instances": {"default": 0, "type": _positive_int, "metavar": "N"},
    "--snap-start": {"action": "store_true"},
    "--no-freeze": {"action": "store_true"},
    "--cors-template": {"type": Path, "metavar": "FILE"},
    "--cors-allow-origin": {"dest": "allow_origins", "metavar": "ORIGIN", **_REPEATED},
    "--cors-allow-method": {"dest": "allow_methods", "metavar": "METHOD", **_REPEATED},
    "--cors-allow-header": {"dest": "allow_headers", "metavar": "HEADER", **_REPEATED},
    "--cors-expose-header": {"dest": "expose_headers", "metavar": "HEADER", **_REPEATED},
    "--cors-allow-credentials": {"dest": "allow_credentials", "action": "store_true"},
    "--cors-max-age": {"dest": "max_age", "type": _positive_int, "metavar": "SECONDS"},
    "--burst": {"type": _megabytes, "default": "6", "metavar": "MB"},
    "--rate": {"type": _megabytes, "default": "2", "metavar": "MB"},
    "--limit": {"type": _megabytes, "default": "200", "metavar": "MB"},
}
