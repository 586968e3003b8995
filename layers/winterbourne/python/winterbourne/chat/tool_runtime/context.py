"""The context of a tool call, requested by type: `async def my_tool(city: str, context: ToolContext)`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import httpx
import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.infra import http_pool
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.results import encode
from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["HttpClients", "ToolContext"]

T = TypeVar("T")


class HttpClients(msgspec.Struct, frozen=True):
    """Functions that return the HTTP clients for tools, so that a client is created only on first use."""

    asynchronous: Callable[[], httpx.AsyncClient] = http_pool.client
    synchronous: Callable[[], httpx.Client] = http_pool.sync_client


class ToolContext:
    """The context of one run of a tool.

    Attributes:
        request_id: Of the invocation that the call belongs to.
        deadline: When the tool is stopped, on the event loop's clock, in seconds.
        patience: When the tool's own timeout expires, on the same clock; later than `deadline` if the turn ends first.
    """

    def __init__(
        self,
        *,
        request_id: str = "",
        caller: str | None = "",
        deadline: float = float("inf"),
        patience: float = float("inf"),
        max_progress_bytes: int = 32 * 1024,
        clients: HttpClients | None = None,
        keys: ToolKeys | None = None,
        threads: ThreadPool | None = None,
        report: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.request_id = request_id
        self.deadline = deadline
        self.patience = patience
        self._caller = caller
        self._max_progress_bytes = max_progress_bytes
        self._clients = clients or HttpClients()
        self._keys = keys or ToolKeys({})
        self._threads = threads or ThreadPool()
        self._report = report
        self._loop = asyncio.get_running_loop()

    @property
    def caller(self) -> str:
        """Who made the request; empty if unknown.

        Raises:
            InvalidToolDeclaration: All callers share the tool's results (`cache_per_caller=False`), so that the tool
                must not depend on the caller.
        """
        if self._caller is None:
            raise InvalidToolDeclaration("a tool with cache_per_caller=False must not read its caller")
        return self._caller

    @property
    def http(self) -> httpx.AsyncClient:
        """The shared HTTP client for async tools."""
        return self._clients.asynchronous()

    @property
    def sync_http(self) -> httpx.Client:
        """The shared HTTP client for synchronous tools, with the same limits and timeouts."""
        return self._clients.synchronous()

    @property
    def remaining_s(self) -> float:
        """Seconds until the tool is stopped."""
        return max(0.0, self.deadline - self._loop.time())

    async def key(self, name: str) -> str:
        """A key by the name of its variable, read from the secret `NAME_SECRET_ARN` if that is set.

        Raises:
            InvalidToolDeclaration: The tool does not declare it in `keys`.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        return await self._keys.key(name)

    def setting(self, name: str) -> str:
        """A setting, or another variable, that is not a secret, by the variable's name; numbers as text.

        Raises:
            InvalidToolDeclaration: The tool does not declare it in `needs`, or it is a secret.
        """
        return self._keys.setting(name)

    async def progress(self, data: Any) -> None:
        """Send progress to the client; `data` is anything that can be encoded as JSON.

        Waits while the client reads too slowly (backpressure), and always yields to other tasks, so that no tool can
        monopolize the loop.

        Raises:
            ToolError: `data` cannot be encoded as JSON.
        """
        if self._report is not None:
            await self._report(encode(data, self._max_progress_bytes))
        await asyncio.sleep(0)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await from a synchronous tool: `context.wait(context.progress(50))`, `context.wait(context.key("SOME_KEY"))`.

        The coroutine runs in the event loop and blocks the tool's thread meanwhile.

        Raises:
            InvalidToolDeclaration: The tool is async, and would block the loop that the coroutine needs.
            Exception: What the coroutine raises.
        """
        with contextlib.suppress(RuntimeError):  # there is no running loop in a tool's thread
            if asyncio.get_running_loop() is self._loop:
                coroutine.close()
                raise InvalidToolDeclaration("an async tool must not call context.wait: use await")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking function in the thread pool, with this task's context variables.

        Cancellation:
            Returns at once; the thread cannot be stopped and is abandoned.
        """
        return await self._threads.run(function)
