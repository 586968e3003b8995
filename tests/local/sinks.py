"""What the tests of the local server put behind an invocation, and the function process they start."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winterbourne.local.environment_pool import EnvironmentPool
from winterbourne.local.execution_environment import EnvironmentCallbacks, ExecutionEnvironment
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.response_limits import ResponseLimits

RAW = Path(__file__).parent / "functions" / "raw.py"


@dataclass
class Kept:
    """A sink that keeps what it hears."""

    began: tuple[str, bool] | None = None
    chunks: list[bytes] = field(default_factory=list)
    error: FunctionError | None = None
    ends: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        self.began = (content_type, streaming)

    async def write(self, data: bytes) -> None:
        self.chunks.append(data)
        self.arrived.set()

    async def finish(self, error: FunctionError | None) -> None:
        self.error, self.ends = error, self.ends + 1

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def raw_function(**changes: Any) -> FunctionConfig:
    """The process of functions/raw.py."""
    given = {"task_root": RAW.parent, "handler": "raw", "wrapper": "", "bootstrap": str(RAW), **changes}
    return FunctionConfig(**given)


@dataclass
class Run:
    """A fleet at work: its log, and how to ask it something."""

    fleet: EnvironmentPool
    log: list[str]
    sandboxes: list[ExecutionEnvironment]

    def invocation(self, do: str, **event: Any) -> Invocation:
        return Invocation(payload=json.dumps({"do": do, **event}).encode(), sink=Kept())

    async def __call__(self, do: str, **event: Any) -> Kept:
        return await self.run(self.invocation(do, **event))

    async def run(self, invocation: Invocation) -> Kept:
        await self.fleet.invoke(invocation)
        assert isinstance(invocation.sink, Kept)
        return invocation.sink

    async def surroundings(self) -> dict[str, Any]:
        return dict(json.loads((await self("surroundings")).body))


@contextlib.asynccontextmanager
async def fleet(
    function: FunctionConfig | None = None, *, size: int = 4, freezes: bool = True, shape: ResponseLimits | None = None
) -> AsyncIterator[Run]:
    """A fleet of real processes, gone when the block ends."""
    log: list[str] = []
    sandboxes: list[ExecutionEnvironment] = []

    def make(number: int) -> ExecutionEnvironment:
        listener = EnvironmentCallbacks(made.on_ready, made.on_unavailable, log.append)
        sandboxes.append(
            ExecutionEnvironment(
                number, function or raw_function(), shape or ResponseLimits(), listener, freeze_when_idle=freezes
            )
        )
        return sandboxes[-1]

    made = EnvironmentPool(make, size, log.append)
    try:
        yield Run(made, log, sandboxes)
    finally:
        await made.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process is about to do."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.005)
