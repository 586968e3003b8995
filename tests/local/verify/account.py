"""An AWS account on this machine, moto's, with what moto's CloudFormation cannot do: roll back."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import httpx
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.exceptions import DeletionProtectedException
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from winterbourne.override import override

__all__ = ["REGION", "SESSION", "VARIABLES", "client", "client_of", "put_sam", "roll_back", "serve"]

ROOT: Final = Path(__file__).parents[3]
REGION: Final = "eu-central-1"
VARIABLES: Final = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a process has that is in the account."""

SESSION: Final = functools.cache(lambda: boto3.session.Session("made-up", "made-up", region_name=REGION))
"""One for all tests: each new one reads the models of all services again."""


@functools.cache
def client(service: str) -> Any:
    """A client for the account as it is in this process."""
    return SESSION().client(service)  # type: ignore[call-overload]


def roll_back(name: str) -> None:
    """What CloudFormation makes of a stack whose creation has failed: it deletes what can be deleted."""
    backend: Any = get_backend("cloudformation")[DEFAULT_ACCOUNT_ID][REGION]
    stack = backend.get_stack(name)
    try:
        stack.resource_map.delete()
    except DeletionProtectedException:  # a table that is protected
        stack.status = "ROLLBACK_FAILED"
        return
    stack.resource_map._parsed_resources.clear()
    stack.resource_map._resource_json_map.clear()
    stack.status = "ROLLBACK_COMPLETE"


def _application() -> Callable[..., Any]:
    moto: Any = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        before, _, name = environ["PATH_INFO"].rpartition("/")
        if before != "/stand-in/roll-back":
            return moto(environ, start_response)
        roll_back(name)
        start_response("204 No Content", [])
        return []

    return application


class _Quiet(WSGIRequestHandler):
    """Logs nothing."""

    @override
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextlib.contextmanager
def serve() -> Iterator[Mapping[str, str]]:
    """Serve the account to processes; the variables that they need."""
    server = make_server("127.0.0.1", 0, _application(), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    httpx.post(f"http://127.0.0.1:{server.server_port}/moto-api/reset").raise_for_status()
    try:
        yield {**VARIABLES, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(variables: Mapping[str, str]) -> Callable[[str], Any]:
    """Creates clients for the account that is served."""
    keys = {"aws_access_key_id": "made-up", "aws_secret_access_key": "made-up"}
    make: Any = boto3.client
    return lambda service: make(service, REGION, endpoint_url=variables["AWS_ENDPOINT_URL"], **keys)


def put_sam(folder: Path) -> None:
    """Write a program `sam` that is the stand-in."""
    program = folder / "sam"
    command = f"PYTHONPATH='{ROOT}' exec '{sys.executable}' -m tests.local.verify.sam_stand_in \"$@\""
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)
