"""Pool of execution environments that scales with the concurrent requests, up to a limit.

Lambda gives every concurrent request its own environment. So does this pool, up to `max_size`; further requests are
queued, because the limit here is a laptop and not a quota.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from itertools import count

from winterbourne.local.execution_environment import EnvironmentCallbacks, ExecutionEnvironment
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.tasks import cancel_all

__all__ = ["EnvironmentPool"]

MakeEnvironment = Callable[[int, EnvironmentCallbacks], ExecutionEnvironment]


class EnvironmentPool:
    """Dispatches invocations to idle environments and starts new environments on demand.

    Args:
        make_environment: Creates an environment from its number and callbacks.
        max_size: Maximum number of environments.
        log: Gets the records of all environments, and a line when a request has to wait.
    """

    def __init__(self, make_environment: MakeEnvironment, max_size: int, log: Callable[[str], None]) -> None:
        self._make_environment, self._max_size, self._log = make_environment, max_size, log
        self._callbacks = EnvironmentCallbacks(self.on_ready, self.on_unavailable, log)
        self._numbers = count(1)
        self._tasks: dict[ExecutionEnvironment, asyncio.Task[None]] = {}
        self._starting: set[ExecutionEnvironment] = set()
        self._idle: list[ExecutionEnvironment] = []
        self._retiring: set[ExecutionEnvironment] = set()
        self._pending: deque[Invocation] = deque()
        self._outdated: set[ExecutionEnvironment] = set()
        self._init_ended = asyncio.Event()
        self._init_error: FunctionError | None = None

    def start_environment(self) -> None:
        """Start one environment without waiting for a request."""
        environment = self._make_environment(next(self._numbers), self._callbacks)
        self._starting.add(environment)
        self._tasks[environment] = asyncio.get_running_loop().create_task(self._run_environment(environment))

    async def initialized(self, timeout_s: float) -> FunctionError | None:
        """Wait until the first environment can take an invocation; returns the error if it failed to start."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._init_ended.wait(), timeout_s)
        return self._init_error

    def replace_environments(self) -> None:
        """Give the next invocations new environments; those that run now end when they have answered."""
        current = self._tasks.keys() - self._outdated
        self._outdated |= current
        self._starting.clear()
        self._idle.clear()
        for environment in current:
            self._end_if_outdated(environment)

    async def invoke(self, invocation: Invocation) -> None:
        """Run an invocation; returns when its response is complete or it has failed. Its sink is told of either."""
        self._pending.append(invocation)
        self._dispatch()
        if len(self._pending) > len(self._starting):
            self._log(f"A request is waiting: all environments are busy, and the limit is {self._max_size}.")
        await invocation.response_done.wait()

    async def stop(self) -> None:
        """Stop every environment, including frozen ones, and wait until their processes have exited."""
        self._max_size = 0
        self._pending.clear()
        await cancel_all(self._tasks.values())

    def on_ready(self, environment: ExecutionEnvironment) -> None:
        """An environment can take one more invocation. If none is pending, the environment is frozen."""
        self._init_ended.set()
        self._starting.discard(environment)
        self._retiring.discard(environment)
        if self._end_if_outdated(environment):
            return
        self._idle.append(environment)
        self._dispatch()
        if environment in self._idle:
            environment.freeze()

    def on_unavailable(self, environment: ExecutionEnvironment) -> None:
        """An environment that had reported ready can take one invocation fewer: it retires, so it gets a successor."""
        if environment in self._idle:
            self._idle.remove(environment)
            self._retiring.add(environment)
            self._dispatch()

    def _dispatch(self) -> None:
        while self._pending and self._idle:
            self._idle.pop().dispatch(self._pending.popleft())
        while len(self._starting) < len(self._pending) and len(self._current()) < self._max_size:
            self.start_environment()

    def _current(self) -> set[ExecutionEnvironment]:
        """Those that still take invocations."""
        return self._tasks.keys() - self._retiring - self._outdated

    def _end_if_outdated(self, environment: ExecutionEnvironment) -> bool:
        if environment in self._outdated and not environment.in_flight:
            self._tasks[environment].cancel()
        return environment in self._outdated

    async def _run_environment(self, environment: ExecutionEnvironment) -> None:
        """Run one environment to its end. If it failed to start, the oldest pending request fails with the reason."""
        try:
            error = await environment.run()
        finally:
            del self._tasks[environment]
            for group in (self._starting, self._retiring, self._outdated):
                group.discard(environment)
            self._idle = [other for other in self._idle if other is not environment]
        if not self._init_ended.is_set():
            self._init_error = error
            self._init_ended.set()
        if error is not None and self._pending:
            invocation = self._pending.popleft()
            await invocation.finish(error)
            invocation.runtime_done.set()  # it was never dispatched, so no environment sets this
        self._dispatch()
