"""Everything that one `python -m winterbourne.local` runs, put together, started and stopped."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TextIO

from winterbourne.local.cors import Cors
from winterbourne.local.environment import Function
from winterbourne.local.environment_pool import Fleet
from winterbourne.local.function_url import FunctionUrl
from winterbourne.local.http_server import Server
from winterbourne.local.invoke_api import InvokeApi
from winterbourne.local.logs import for_people
from winterbourne.local.metrics import Metrics
from winterbourne.local.metrics_page import MetricsPage
from winterbourne.local.response_limits import Shape
from winterbourne.local.sandbox import Listener, Sandbox
from winterbourne.local.stub_services import Practice

__all__ = ["Addresses", "Plan", "running"]

METRICS_PATH: Final = "/__local/metrics"
PLATFORM: Final = tuple(f"{word} RequestId: " for word in ("START", "END", "FAILED", "REPORT"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to run.

    Args:
        function: The function.
        host: Address to listen on.
        port: Port of the function URL; 0 takes a free one.
        invoke_port: Port of the invoke API; None serves none.
        concurrency: Processes at most.
        freezes: Whether processes stand still between invocations.
        cors: The URL's CORS configuration.
        shape: Limits of a streamed response.
        practice: Whether the chat's tools get practice data.
        log: File the log is appended to.
    """

    function: Function
    host: str = "127.0.0.1"
    port: int = 0
    invoke_port: int | None = None
    concurrency: int = 4
    freezes: bool = True
    cors: Cors = field(default_factory=Cors)
    shape: Shape = field(default_factory=Shape)
    practice: bool = False
    log: Path = Path("local.log")


@dataclass(frozen=True)
class Addresses:
    """Where it listens; `invoke_url` is empty where no invoke API is served."""

    url: str
    invoke_url: str


@contextlib.asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[Addresses]:
    """Run it all while the block lasts. When it ends, nothing that was started here is left.

    Raises:
        OSError: An address or the log cannot be had; nothing has been started.
    """
    metrics = Metrics()
    page = MetricsPage(metrics)
    async with contextlib.AsyncExitStack() as stack:
        write = _writer(stack.enter_context(plan.log.open("a", encoding="utf-8", buffering=1)))
        record = _recorder(metrics, write)
        fleet = _fleet(plan, await _function(plan, record, stack), record)
        stack.push_async_callback(fleet.stop)
        report = _reporter(page, write)
        url = FunctionUrl(fleet.invoke, cors=plan.cors, report=report, pages={METRICS_PATH: page.answer})
        invoke = InvokeApi(plan.function.name, fleet.invoke)
        addresses = Addresses(
            await _listen(stack, url.server, plan.host, plan.port),
            await _listen(stack, invoke.server, plan.host, plan.invoke_port),
        )
        stack.push_async_callback(invoke.close)
        fleet.start()
        yield addresses


async def _listen(stack: contextlib.AsyncExitStack, server: Server, host: str, port: int | None) -> str:
    """Listen until the stack ends; the address, empty where there is no port to listen on."""
    if port is None:
        return ""
    stack.push_async_callback(server.close)
    await server.listen(host, port)
    return _url(host, server.port)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _function(plan: Plan, record: Callable[[str], None], stack: contextlib.AsyncExitStack) -> Function:
    """The function with its way to the practice data, if it shall have them. What the user has set goes first."""
    if not plan.practice:
        return plan.function
    practice = Practice(record)
    await _listen(stack, practice.server, "127.0.0.1", 0)
    return replace(plan.function, variables={**practice.settings, **plan.function.variables})


def _fleet(plan: Plan, function: Function, record: Callable[[str], None]) -> Fleet:
    def make(number: int) -> Sandbox:
        listener = Listener(fleet.ready, fleet.withdrawn, record)
        return Sandbox(number, function, plan.shape, listener, freezes=plan.freezes)

    fleet = Fleet(make, 1 if function.managed_instances else plan.concurrency, record)
    return fleet


def _recorder(metrics: Metrics, log: Callable[[str], None]) -> Callable[[str], None]:
    """A record of the function's log: to the file all of it, to the screen what is for people."""

    def record(text: str) -> None:
        log(text)
        if not metrics.read(text) and not text.startswith(PLATFORM):
            _show(for_people(text))

    return record


def _reporter(page: MetricsPage, log: Callable[[str], None]) -> Callable[[str], None]:
    def report(line: str) -> None:
        log(line)
        page.add_request(line)
        _show(line)

    return report


def _show(text: str) -> None:
    # When nobody looks at the screen any more (`| head`), requests are answered all the same; the file has it all.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)  # noqa: T201 - the screen is where it belongs


def _writer(file: TextIO) -> Callable[[str], None]:
    def line(text: str) -> None:
        file.write(text + "\n")

    return line
