"""`python -m winterbourne.local.doctor`: look, say what is wrong, and end with 1 if anything is."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import httpx

from winterbourne.local.doctor import on_aws, over_http
from winterbourne.local.doctor.findings import Finding, report, unknown

__all__ = ["main"]

LOCAL: Final = "http://127.0.0.1:3000"
TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)
"""Seconds; a model may think long before its first word."""

ABOUT: Final = """\
Says what is wrong with a chat and how to mend it. With --stack it looks at a deployment, with AWS credentials from the
environment, and at its URL; with --url alone at what any caller sees. It changes nothing, and asks the model one short
question. A caller's key is taken from the stack's secret, or from the environment variable KEY."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding as it is made; 0 if nothing is wrong, 1 if anything is."""
    given = _parse(arguments)
    faults = 0
    for finding in _findings(given):
        faults += finding.state == "wrong"
        sys.stdout.write("\n".join(report([finding])) + "\n")
        sys.stdout.flush()
    return 1 if faults else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m winterbourne.local.doctor", description=ABOUT)
    parser.add_argument("--url", default="", help=f"of the chat; the stack's, or {LOCAL}, unless given")
    parser.add_argument("--stack", default="", help="name of a deployment, such as winterbourne-dev")
    parser.add_argument("--region", help="where the deployment is; as the AWS configuration says unless given")
    parser.add_argument("--origin", default="", help="a page's origin that must be able to call, for CORS")
    return parser.parse_args(arguments)


def _findings(given: argparse.Namespace) -> Iterator[Finding]:
    if not given.stack:
        url = given.url.rstrip("/") or LOCAL
        return _over_http(over_http.Caller(url, os.environ.get("KEY", ""), given.origin))
    stack = on_aws.Stack(given.stack, _clients(given.region))
    return chain(on_aws.look(stack), _at_its_url(stack, given))


def _at_its_url(stack: on_aws.Stack, given: argparse.Namespace) -> Iterator[Finding]:
    url = given.url.rstrip("/") or on_aws.url(stack)
    if url:
        key = os.environ.get("KEY") or on_aws.api_key(stack)
        yield from _over_http(over_http.Caller(url, key, given.origin))
    else:
        yield unknown("callers", "there is no URL that takes unsigned calls; behind CloudFront name it with --url")


def _over_http(caller: over_http.Caller) -> Iterator[Finding]:
    with httpx.Client(timeout=TIMEOUT) as client:
        yield from over_http.look(caller, client)


def _clients(region: str | None) -> Any:
    import boto3  # noqa: PLC0415  (slow to import, and not needed for a URL)

    return boto3.Session(region_name=region or None).client


if __name__ == "__main__":
    sys.exit(main())
