"""The life of the process: start the handler, take part in a snapshot, poll, shut down."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from winterbourne import lifecycle, logs
from winterbourne.bootstrap import load_handler, prepare
from winterbourne.connection import RuntimeClient
from winterbourne.errors import ErrorReport, Fault, RuntimeApiDown, WinterbourneError
from winterbourne.handlers import Serve, adapt
from winterbourne.loop import Poller

__all__ = ["main"]

DEFAULT_MARGIN_MS = 250
BEFORE_SNAPSHOT_FAILED = 64
AFTER_RESTORE_FAILED = 65
END_LIMIT_S = 1.0  # for threads and what is registered with atexit, after the shutdown hooks

log = logging.getLogger(__name__)


def main(layer: str = "/opt/python") -> int:
    """Run until Lambda ends the process.

    The handler is named by the first argument or by `_HANDLER`. It is imported before the loop runs, so that its module
    may run loops of its own.

    Args:
        layer: The folder `python` of the layers.

    Returns:
        The exit status: 0 after SIGTERM, 1 after an init error or without a Runtime API, 64 and 65 around a snapshot.
    """
    prepare(os.environ, layer)
    if socket := os.environ.get("_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"):
        logs.redirect_to_provider(socket)
    logs.set_up(os.environ)
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("_HANDLER", "")
    loaded: Callable[..., Any] | BaseException
    try:
        loaded = load_handler(name)
    except BaseException as error:  # noqa: BLE001 - a module may even exit; all of it is an init error
        loaded = error
    return asyncio.run(_live(loaded, os.environ))


async def _live(loaded: Callable[..., Any] | BaseException, environ: Mapping[str, str]) -> int:
    client = RuntimeClient(environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        status = await _start(client, loaded, environ)
    finally:
        client.close()
    _end_within(END_LIMIT_S, status)
    return status


async def _start(client: RuntimeClient, loaded: Callable[..., Any] | BaseException, environ: Mapping[str, str]) -> int:
    """Start the handler, and serve it until the end; the exit status."""
    if isinstance(loaded, BaseException):
        return await _init_failed(client, loaded)
    try:
        margin_ms = _margin_ms(environ)
        serve = adapt(loaded)
        await lifecycle.run_startup()
    except Exception as error:  # noqa: BLE001 - the edge: it becomes an init error
        return await _init_failed(client, error)
    if lifecycle.uses_snapshots() and (status := await _snapshot(client)):
        return status
    return await _poll(client, serve, margin_ms, environ)


def _end_within(limit_s: float, status: int) -> None:
    """Python waits for every thread before it ends, and one that hangs is why a function retires."""
    timer = threading.Timer(limit_s, os._exit, [status])
    timer.daemon = True
    timer.start()


def _margin_ms(environ: Mapping[str, str]) -> int:
    text = environ.get("WINTERBOURNE_DEADLINE_MARGIN_MS") or str(DEFAULT_MARGIN_MS)
    if not text.isdecimal():
        raise Fault("Runtime.InvalidSetting", f"WINTERBOURNE_DEADLINE_MARGIN_MS: '{text}' is no number of milliseconds")
    return int(text)


async def _init_failed(client: RuntimeClient, error: BaseException, error_type: str = "", status: int = 1) -> int:
    report = ErrorReport(error)
    await _tell(report, client.init_error(report, error_type))
    return status


async def _tell(report: ErrorReport, delivery: Awaitable[None]) -> None:
    """Log an error and deliver it; whether Lambda takes it changes nothing about how this process ends."""
    logs.log_error(report)
    try:
        await delivery
    except WinterbourneError as refused:
        log.error("the init error could not be delivered: %s", refused)  # noqa: TRY400 - the traceback is all ours


async def _snapshot(client: RuntimeClient) -> int:
    """Take part in a snapshot.

    Returns:
        0, or the exit status that Lambda expects where a hook failed.
    """
    try:
        await lifecycle.run_before_snapshot()
        await client.restore_next()
    except BaseException as error:  # noqa: BLE001 - as the stock client: even a hook that exits
        return await _init_failed(client, error, "Runtime.BeforeSnapshotError", BEFORE_SNAPSHOT_FAILED)
    try:
        await lifecycle.run_after_restore()
    except BaseException as error:  # noqa: BLE001 - likewise
        report = ErrorReport(error)
        await _tell(report, client.restore_error(report, "Runtime.AfterRestoreError"))
        return AFTER_RESTORE_FAILED
    return 0


async def _poll(first: RuntimeClient, serve: Serve, margin_ms: int, environ: Mapping[str, str]) -> int:
    count = int(environ.get("AWS_LAMBDA_MAX_CONCURRENCY") or 1)
    clients = [first, *(RuntimeClient(environ["AWS_LAMBDA_RUNTIME_API"]) for _ in range(count - 1))]
    collect = bool(environ.get("AWS_SAM_LOCAL"))
    pollers = [Poller(client, serve, margin_ms=margin_ms, collect=collect, alone=count == 1) for client in clients]
    tasks = [asyncio.create_task(poller.run(), name=f"poller {i}") for i, poller in enumerate(pollers)]
    _on_signal(pollers)
    for poller in pollers:
        lifecycle.on_retire(poller.leave)
    try:
        return await _until_ended(pollers, tasks)
    finally:
        for client in clients:
            client.close()


def _on_signal(pollers: list[Poller]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, pollers)


def _stop(pollers: list[Poller]) -> None:
    for poller in pollers:
        poller.stop()


async def _until_ended(pollers: list[Poller], tasks: list["asyncio.Task[None]"]) -> int:
    """Wait for SIGTERM, for the function to retire, or for a Runtime API that is gone; then run the shutdown hooks."""
    status = 0
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    _stop(pollers)
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, RuntimeApiDown):
            log.error("%s", ended)
            status = 1
        elif ended is not None and not isinstance(ended, asyncio.CancelledError):
            raise ended
    try:
        await lifecycle.run_shutdown()
    except ExceptionGroup:
        log.exception("while shutting down")
    return status
