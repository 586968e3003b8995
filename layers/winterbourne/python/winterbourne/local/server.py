"""Composition root of the local server: builds, starts and stops what `python -m winterbourne.local` runs."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from winterbourne.local.asgi_servers import AsgiServers
from winterbourne.local.console import FunctionLog, LineWriter, open_log
from winterbourne.local.cors import Cors
from winterbourne.local.doors import DOORS
from winterbourne.local.environment_pool import EnvironmentPool
from winterbourne.local.event_door import EventDoor
from winterbourne.local.execution_environment import INIT_TIMEOUT_S, ExecutionEnvironment
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.function_url import FunctionUrl
from winterbourne.local.http_door import HttpDoor
from winterbourne.local.http_server import Exchange, Handler, HttpServer, RequestPolicy
from winterbourne.local.invocation import FunctionError
from winterbourne.local.invoke_api import InvokeApi
from winterbourne.local.metrics import Metrics
from winterbourne.local.metrics_page import MetricsPage
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.rest_api import RestApi
from winterbourne.local.source_files import SourceFiles
from winterbourne.local.stub_services import StubServices
from winterbourne.local.traces import Traces
from winterbourne.local.traces_page import Collector, TracesPage

__all__ = ["Addresses", "FunctionNotStarted", "ServerConfig", "run_server"]

METRICS_PATH: Final = "/__local/metrics"
TRACES_PATH: Final = "/__local/traces"
STDOUT: Final = 1


class FunctionNotStarted(Exception):
    """The function cannot start, or not with all its tools; the message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Configuration of the local server.

    Attributes:
        function: The function to serve; or an application, where the door has a server.
        door: The name of the door.
        base_path: The base path of a custom domain, for the door `rest`.
        host: Address to listen on.
        port: Port of the door; 0 chooses a free one.
        invoke_port: Port of the Invoke API; None disables it.
        concurrency: Maximum number of processes.
        freeze_when_idle: Whether processes are frozen between invocations.
        cors: The function URL's CORS configuration.
        response_limits: Limits of a streamed response.
        use_stub_services: Whether the chat's tools get practice data from stub services.
        collects_traces: Whether the function's traces are collected here, unless it names another collector.
        log_file: File the log is appended to.
        allow_hosts: Further host names that requests may be sent to.
    """

    function: FunctionConfig
    door: str = "url"
    base_path: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    invoke_port: int | None = None
    concurrency: int = 4
    freeze_when_idle: bool = True
    cors: Cors = field(default_factory=Cors)
    response_limits: ResponseLimits = field(default_factory=ResponseLimits)
    use_stub_services: bool = False
    collects_traces: bool = False
    log_file: Path = Path("local.log")
    allow_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Addresses:
    """The URLs the server listens at; `invoke_url` is empty if the Invoke API is not served."""

    url: str
    invoke_url: str


MakeBanner = Callable[[Addresses, list[str]], str]


@contextlib.asynccontextmanager
async def run_server(config: ServerConfig, make_banner: MakeBanner = lambda *_: "") -> AsyncIterator[Addresses]:
    """Run the server until the block ends, then stop everything it started.

    Args:
        config: What to serve, and how.
        make_banner: Makes the first lines of the console from the addresses and the names of the function's tools.

    Raises:
        OSError: An address or the log file is not available; no function process has been started.
        FunctionNotStarted: The function's first process does not start with all its tools.
    """
    metrics, traces = Metrics(), Traces()
    async with contextlib.AsyncExitStack() as stack:
        write_log, close_log = open_log(config.log_file)
        stack.callback(close_log)
        console = LineWriter(STDOUT)
        stack.callback(console.close)
        is_loopback = config.host in {"localhost", "::1"} or config.host.startswith("127.")
        log = FunctionLog(write_log, metrics, console, is_loopback=is_loopback)
        function = await _with_stub_services(config, log.add, stack)
        if config.collects_traces:
            function = await _with_collector(function, traces, stack)
        environments, door, invoke_api = _make(replace(config, function=function), log)
        stack.push_async_callback(environments.stop)
        reload = partial(_reload, environments, SourceFiles(function.task_root), log)
        pages = {
            METRICS_PATH: MetricsPage(metrics, log.requests).handle_request,
            TRACES_PATH: TracesPage(traces).handle_request,
        }
        listen = partial(_listen, stack, RequestPolicy(hosts=config.allow_hosts), config.host)
        url = await listen(config.port, HttpServer(partial(_handle_request, pages, reload, door.handle_request)))
        invoke_url = ""
        if invoke_api:
            stack.push_async_callback(invoke_api.close)
            invoke_server = HttpServer(partial(_handle_request, {}, reload, invoke_api.handle_request))
            invoke_url = await listen(config.invoke_port, invoke_server)
        addresses = Addresses(url + door.root, invoke_url)
        environments.start_environment()
        if error := await environments.initialized(INIT_TIMEOUT_S):
            raise FunctionNotStarted(error.sentence)
        if log.left_out:
            raise FunctionNotStarted("; ".join(log.left_out))
        log.show(make_banner(addresses, log.tools))
        yield addresses


class Environments(Protocol):
    """The processes behind a door."""

    def start_environment(self) -> None:
        """Start one without waiting for a request."""

    def replace_environments(self) -> None:
        """Give the next requests new ones; those that run now end when they have answered."""

    async def initialized(self, timeout_s: float, /) -> FunctionError | None:
        """Wait until the first can serve; returns the error if it failed to start."""

    async def stop(self) -> None:
        """End all of them."""


def _make(
    config: ServerConfig, log: FunctionLog
) -> tuple[Environments, EventDoor | HttpDoor | InvokeApi, InvokeApi | None]:
    """The processes, the door in front of them, and the Invoke API, which a Lambda function has beside its door."""
    function, server_door = config.function, DOORS[config.door].server
    if server_door:
        variables = partial(server_door.variables, function, os.environ)
        servers = AsgiServers(function, variables, server_door.grace_s, log.add)
        door = server_door(servers.connection, timeout_s=function.timeout_s, log_access=log.add_access)
        return servers, door, None
    make_environment = partial(
        ExecutionEnvironment, function, config.response_limits, freeze_when_idle=config.freeze_when_idle
    )
    pool = EnvironmentPool(make_environment, 1 if function.managed_instances else config.concurrency, log.add)
    invoke_api = InvokeApi(function.name, pool.invoke)
    if config.door == "invoke":
        return pool, invoke_api, invoke_api
    if config.door == "rest":
        return pool, RestApi(pool.invoke, log_access=log.add_access, base_path=config.base_path), invoke_api
    return pool, FunctionUrl(pool.invoke, log_access=log.add_access, cors=config.cors), invoke_api


async def _handle_request(
    pages: Mapping[str, Handler], reload: Callable[[], None], handler: Handler, exchange: Exchange
) -> None:
    """Answer with one of the server's own pages, by path; or as the door does."""
    if page := pages.get(exchange.target.partition("?")[0]):
        await page(exchange)
    else:
        reload()
        await handler(exchange)


def _reload(environments: Environments, files: SourceFiles, log: FunctionLog) -> None:
    """Start new processes if the function's files have changed."""
    if changed := files.changed():
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        log.print(f"{changed[0]}{more} changed: starting the function anew")
        environments.replace_environments()


async def _listen(
    stack: contextlib.AsyncExitStack, policy: RequestPolicy, host: str, port: int | None, server: HttpServer
) -> str:
    """Listen until the stack is closed. Returns the URL, or an empty string if `port` is None."""
    if port is None:
        return ""
    stack.push_async_callback(server.close)
    await server.listen(host, port, policy)
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
    await stack.enter_async_context(stub_services.server)
    await stub_services.server.listen("127.0.0.1")
    return replace(config.function, variables={**stub_services.settings, **config.function.variables})


async def _with_collector(function: FunctionConfig, traces: Traces, stack: contextlib.AsyncExitStack) -> FunctionConfig:
    """The function, configured to export its traces to a collector that is started here."""
    collector = HttpServer(Collector(traces).handle_request)
    await stack.enter_async_context(collector)
    await collector.listen("127.0.0.1")
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": _base_url("127.0.0.1", collector.port)}
    return replace(function, variables={**endpoint, **function.variables})
