"""The runtime process, from init (cold start) to graceful shutdown on SIGTERM.

Loads the handler, takes part in snapshot and restore, and runs the pollers.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from winterbourne import lifecycle, logs
from winterbourne.bootstrap import check_versions, load_handler, prepare_environment
from winterbourne.connection import RuntimeClient
from winterbourne.errors import ErrorReport, RuntimeApiUnavailable, RuntimeFault, WinterbourneError
from winterbourne.handlers import AsyncHandler, adapt_handler
from winterbourne.loop import Poller
from winterbourne.protocol import INIT_ERROR, RESTORE_ERROR
from winterbourne.watchdog import WATCHDOG

__all__ = ["main"]

DEFAULT_DEADLINE_MARGIN_MS = 250
EXIT_STATUS = {"Runtime.BeforeSnapshotError": 64, "Runtime.AfterRestoreError": 65}  # after other init errors: 1
EXIT_GRACE_S = 1.0  # after the shutdown hooks, for threads and atexit functions to finish
WITHDRAWAL_S = 0.5

_LOGGER = logging.getLogger(__name__)


def main(layer_dir: str = "/opt/python") -> int:
    """Run until Lambda ends the process.

    The handler is named by the first command line argument or by `_HANDLER`. It is imported before the event loop
    starts, so that its module may run event loops of its own.

    Args:
        layer_dir: The `python` folder of the layers.

    Returns:
        The exit status: 0 after SIGTERM, SIGINT or `retire`, 1 after an init error or if the Runtime API is
        unavailable, 64 if preparing a snapshot failed, 65 if an `after_restore` hook failed. The watchdog ends the
        process with 70.
    """
    if not os.environ.get("AWS_LAMBDA_RUNTIME_API"):
        sys.exit("there is no Runtime API, whose address is in AWS_LAMBDA_RUNTIME_API; `winterbourne run` brings one")
    prepare_environment(os.environ, layer_dir)
    if socket := os.environ.get("_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"):
        logs.redirect_to_log_socket(socket)
    logs.configure_logging(os.environ)
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("_HANDLER", "")
    try:
        check_versions(layer_dir)
        handler_or_error: Callable[..., Any] | BaseException = load_handler(name)
    except BaseException as error:  # noqa: BLE001 - even a module that exits is an init error
        handler_or_error = error
    return asyncio.run(_run_process(handler_or_error))


async def _run_process(handler_or_error: Callable[..., Any] | BaseException) -> int:
    # The same as without: but a handler that was set is called in the context of the callback that failed (from 3.12),
    # and so the log line has its request id.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
    with closing(RuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"])) as client:
        status = await _init_and_serve(client, handler_or_error)
    # Threads may hang, as they may after `retire`; Python would wait for them.
    timer = threading.Timer(EXIT_GRACE_S, os._exit, [status])
    timer.daemon = True
    timer.start()
    return status


async def _init_and_serve(client: RuntimeClient, handler_or_error: Callable[..., Any] | BaseException) -> int:
    """Initialize the handler and serve invocations until shutdown; return the exit status."""
    if isinstance(handler_or_error, BaseException):
        return await _report_error(client, handler_or_error)
    try:
        margin_ms = _deadline_margin_ms()
        handler = adapt_handler(handler_or_error)
        await lifecycle.run_startup()
    except Exception as error:  # noqa: BLE001 - boundary: reported as an init error
        return await _report_error(client, error)
    if lifecycle.is_snap_start() and (status := await _snapshot_and_restore(client)):
        return status
    return await _run_pollers(client, handler, margin_ms)


def _deadline_margin_ms() -> int:
    name = "WINTERBOURNE_DEADLINE_MARGIN_MS"
    text = os.environ.get(name) or str(DEFAULT_DEADLINE_MARGIN_MS)
    if not text.isdecimal():
        raise RuntimeFault("Runtime.InvalidSetting", f"{name}: '{text}' is not a whole number of milliseconds")
    return int(text)


async def _report_error(client: RuntimeClient, error: BaseException, path: str = INIT_ERROR, kind: str = "") -> int:
    """Log an error and deliver it to Lambda; a failed delivery is only logged, since the process exits anyway."""
    report = ErrorReport(error)
    logs.log_error(report.log_document)
    try:
        await client.deliver(lambda protocol: protocol.call(path, report, kind))
    except WinterbourneError as delivery_error:
        _LOGGER.error("the init error could not be delivered: %s", delivery_error)  # noqa: TRY400 - the traceback shows only runtime code
    return EXIT_STATUS.get(kind, 1)


async def _snapshot_and_restore(client: RuntimeClient) -> int:
    """Run the hooks around a SnapStart snapshot, and wait for the restore in between.

    Returns:
        0, or the exit status that Lambda expects if a hook failed.
    """
    try:
        await lifecycle.run_before_snapshot()
        await client.restore_next()
    except BaseException as error:  # noqa: BLE001 - as in awslambdaric: even if a hook exits
        return await _report_error(client, error, INIT_ERROR, "Runtime.BeforeSnapshotError")
    try:
        await lifecycle.run_after_restore()
    except BaseException as error:  # noqa: BLE001 - the same
        return await _report_error(client, error, RESTORE_ERROR, "Runtime.AfterRestoreError")
    return 0


async def _run_pollers(first_client: RuntimeClient, handler: AsyncHandler, margin_ms: int) -> int:
    count = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY") or 1)
    clients = [first_client, *(RuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"]) for _ in range(count - 1))]
    buffered = bool(os.environ.get("AWS_SAM_LOCAL"))
    pollers = [Poller(each, handler, margin_ms=margin_ms, buffered=buffered, sole=count == 1) for each in clients]
    WATCHDOG.start()
    tasks = [asyncio.create_task(poller.run(), name=f"poller {i}") for i, poller in enumerate(pollers)]
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_pollers, pollers)
    for poller in pollers:
        lifecycle.on_retire(poller.drain)
    try:
        return await _wait_for_shutdown(pollers, tasks)
    finally:
        for client in clients:
            client.close()


def _stop_pollers(pollers: list[Poller]) -> None:
    for poller in pollers:
        poller.stop()


async def _wait_for_end(pollers: "dict[asyncio.Task[None], Poller]") -> None:
    """Wait until every poller has ended, one has failed, or only such are left as have withdrawn without an answer.

    After `retire` the pollers finish what they have. Those that only wait have withdrawn: an invocation that was handed
    out at that moment still arrives. Lambda may not notice the withdrawal, so it has WITHDRAWAL_S to answer.
    """
    timeout_s: float | None = None
    running = set(pollers)
    while running:
        done, running = await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        only_withdrawn = all(pollers[task].is_polling for task in running)
        if any(not task.cancelled() and task.exception() for task in done) or (only_withdrawn and not done):
            return
        timeout_s = WITHDRAWAL_S if only_withdrawn else None


async def _wait_for_shutdown(pollers: list[Poller], tasks: list["asyncio.Task[None]"]) -> int:
    """Wait for a signal, `retire` or an unavailable Runtime API; then stop the pollers and run the shutdown hooks."""
    status = 0
    await _wait_for_end(dict(zip(tasks, pollers, strict=True)))
    _stop_pollers(pollers)
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, RuntimeApiUnavailable):
            _LOGGER.error("%s", ended)
            status = 1
        elif ended is not None and not isinstance(ended, asyncio.CancelledError):
            raise ended
    try:
        await lifecycle.run_shutdown()
    except ExceptionGroup:
        _LOGGER.exception("one or more shutdown hooks failed")
    return status
