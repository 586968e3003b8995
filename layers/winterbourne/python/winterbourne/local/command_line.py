"""The command line of `python -m winterbourne.local`."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from winterbourne.local.function_config import LAYER_DIR

__all__ = ["parse"]

DEFAULT_TASK_ROOT: Final = "functions"

DESCRIPTION: Final = """\
Serve a Lambda function at a function URL on this machine, streaming included. The function runs in the very process
that Lambda would start, behind a real Runtime API; nothing is deployed and no account is needed."""

EXAMPLES: Final = """\
examples:
  python -m winterbourne.local                                         the chat, with scripted model and practice data
  MODEL_PROVIDER=openai OPENAI_API_KEY=… python -m winterbourne.local  the chat with a real model
  python -m winterbourne.local --task-root DIR --handler app.handler   any function of yours
  python -m winterbourne.local --invoke-port 3001                      also for boto3's invoke and
                                                                       invoke_with_response_stream
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exits with 2 and a sentence where it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m winterbourne.local",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(parser.add_argument_group("where to listen"))
    _add_function(parser.add_argument_group("the function"))
    _add_environments(parser.add_argument_group("its execution environments"))
    _add_cors(parser.add_argument_group("CORS, as the function URL's `Cors` property"))
    _add_response_limits(parser.add_argument_group("limits of a streamed response; 0 lifts one"))
    return parser.parse_args(arguments)


_Group = argparse._ArgumentGroup  # noqa: SLF001 - argparse has no public name for what its public method returns


def _add_address(group: _Group) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    group.add_argument(
        "--port", type=_port, default=3000, help="port of the function URL, 0 for a free one (%(default)s)"
    )
    group.add_argument("--invoke-port", type=_port, metavar="PORT", help="also serve the invoke API for boto3 there")
    group.add_argument(
        "--log", type=Path, default=Path("local.log"), metavar="FILE", help="where the log goes (%(default)s)"
    )
    group.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="write the addresses there as JSON once all listens"
    )


def _add_function(group: _Group) -> None:
    group.add_argument(
        "--task-root",
        type=_directory,
        default=DEFAULT_TASK_ROOT,
        metavar="DIR",
        help="the function's folder, /var/task on Lambda (functions)",
    )
    group.add_argument(
        "--opt",
        type=_directory,
        default=LAYER_DIR,
        metavar="DIR",
        help="the layers' folder, /opt on Lambda (the runtime layer)",
    )
    group.add_argument(
        "--python", default=sys.executable, metavar="FILE", help="the Python it is run by (the one that runs this)"
    )
    group.add_argument("--handler", default="chat.app.handler", help="its handler (%(default)s)")
    group.add_argument("--name", default="local", help="its name (%(default)s)")
    group.add_argument(
        "--timeout",
        type=_positive_float,
        default=120.0,
        metavar="SECONDS",
        help="seconds one invocation may take (%(default)g)",
    )
    group.add_argument(
        "--memory",
        type=_positive_int,
        default=1024,
        metavar="MB",
        help="memory it is told it has; not enforced (%(default)s)",
    )
    group.add_argument(
        "--env",
        type=_environment_variable,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an environment variable for it; may be repeated",
    )
    group.add_argument(
        "--no-practice", action="store_true", help="let the chat's tools ask the real services instead of practice data"
    )


def _add_environments(group: _Group) -> None:
    group.add_argument(
        "--concurrency",
        type=_positive_int,
        default=4,
        metavar="N",
        help="processes at most; each serves one request at a time (%(default)s)",
    )
    group.add_argument(
        "--managed-instances",
        type=_positive_int,
        default=0,
        metavar="N",
        help="one process that serves N requests at once, as on Lambda Managed Instances",
    )
    group.add_argument(
        "--snap-start",
        action="store_true",
        help="let the process be restored before its first invocation, as with SnapStart",
    )
    group.add_argument("--no-freeze", action="store_true", help="leave processes running between invocations")


def _add_cors(group: _Group) -> None:
    group.add_argument(
        "--cors-template", type=Path, metavar="FILE", help="read it from this SAM template (needs PyYAML)"
    )
    for name, example in (("origin", "https://example.com"), ("method", "POST"), ("header", "content-type")):
        group.add_argument(
            f"--cors-allow-{name}",
            action="append",
            default=[],
            metavar=name.upper(),
            help=f"such as {example}, or *; may be repeated",
        )
    group.add_argument("--cors-expose-header", action="append", default=[], metavar="HEADER", help="may be repeated")
    group.add_argument("--cors-allow-credentials", action="store_true", help="let browsers send cookies")
    group.add_argument(
        "--cors-max-age", type=_positive_int, metavar="SECONDS", help="how long browsers may keep a preflight's answer"
    )


def _add_response_limits(group: _Group) -> None:
    group.add_argument(
        "--burst", type=_megabytes, default="6", metavar="MB", help="megabytes that pass at once (%(default)s)"
    )
    group.add_argument(
        "--rate", type=_megabytes, default="2", metavar="MB", help="megabytes per second after that (%(default)s)"
    )
    group.add_argument("--limit", type=_megabytes, default="200", metavar="MB", help="megabytes at most (%(default)s)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return int(text)


def _positive_float(text: str) -> float:
    number = _float_or_nan(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _megabytes(text: str) -> int:
    number = _float_or_nan(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return int(number * 1024 * 1024)


def _float_or_nan(text: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _directory(text: str) -> Path:
    directory = Path(text).resolve()
    if not directory.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return directory


def _environment_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, value
