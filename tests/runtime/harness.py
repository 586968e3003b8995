"""Runs a handler behind the test Runtime API: in this process, or as the process that Lambda starts."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.coverage_variables import COVERAGE
from tests.opt import WRAPPER
from tests.runtime.runtime_api import RuntimeApi
from winterbourne.connection import RuntimeClient
from winterbourne.handlers import adapt_handler
from winterbourne.loop import Poller

__all__ = ["LAYER", "Program", "program", "serving", "url_event"]

LAYER = Path(__file__).parents[2] / "layers" / "winterbourne"


@asynccontextmanager
async def serving(
    handler: Callable[..., Any], api: RuntimeApi | None = None, *, pollers: int = 1, **options: Any
) -> AsyncIterator[RuntimeApi]:
    """Run pollers for this handler on this event loop; yields the Runtime API they poll."""
    async with api or RuntimeApi() as served:
        serve = adapt_handler(handler)
        options = {"margin_ms": 100, "sole": pollers == 1} | options
        clients = served.clients = [RuntimeClient(served.address) for _ in range(pollers)]
        running = [Poller(client, serve, **options) for client in clients]
        tasks = [asyncio.create_task(poller.run()) for poller in running]
        try:
            yield served
        finally:
            for poller in running:
                poller.stop()
            await asyncio.gather(*tasks)
            for client in clients:
                client.close()


class Program:
    """A function process under test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = ""
        self.err = ""

    async def ended(self) -> int:
        """Wait until it exits and collect its output; returns the exit code."""
        out, err = await self.process.communicate()
        self.out, self.err = out.decode(), err.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self) -> int:
        """Terminate it with SIGTERM, as Lambda does."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def program(api: RuntimeApi, folder: Path, handler: str, *command: str, **environ: str) -> AsyncIterator[Program]:
    """Start the process that Lambda starts: the exec wrapper with Python and bootstrap, or another command.

    Keyword arguments are environment variables.
    """
    given = command or (str(WRAPPER), sys.executable, "/var/runtime/bootstrap.py")
    frames = environ.get("_LAMBDA_TELEMETRY_LOG_FD")
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *given,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=[int(frames)] if frames else [],
        env=inherited
        | COVERAGE
        | {"AWS_LAMBDA_RUNTIME_API": api.address, "LAMBDA_TASK_ROOT": str(folder), "_HANDLER": handler}
        | environ,
    )
    started = Program(process)
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def url_event(method: str = "GET", path: str = "/", *, query: str = "", body: str = "", **more: Any) -> dict[str, Any]:
    """A function URL event, payload format 2.0."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "abc.lambda-url.us-east-1.on.aws", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "203.0.113.7"}, "stage": "$default"},
        "body": body,
        "isBase64Encoded": False,
    } | more
