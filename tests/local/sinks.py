"""Helpers for tests of the local server: a collecting sink, and an environment pool of real function processes."""

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
class RecordingSink:
    """A sink that records all calls."""

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
    """The configuration of a function that runs functions/raw.py."""
    given = {"task_root": RAW.parent, "handler": "raw", "wrapper": "", "bootstrap": str(RAW), **changes}
    return FunctionConfig(**given)


@dataclass
class RunningPool:
    """A running environment pool and its log; call it to run an invocation."""

    pool: EnvironmentPool
    log: list[str]
    environments: list[ExecutionEnvironment]

    def invocation(self, do: str, **event: Any) -> Invocation:
        return Invocation(payload=json.dumps({"do": do, **event}).encode(), sink=RecordingSink())

    async def __call__(self, do: str, **event: Any) -> RecordingSink:
        return await self.run(self.invocation(do, **event))

    async def run(self, invocation: Invocation) -> RecordingSink:
        await self.pool.invoke(invocation)
        assert isinstance(invocation.sink, RecordingSink)
        return invocation.sink

    async def surroundings(self) -> dict[str, Any]:
        return dict(json.loads((await self("surroundings")).body))


@contextlib.asynccontextmanager
async def running_pool(
    function: FunctionConfig | None = None,
    *,
    size: int = 4,
    freeze_when_idle: bool = True,
    response_limits: ResponseLimits | None = None,
) -> AsyncIterator[RunningPool]:
    """An environment pool of real processes, stopped when the block ends."""
    log: list[str] = []
    environments: list[ExecutionEnvironment] = []

    def make(number: int, callbacks: EnvironmentCallbacks) -> ExecutionEnvironment:
        environments.append(
            ExecutionEnvironment(
                function or raw_function(),
                response_limits or ResponseLimits(),
                number,
                callbacks,
                freeze_when_idle=freeze_when_idle,
            )
        )
        return environments[-1]

    made = EnvironmentPool(make, size, log.append)
    try:
        yield RunningPool(made, log, environments)
    finally:
        await made.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until another process has met the condition."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.005)
