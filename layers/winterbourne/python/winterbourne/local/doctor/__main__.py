"""`winterbourne doctor`: runs all checks, prints findings, and exits with 1 if anything is wrong."""

import argparse
import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from winterbourne import __version__
from winterbourne.chat.http_library import httpx
from winterbourne.local.doctor import over_http
from winterbourne.local.doctor.findings import Finding, format_finding, unknown

__all__ = ["main"]

LOCAL_URL: Final = "http://127.0.0.1:3000"
TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)
"""Seconds; a model may take long to send its first token."""

DESCRIPTION: Final = """\
Reports what is wrong with a chat and how to fix it. With --stack it checks a deployment, with AWS credentials from the
environment, and its URL; with --url alone, what any caller sees. It changes nothing, and asks the model one short
question. The URL may be that of any door: a function URL, CloudFront, a REST API, a server of your own, or AgentCore's,
which ends with /invocations. The API key is taken from the environment variable KEY, otherwise from the stack's
secret."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each finding as it is made.

    Returns:
        0 if nothing is wrong, otherwise 1; what cannot be told is not wrong.
    """
    args = _parse_args(arguments)
    failures = 0
    for finding in _run_checks(args):
        failures += finding.state == "wrong"
        print(format_finding(finding), flush=True)  # noqa: T201 - the output of the program
    return 1 if failures else 0


def _parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="winterbourne doctor", description=DESCRIPTION)
    url_help = f"URL of the chat (default: the stack's, or {LOCAL_URL} without a stack)"
    parser.add_argument("--url", type=_url, default="", help=url_help)
    parser.add_argument("--stack", default="", help="name of a deployed stack, such as winterbourne-dev")
    parser.add_argument("--region", help="AWS region of the stack (default: from the AWS configuration)")
    parser.add_argument("--origin", default="", help="origin of a web page that must be able to call the chat (CORS)")
    return parser.parse_args(arguments)


def _url(text: str) -> str:
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        if not text or (httpx.URL(text).scheme in {"http", "https"} and urlsplit(text).hostname):
            return text.rstrip("/")
    raise argparse.ArgumentTypeError(f"expected a URL such as {LOCAL_URL}, not {text}")


def _run_checks(args: argparse.Namespace) -> Iterator[Finding]:
    if args.stack:
        return _check_stack(args)
    return _check_over_http(over_http.Caller(args.url or LOCAL_URL, os.environ.get("KEY", ""), args.origin))


def _check_stack(args: argparse.Namespace) -> Iterator[Finding]:
    import boto3  # noqa: PLC0415 - slow to import, and neither needed for a URL nor always installed

    from winterbourne.local.doctor import on_aws  # noqa: PLC0415 - likewise

    region = args.region or None
    session: Callable[[], Any] = functools.cache(lambda: boto3.Session(region_name=region))  # it may fail, as calls do
    stack = on_aws.Stack(args.stack, lambda service: session().client(service))
    yield from on_aws.run_checks(stack)
    if url := args.url or on_aws.public_url(stack):
        yield from _check_over_http(over_http.Caller(url, os.environ.get("KEY") or on_aws.api_key(stack), args.origin))
    else:
        yield unknown("callers", "no URL that accepts unsigned requests is known: set it with --url")


def _check_over_http(caller: over_http.Caller) -> Iterator[Finding]:
    headers, hooks = {"user-agent": f"winterbourne/{__version__}"}, {"request": [_say_digest]}
    with httpx.Client(timeout=TIMEOUT, headers=headers, event_hooks=hooks) as client:
        yield from over_http.run_checks(caller, client)


def _say_digest(request: httpx.Request) -> None:
    """CloudFront with origin access control has a body refused whose digest its sender does not say."""
    if body := request.read():
        request.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
