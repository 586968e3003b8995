"""The execution environments of one function: as many as there are requests at once, up to a limit.

Lambda gives every concurrent request an environment of its own. So do we, up to `size`; beyond it requests wait
their turn, since what limits us is a laptop and not a quota.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from winterbourne.local.invocation import Invocation
from winterbourne.local.sandbox import Sandbox

__all__ = ["Fleet"]


class Fleet:
    """Gives invocations to environments, and starts environments.

    Args:
        make: Makes environment number n; its listener's `ready` and `withdrawn` are this fleet's.
        size: Environments at most.
        log: Is told when a request has to wait.
    """

    def __init__(self, make: Callable[[int], Sandbox], size: int, log: Callable[[str], None]) -> None:
        self._make, self._size, self._log = make, size, log
        self._made = 0
        self._alive: dict[Sandbox, asyncio.Task[None]] = {}
        self._starting: set[Sandbox] = set()
        self._idle: list[Sandbox] = []
        self._pending: deque[Invocation] = deque()

    def start(self) -> None:
        """Start one environment ahead of the first request."""
        sandbox = self._make(self._made + 1)
        self._made += 1
        self._starting.add(sandbox)
        self._alive[sandbox] = asyncio.get_running_loop().create_task(self._live(sandbox))

    async def invoke(self, invocation: Invocation) -> None:
        """Run an invocation; returns when its response is complete, or it failed. Its sink hears of either."""
        self._pending.append(invocation)
        self._dispatch()
        if len(self._pending) > len(self._starting):
            self._log(f"A request waits: all environments are busy, and there may be {self._size} at most.")
        await invocation.over.wait()

    async def stop(self) -> None:
        """End every environment, frozen ones too, and wait until they are gone."""
        self._size = 0
        self._pending.clear()
        tasks = list(self._alive.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ready(self, sandbox: Sandbox) -> None:
        """An environment can take one invocation more."""
        self._starting.discard(sandbox)
        self._idle.append(sandbox)
        self._dispatch()
        if sandbox in self._idle:
            sandbox.rest()

    def withdrawn(self, sandbox: Sandbox) -> None:
        """An environment that said it was ready can take one invocation less."""
        if sandbox in self._idle:
            self._idle.remove(sandbox)

    # Private methods

    def _dispatch(self) -> None:
        while self._pending and self._idle:
            self._idle.pop().give(self._pending.popleft())
        while len(self._starting) < len(self._pending) and len(self._alive) < self._size:
            self.start()

    async def _live(self, sandbox: Sandbox) -> None:
        """One environment's life. If it never started, the request that waits longest has the reason for its answer."""
        try:
            error = await sandbox.run()
        finally:
            del self._alive[sandbox]
            self._starting.discard(sandbox)
            self._idle = [other for other in self._idle if other is not sandbox]
        if error is not None and self._pending:
            invocation = self._pending.popleft()
            await invocation.finish(error)
            invocation.settled.set()  # it never had an environment that could say so
        self._dispatch()
