"""Composition root of the local server: builds, starts and stops what `python -m winterbourne.local` runs."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from winterbourne.local.cors import Cors
from winterbourne.local.environment_pool import EnvironmentPool
from winterbourne.local.execution_environment import ExecutionEnvironment
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.function_url import FunctionUrl
from winterbourne.local.http_server import HttpServer
from winterbourne.local.invoke_api import InvokeApi
from winterbourne.local.logs import format_for_console
from winterbourne.local.metrics import Metrics
from winterbourne.local.metrics_page import MetricsPage
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.stub_services import StubServices

__all__ = ["Addresses", "ServerConfig", "run_server"]

METRICS_PATH: Final = "/__local/metrics"
PLATFORM_RECORD_PREFIXES: Final = tuple(f"{word} RequestId: " for word in ("START", "END", "FAILED", "REPORT"))


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Configuration of the local server.

    Attributes:
        function: The function to serve.
        host: Address to listen on.
        port: Port of the function URL; 0 chooses a free one.
        invoke_port: Port of the Invoke API; None disables it.
        concurrency: Maximum number of processes.
        freeze_when_idle: Whether processes are frozen between invocations.
        cors: The function URL's CORS configuration.
        response_limits: Limits of a streamed response.
        use_stub_services: Whether the chat's tools get practice data from stub services.
        log_file: File the log is appended to.
    """

    function: FunctionConfig
    host: str = "127.0.0.1"
    port: int = 0
    invoke_port: int | None = None
    concurrency: int = 4
    freeze_when_idle: bool = True
    cors: Cors = field(default_factory=Cors)
    response_limits: ResponseLimits = field(default_factory=ResponseLimits)
    use_stub_services: bool = False
    log_file: Path = Path("local.log")


@dataclass(frozen=True)
class Addresses:
    """The URLs the server listens at; `invoke_url` is empty if the Invoke API is not served."""

    url: str
    invoke_url: str


@contextlib.asynccontextmanager
async def run_server(config: ServerConfig) -> AsyncIterator[Addresses]:
    """Run the server until the block ends, then stop everything it started.

    Raises:
        OSError: An address or the log file is not available; no function process has been started.
    """
    metrics = Metrics()
    page = MetricsPage(metrics)
    async with contextlib.AsyncExitStack() as stack:
        log_file = stack.enter_context(config.log_file.open("a", encoding="utf-8", buffering=1))
        log_record = partial(_log_record, log_file, metrics)
        function = await _with_stub_services(config, log_record, stack)
        pool = EnvironmentPool(
            partial(ExecutionEnvironment, function, config.response_limits, freeze_when_idle=config.freeze_when_idle),
            1 if function.managed_instances else config.concurrency,
            log_record,
        )
        stack.push_async_callback(pool.stop)
        log_access, pages = partial(_log_access, log_file, page), {METRICS_PATH: page.handle_request}
        function_url = FunctionUrl(pool.invoke, cors=config.cors, log_access=log_access, pages=pages)
        invoke_api = InvokeApi(function.name, pool.invoke)
        addresses = Addresses(
            await _listen(stack, function_url.server, config.host, config.port),
            await _listen(stack, invoke_api.server, config.host, config.invoke_port),
        )
        stack.push_async_callback(invoke_api.close)
        pool.start_environment()
        yield addresses


async def _listen(stack: contextlib.AsyncExitStack, server: HttpServer, host: str, port: int | None) -> str:
    """Listen until the stack is closed. Returns the URL, or an empty string if `port` is None."""
    if port is None:
        return ""
    stack.push_async_callback(server.close)
    await server.listen(host, port)
    return _base_url(host, server.port)


def _base_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _with_stub_services(
    config: ServerConfig, log_record: Callable[[str], None], stack: contextlib.AsyncExitStack
) -> FunctionConfig:
    """The function, configured to use stub services if they are enabled. The user's own settings take precedence."""
    if not config.use_stub_services:
        return config.function
    stub_services = StubServices(log_record)
    await _listen(stack, stub_services.server, "127.0.0.1", 0)
    return replace(config.function, variables={**stub_services.settings, **config.function.variables})


def _log_record(file: TextIO, metrics: Metrics, record: str) -> None:
    """Log a record of the function: all go to the file, all but metrics and platform records to the console."""
    print(record, file=file)
    if not metrics.ingest(record) and not record.startswith(PLATFORM_RECORD_PREFIXES):
        _print_line(format_for_console(record))


def _log_access(file: TextIO, page: MetricsPage, line: str) -> None:
    print(line, file=file)
    page.add_request(line)
    _print_line(line)


def _print_line(text: str) -> None:
    # If standard output is closed (`| head`), keep serving requests: the log file still has every line.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)  # noqa: T201 - console output is the purpose
