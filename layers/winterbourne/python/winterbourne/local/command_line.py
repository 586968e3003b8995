"""Command line parser of `winterbourne run`."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

__all__ = ["parse"]

DESCRIPTION: Final = """\
Serve a Lambda function at a function URL on this machine, streaming included. The function runs in the same process
that Lambda would start, behind a real Runtime API; nothing is deployed and no AWS account is needed."""

EXAMPLES: Final = """\
examples:
  winterbourne run                                         the chat with a scripted model
  MODEL_PROVIDER=openai OPENAI_API_KEY=… winterbourne run  the chat with a real model
  winterbourne run --task-root DIR --handler app.handler   any other function
  winterbourne run --invoke-port 3001                      also serve boto3's invoke and invoke_with_response_stream
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; if it is invalid, print an error and exit with status 2."""
    parser = argparse.ArgumentParser(
        prog="winterbourne run",
        usage="%(prog)s [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(parser.add_argument_group("where to listen"))
    _add_function(parser.add_argument_group("the function"))
    _add_environments(parser.add_argument_group("execution environments"))
    _add_cors(parser.add_argument_group("CORS, as the function URL's `Cors` property (default for a chat: localhost)"))
    _add_response_limits(parser.add_argument_group("limits of a streamed response (0 disables --rate and --limit)"))
    return parser.parse_args(arguments)


_Group = argparse._ArgumentGroup  # noqa: SLF001 - argparse has no public name for what its public method returns


def _add_address(group: _Group) -> None:
    add, add_file = group.add_argument, partial(group.add_argument, type=Path, metavar="FILE")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    text = "port of the function URL; 0 chooses a free one (default: %(default)s)"
    add("--port", type=_port, default=3000, help=text)
    add("--invoke-port", type=_port, metavar="PORT", help="also serve the Invoke API (boto3) on this port")
    text = "host name that requests may be sent to, besides localhost and IP addresses; may be repeated"
    add("--allow-host", action="append", default=[], metavar="NAME", help=text)
    add_file("--log", default="local.log", help="file to append the log to (default: %(default)s)")
    add_file("--ready-file", help="write url, invoke_url and log to this file, as JSON, once the server listens")


def _add_function(group: _Group) -> None:
    add, add_directory = group.add_argument, partial(group.add_argument, type=_directory, metavar="DIR")
    text = "directory of the function's code, /var/task on Lambda (default: functions)"
    add_directory("--task-root", default="functions", help=text)
    text = "directory of the layers, /opt on Lambda (default: this engine alone)"
    add_directory("--opt", help=text)
    text = "Python interpreter to run the function with (default: this one)"
    add("--python", default=sys.executable, metavar="FILE", help=text)
    add("--handler", type=_handler, default="chat.app.handler", help="handler of the function (default: %(default)s)")
    add("--name", default="local", help="name of the function (default: %(default)s)")
    text = "timeout of an invocation in seconds (default: %(default)g)"
    add("--timeout", type=_positive_float, default=120.0, metavar="SECONDS", help=text)
    text = "memory size reported to the function; not enforced (default: %(default)s)"
    add("--memory", type=_positive_int, default=1024, metavar="MB", help=text)
    text = "environment variable for the function, over that of your shell; may be repeated"
    add("--env", type=_environment_variable, action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "let the chat's tools call the real services instead of getting practice data"
    add("--no-practice", action="store_true", help=text)


def _add_environments(group: _Group) -> None:
    add, add_number = group.add_argument, partial(group.add_argument, type=_positive_int, metavar="N")
    text = "maximum number of processes; each serves one request at a time (default: %(default)s)"
    add_number("--concurrency", default=4, help=text)
    text = "run one process that serves N requests concurrently, as on Lambda Managed Instances"
    add_number("--managed-instances", default=0, help=text)
    add("--snap-start", action="store_true", help="restore the process before its first invocation, as with SnapStart")
    add("--no-freeze", action="store_true", help="do not freeze processes between invocations")


def _add_cors(group: _Group) -> None:
    add, add_list = group.add_argument, partial(group.add_argument, action="append", default=[])
    text = "read the CORS configuration from this SAM template (needs PyYAML)"
    add("--cors-template", type=Path, metavar="FILE", help=text)
    for name, example in (("origin", "https://example.com"), ("method", "POST"), ("header", "content-type")):
        text = f"allowed {name}, such as {example}, or *; may be repeated"
        add_list(f"--cors-allow-{name}", metavar=name.upper(), help=text)
    add_list("--cors-expose-header", metavar="HEADER", help="response header that pages may read; may be repeated")
    add("--cors-allow-credentials", action="store_true", help="allow browsers to send cookies")
    text = "seconds for which browsers may cache a preflight response"
    add("--cors-max-age", type=_positive_int, metavar="SECONDS", help=text)


def _add_response_limits(group: _Group) -> None:
    add = partial(group.add_argument, type=_megabytes, metavar="MB")
    add("--burst", default="6", help="megabytes sent before the rate limit applies (default: %(default)s)")
    add("--rate", default="2", help="megabytes per second after the burst (default: %(default)s)")
    add("--limit", default="200", help="maximum size of a response in megabytes (default: %(default)s)")


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
    if not all(text.rpartition(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE.FUNCTION, such as app.handler")
    return text


def _environment_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, value
