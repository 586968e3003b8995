"""The execution environments of one function: as many as there are requests at once, up to a limit.

Lambda gives every concurrent request an environment of its own. So do we, up to `size`; beyond it requests wait
their turn, since what limits us is a laptop and not a quota.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from winterbourne.local.execution_environment import ExecutionEnvironment
from winterbourne.local.invocation import Invocation

__all__ = ["EnvironmentPool"]


class EnvironmentPool:
    """Gives invocations to environments, and starts environments.

    Args:
        make: Makes environment number n; its listener's `ready` and `withdrawn` are this fleet's.
        size: Environments at most.
        log: Is told when a request has to wait.
    """

    def __init__(
        self, make_environment: Callable[[int], ExecutionEnvironment], max_size: int, log: Callable[[str], None]
    ) -> None:
        self._make_environment, self._max_size, self._log = make_environment, max_size, log
        self._created_count = 0
        self._tasks: dict[ExecutionEnvironment, asyncio.Task[None]] = {}
        self._starting: set[ExecutionEnvironment] = set()
        self._idle: list[ExecutionEnvironment] = []
        self._pending: deque[Invocation] = deque()

    def start_environment(self) -> None:
        """Start one environment ahead of the first request."""
        environment = self._make_environment(self._created_count + 1)
        self._created_count += 1
        self._starting.add(environment)
        self._tasks[environment] = asyncio.get_running_loop().create_task(self._run_environment(environment))

    async def invoke(self, invocation: Invocation) -> None:
        """Run an invocation; returns when its response is complete, or it failed. Its sink hears of either."""
        self._pending.append(invocation)
        self._dispatch()
        if len(self._pending) > len(self._starting):
            self._log(f"A request waits: all environments are busy, and there may be {self._max_size} at most.")
        await invocation.response_done.wait()

    async def stop(self) -> None:
        """End every environment, frozen ones too, and wait until they are gone."""
        self._max_size = 0
        self._pending.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def on_ready(self, environment: ExecutionEnvironment) -> None:
        """An environment can take one invocation more."""
        self._starting.discard(environment)
        self._idle.append(environment)
        self._dispatch()
        if environment in self._idle:
            environment.freeze()

    def on_unavailable(self, environment: ExecutionEnvironment) -> None:
        """An environment that said it was ready can take one invocation less."""
        if environment in self._idle:
            self._idle.remove(environment)

    def _dispatch(self) -> None:
        while self._pending and self._idle:
            self._idle.pop().dispatch(self._pending.popleft())
        while len(self._starting) < len(self._pending) and len(self._tasks) < self._max_size:
            self.start_environment()

    async def _run_environment(self, environment: ExecutionEnvironment) -> None:
        """One environment's life. If it never started, the request that waits longest has the reason for its answer."""
        try:
            error = await environment.run()
        finally:
            del self._tasks[environment]
            self._starting.discard(environment)
            self._idle = [other for other in self._idle if other is not environment]
        if error is not None and self._pending:
            invocation = self._pending.popleft()
            await invocation.finish(error)
            invocation.runtime_done.set()  # it never had an environment that could say so
        self._dispatch()
