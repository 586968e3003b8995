"""Everything that one `python -m local` runs, put together, started and stopped."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local.cors import Cors
from local.environment import Function
from local.fleet import Fleet
from local.function_url import FunctionUrl
from local.invoke_api import InvokeApi
from local.metrics import Metrics
from local.metrics_page import MetricsPage
from local.sandbox import Listener, Sandbox
from local.shaping import Shape

__all__ = ["Addresses", "Plan", "running"]

METRICS_PATH: Final = "/__local/metrics"


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
    with plan.log.open("a", encoding="utf-8", buffering=1) as log:
        metrics = Metrics()
        page = MetricsPage(metrics)
        fleet = _fleet(plan, _recorder(metrics, _to(log.write)))
        url = FunctionUrl(
            fleet.invoke, cors=plan.cors, report=_reporter(page, _to(log.write)), pages={METRICS_PATH: page.answer}
        )
        invoke = InvokeApi(plan.function.name, fleet.invoke)
        try:
            await url.server.listen(plan.host, plan.port)
            if plan.invoke_port is not None:
                await invoke.server.listen(plan.host, plan.invoke_port)
            fleet.start()
            yield Addresses(
                f"http://{plan.host}:{url.server.port}",
                f"http://{plan.host}:{invoke.server.port}" if plan.invoke_port is not None else "",
            )
        finally:
            await url.server.close()
            await invoke.close()
            await fleet.stop()


def _fleet(plan: Plan, record: Callable[[str], None]) -> Fleet:
    def make(number: int) -> Sandbox:
        return Sandbox(number, plan.function, plan.shape, Listener(fleet.ready, record), freezes=plan.freezes)

    fleet = Fleet(make, 1 if plan.function.managed_instances else plan.concurrency)
    return fleet


def _recorder(metrics: Metrics, log: Callable[[str], None]) -> Callable[[str], None]:
    """A record of the function's log: to the file all of it, to the screen what is for people."""

    def record(text: str) -> None:
        log(text)
        if not metrics.read(text) and not text.startswith(("START ", "END ", "REPORT ")):
            print(text, flush=True)  # noqa: T201 - the screen is where the log is shown

    return record


def _reporter(page: MetricsPage, log: Callable[[str], None]) -> Callable[[str], None]:
    def report(line: str) -> None:
        log(line)
        page.add_request(line)
        print(line, flush=True)  # noqa: T201 - one line per request on the screen

    return report


def _to(write: Callable[[str], int]) -> Callable[[str], None]:
    def line(text: str) -> None:
        write(text + "\n")

    return line
