"""The context of a tool call, requested by type: `async def my_tool(city: str, context: ToolContext)`.

asyncio and httpx are imported on first use: a tool in a process of its own may need neither.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.results import encode

if TYPE_CHECKING:
    from winterbourne.chat.http_library import httpx
    from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["HttpClients", "Report", "ToolContext"]

T = TypeVar("T")

Report: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Sends progress, as JSON text."""


def _shared_client() -> "httpx.AsyncClient":
    from winterbourne.chat.infra import http_pool  # noqa: PLC0415 - needs httpx

    return http_pool.client()


def _shared_sync_client() -> "httpx.Client":
    from winterbourne.chat.infra import http_pool  # noqa: PLC0415 - needs httpx

    return http_pool.sync_client()


class HttpClients(msgspec.Struct, frozen=True):
    """Functions that return the HTTP clients for tools, so that a client is created only on first use."""

    asynchronous: "Callable[[], httpx.AsyncClient]" = _shared_client
    synchronous: "Callable[[], httpx.Client]" = _shared_sync_client


class ToolContext:
    """The context of one run of a tool: what a parameter of this type is given.

    Attributes:
        request_id: The id of the invocation that the call belongs to, as in the log.
        deadline: When the tool is stopped, on the event loop's clock, in seconds; `remaining_s` is easier to use.
        patience: When the tool's own timeout expires, on the same clock; later than `deadline` if the turn ends first.
        idempotency_key: For a tool with `once`: what a call has in common with every repetition of it, for a service
            that takes such a key; else empty.
        input_response: For a call that has raised `InputRequired`: its state, and what a person has filled in.
        takes_forms: Whether a person can be asked to fill in a form.
        has_failed: Whether an earlier attempt of this call, which is retried, has failed.
    """

    def __init__(
        self,
        *,
        request_id: str = "",
        idempotency_key: str = "",
        input_response: tuple[str, dict[str, Any]] | None = None,
        takes_forms: bool = False,
        caller: str | None = "",
        deadline: float = float("inf"),
        patience: float = float("inf"),
        max_progress_bytes: int = 32 * 1024,
        clients: HttpClients | None = None,
        keys: ToolKeys | None = None,
        threads: "ThreadPool | None" = None,
        report: Report | None = None,
        send_stop: Callable[[str], Awaitable[None]] | None = None,
        tool: str = "",
        wait: Callable[[Coroutine[Any, Any, Any]], Any] | None = None,
    ) -> None:
        self.request_id = request_id
        self.idempotency_key = idempotency_key
        self.input_response = input_response
        self.takes_forms = takes_forms
        self.has_failed = False
        self.deadline = deadline
        self.patience = patience
        self._send_stop = send_stop  # for `remote_tool` alone
        self._caller = caller
        self._max_progress_bytes = max_progress_bytes
        self._clients = clients or HttpClients()
        self._keys = keys or ToolKeys({})
        self._threads = threads
        self._report = report
        self._tool = tool
        self._wait, self._now = wait, time.monotonic
        if wait is None:
            import asyncio  # noqa: PLC0415 - see above

            self._loop = asyncio.get_running_loop()
            self._now = self._loop.time

    @property
    def caller(self) -> str:
        """The id of who made the request, as the authentication scheme gives it; empty if unknown.

        Raises:
            InvalidToolDeclaration: All callers share the tool's results (`cache_per_caller=False`), so that the tool
                must not depend on the caller.
        """
        if self._caller is None:
            raise InvalidToolDeclaration("a tool with cache_per_caller=False must not read its caller")
        return self._caller

    @property
    def http(self) -> "httpx.AsyncClient":
        """The shared HTTP client for async tools, with retries and HTTP_TIMEOUT; never close it."""
        return self._clients.asynchronous()

    @property
    def sync_http(self) -> "httpx.Client":
        """The shared HTTP client for synchronous tools, with the same limits and timeouts; never close it."""
        return self._clients.synchronous()

    @property
    def remaining_s(self) -> float:
        """Seconds until the tool is stopped; never below 0."""
        return max(0.0, self.deadline - self._now())

    async def key(self, name: str) -> str:
        """A key, from the environment variable of its name or, if `NAME_SECRET_ARN` is set, from that secret.

        Args:
            name: The variable's name, as in the tool's option `keys`.

        Raises:
            InvalidToolDeclaration: The tool does not declare it in `keys`.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        return await self._keys.key(name)

    def setting(self, name: str) -> str:
        """A setting, or another variable, that is no secret.

        Args:
            name: The variable's name, as in the tool's option `needs`.

        Returns:
            Its value as text, numbers too.

        Raises:
            InvalidToolDeclaration: The tool does not declare it in `needs`, or it is a secret.
        """
        return self._keys.setting(name)

    async def progress(self, data: Any) -> None:
        """Send progress to the client; the model does not see it.

        Args:
            data: Anything that can be encoded as JSON; cut at TOOL_MAX_RESULT_BYTES.

        At most 20 messages and 64 KB a second are sent; of what is reported faster, the latest. Always yields to other
        tasks, so that no tool can monopolize the loop.

        Raises:
            ToolError: `data` cannot be encoded as JSON.
        """
        if self._report is not None:
            await self._report(encode(data, self._max_progress_bytes))
        if self._wait is None:
            import asyncio  # noqa: PLC0415 - see above

            await asyncio.sleep(0)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await from a synchronous tool: `context.wait(context.progress(50))`, `context.wait(context.key("SOME_KEY"))`.

        The coroutine runs in the event loop and blocks the tool's thread meanwhile.

        Returns:
            What the coroutine returns.

        Raises:
            InvalidToolDeclaration: The tool is async, and would block the loop that the coroutine needs.
            Exception: What the coroutine raises.
        """
        if self._wait:
            return cast("T", self._wait(coroutine))
        import asyncio  # noqa: PLC0415 - see above

        with contextlib.suppress(RuntimeError):  # there is no running loop in a tool's thread
            if asyncio.get_running_loop() is self._loop:
                coroutine.close()
                raise InvalidToolDeclaration("an async tool must not call context.wait: use await")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a blocking function in the thread pool, with this task's context variables, and await it.

        Args:
            function: Takes no arguments: `lambda: parse(text)`.

        Returns:
            What the function returns; what it raises is raised.

        Raises:
            ToolUnavailable: Too many threads of this tool's earlier calls, or of all tools', still hang.

        Cancellation:
            Returns at once; the thread cannot be stopped and is abandoned.
        """
        from winterbourne.chat.tool_runtime.threads import ThreadPool  # noqa: PLC0415 - needs asyncio

        self._threads = self._threads or ThreadPool()
        return await self._threads.run(function, self._tool)
