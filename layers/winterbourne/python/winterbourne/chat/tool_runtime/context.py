"""What a tool may know of its call: asked for by type, `async def my_tool(city: str, context: ToolContext)`."""

import asyncio
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
    """Where tools get their HTTP clients from: functions, so that a client is made when first used."""

    asynchronous: Callable[[], httpx.AsyncClient] = http_pool.client
    synchronous: Callable[[], httpx.Client] = http_pool.sync_client


class ToolContext:
    """One run of a tool.

    Attributes:
        request_id: Of the invocation the call belongs to.
        deadline: When the tool is stopped, on the event loop's clock, in seconds.
        patience: When the tool has had all the time it is given; later than `deadline` if the turn ends before.
    """

    __slots__ = (
        "_caller",
        "_clients",
        "_keys",
        "_loop",
        "_max_progress_bytes",
        "_report",
        "_threads",
        "deadline",
        "patience",
        "request_id",
    )

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
        """Who asks; empty where nobody is known.

        Raises:
            ToolMisdeclared: All callers share the tool's results (`cache_per_caller=False`), so none may be known.
        """
        if self._caller is None:
            raise InvalidToolDeclaration("a tool with cache_per_caller=False may not ask who its caller is")
        return self._caller

    @property
    def http(self) -> httpx.AsyncClient:
        """The shared client, for async tools."""
        return self._clients.asynchronous()

    @property
    def sync_http(self) -> httpx.Client:
        """The shared client for synchronous tools, with the same limits and timeouts."""
        return self._clients.synchronous()

    @property
    def remaining_s(self) -> float:
        """Seconds until the tool is stopped."""
        return max(0.0, self.deadline - self._loop.time())

    async def key(self, name: str) -> str:
        """A key by the name of its variable, from the secret `NAME_SECRET_ARN` where there is one.

        Raises:
            ToolMisdeclared: The tool does not say that it `needs` it.
            SettingsError: Its secret cannot be read.
        """
        return await self._keys.key(name)

    def setting(self, name: str) -> str:
        """A setting that is no secret, by the name of its variable; numbers as text.

        Raises:
            ToolMisdeclared: The tool does not say that it `needs` it, or it is a secret.
        """
        return self._keys.setting(name)

    async def progress(self, data: Any) -> None:
        """Tell the client how far the tool is; `data` is anything that can be written as JSON.

        Waits while the client reads too slowly, and always lets others run, so that no tool can flood the loop.

        Raises:
            ToolError: `data` cannot be written as JSON.
        """
        if self._report is not None:
            await self._report(encode(data, self._max_progress_bytes))
        await asyncio.sleep(0)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """For synchronous tools: `context.wait(context.progress(50))`, `context.wait(context.key("SOME_KEY"))`.

        Runs in the event loop and blocks the tool's thread meanwhile; never call it in the loop.

        Raises:
            Exception: What the coroutine raises.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking function in a thread of the pool, with this task's context variables.

        Cancellation: returns at once; the thread cannot be stopped and is abandoned.
        """
        return await self._threads.run(function)
