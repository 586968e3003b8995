"""`python -m winterbourne.local.doctor`: look, say what is wrong, and end with 1 if anything is."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import httpx

from winterbourne.local.doctor import on_aws, over_http
from winterbourne.local.doctor.findings import Finding, format_findings, unknown

__all__ = ["main"]

LOCAL_URL: Final = "http://127.0.0.1:3000"
TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)
"""Seconds; a model may think long before its first word."""

DESCRIPTION: Final = """\
Says what is wrong with a chat and how to mend it. With --stack it looks at a deployment, with AWS credentials from the
environment, and at its URL; with --url alone at what any caller sees. It changes nothing, and asks the model one short
question. A caller's key is taken from the stack's secret, or from the environment variable KEY."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding as it is made; 0 if nothing is wrong, 1 if anything is."""
    args = _parse_args(arguments)
    failures = 0
    for finding in _run_checks(args):
        failures += finding.state == "wrong"
        sys.stdout.write("\n".join(format_findings([finding])) + "\n")
        sys.stdout.flush()
    return 1 if failures else 0


def _parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m winterbourne.local.doctor", description=DESCRIPTION)
    parser.add_argument("--url", default="", help=f"of the chat; the stack's, or {LOCAL_URL}, unless given")
    parser.add_argument("--stack", default="", help="name of a deployment, such as winterbourne-dev")
    parser.add_argument("--region", help="where the deployment is; as the AWS configuration says unless given")
    parser.add_argument("--origin", default="", help="a page's origin that must be able to call, for CORS")
    return parser.parse_args(arguments)


def _run_checks(args: argparse.Namespace) -> Iterator[Finding]:
    if not args.stack:
        url = args.url.rstrip("/") or LOCAL_URL
        return _check_over_http(over_http.Caller(url, os.environ.get("KEY", ""), args.origin))
    stack = on_aws.Stack(args.stack, _client_factory(args.region))
    return chain(on_aws.run_checks(stack), _check_stack_url(stack, args))


def _check_stack_url(stack: on_aws.Stack, args: argparse.Namespace) -> Iterator[Finding]:
    url = args.url.rstrip("/") or on_aws.public_url(stack)
    if url:
        key = os.environ.get("KEY") or on_aws.api_key(stack)
        yield from _check_over_http(over_http.Caller(url, key, args.origin))
    else:
        yield unknown("callers", "there is no URL that takes unsigned calls; behind CloudFront name it with --url")


def _check_over_http(caller: over_http.Caller) -> Iterator[Finding]:
    with httpx.Client(timeout=TIMEOUT) as client:
        yield from over_http.run_checks(caller, client)


def _client_factory(region: str | None) -> Any:
    import boto3  # noqa: PLC0415 - slow to import, and not needed for a URL

    return boto3.Session(region_name=region or None).client


if __name__ == "__main__":
    sys.exit(main())
