"""HTTP connection pool of the process: one shared async httpx client, and a sync one for tools that run in threads.

Both are created on first use and live as long as the process; no other module constructs a client. They share
connections but no state: cookies are ignored. Responses are decompressed with bounded memory, by a hook of the clients
that costs a response without compression one lookup.

A connection that the peer closed in the meantime must never fail a request. Four measures ensure this: an idle
connection is dropped when its close is seen; after KEEPALIVE_EXPIRY_S of wall clock without a request the transport is
replaced, since a peer or a NAT gateway may have dropped its connections unnoticed while the process was frozen; a
connection breaks if the peer's kernel does not acknowledge data for UNACKNOWLEDGED_MS, however long the peer may take
to answer what it has acknowledged; and a request that is safe to repeat is sent once more if its connection died before
any of the response arrived. A request is safe to repeat if its body is in memory and its method is idempotent or it has
the httpx extension `repeatable`. Requests that a server could not take are repeated by
`http_retry`, around these transports.

The async client sends over `http_transport`, or by httpx's own transport through a proxy that the environment names for
a URL (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY; none for NEVER_PROXIED), as the sync client always does.
"""

import contextlib
import errno
import functools
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from winterbourne import __version__
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra.decompression import ACCEPT_ENCODING, decompress
from winterbourne.chat.infra.http_retry import IDEMPOTENT_METHODS, AsyncRetryTransport, RetryTransport
from winterbourne.chat.infra.http_transport import AsyncioTransport, PoolMarks, PoolStats, marks
from winterbourne.chat.infra.tracing import outgoing_headers
from winterbourne.chat.settings import HttpSettings
from winterbourne.override import override

__all__ = [
    "USER_AGENT",
    "BodyTooLarge",
    "PoolMarks",
    "PoolStats",
    "PoolTransport",
    "SyncPoolTransport",
    "client",
    "close",
    "configure",
    "is_stale",
    "iterate_body",
    "marks",
    "outgoing_headers",
    "read_body",
    "replace_connections",
    "stats",
    "sync_client",
]

USER_AGENT: Final = f"winterbourne/{__version__}"
"""How the engine names itself to servers, unless the request has another name."""

# Below the idle limits of common servers and load balancers (nginx 75 s, ALB 60 s, NAT gateway 350 s).
KEEPALIVE_EXPIRY_S: Final = 55.0

# Five retransmissions over a fast network. By itself Linux takes about 15 minutes to notice.
UNACKNOWLEDGED_MS: Final = 5000

ROOTS: Final = os.path.join(os.path.dirname(__file__), "roots")
"""Certifi's root certificates as `winterbourne.local.root_certificates` lays them out, in layers only."""

# This machine, and where containers get credentials: nothing of these is told to a proxy, as in the AWS SDKs.
NEVER_PROXIED: Final = ("localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]")

STALE_CONNECTION_ERRORS: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

Retrying = TypeVar("Retrying", AsyncRetryTransport, RetryTransport)
T = TypeVar("T", bound=AsyncioTransport | httpx.AsyncHTTPTransport | httpx.HTTPTransport)


class BodyTooLarge(httpx.DecodingError):
    """The response body is larger than the caller's limit."""


def is_stale(last_used_s: float, now_s: float) -> bool:
    """Whether connections last used then may be dead: idle for too long, or the clock was set back."""
    return not 0 <= now_s - last_used_s <= KEEPALIVE_EXPIRY_S


class _ReplaceableTransport(Generic[T]):
    """Wraps an httpx transport that can be replaced without breaking requests in flight.

    Args:
        make_transport: Makes a new transport.
        now: Wall clock, in seconds. The monotonic clock may stand still while the environment is frozen.
    """

    def __init__(self, make_transport: Callable[[], T], now: Callable[[], float] = time.time) -> None:
        self._make_transport = make_transport
        self._now = now
        self._last_used = now()
        self._current = make_transport()
        self._retired: list[T] = []

    def _replace_if_stale(self) -> None:
        before, self._last_used = self._last_used, self._now()
        if is_stale(before, self._last_used):
            self.replace()

    def replace(self) -> None:
        """Use new connections from now on; requests in flight keep theirs."""
        self._retired.append(self._current)
        self._current = self._make_transport()

    def _pop_drained(self) -> list[T]:
        """The replaced transports that have no requests in flight any more, for the caller to close."""
        drained = [transport for transport in self._retired if _is_drained(transport)]
        self._retired = [transport for transport in self._retired if transport not in drained]
        return drained


class PoolTransport(_ReplaceableTransport[AsyncioTransport | httpx.AsyncHTTPTransport], httpx.AsyncBaseTransport):
    """The transport of the async client."""

    @override
    def handle_async_request(self, request: httpx.Request) -> Coroutine[Any, Any, httpx.Response]:
        """Send the request. If its connection was dead and repeating it is safe, send it once more on a new connection.

        A plain function: most requests, such as those to a model provider, are not repeatable and await the inner
        transport directly, without a coroutine of ours that would be resumed with each step of the connection.

        Raises:
            httpx.TransportError: As raised by the transport.
        """
        self._replace_if_stale()
        request.headers.update(outgoing_headers.get({}))
        if self._retired or _is_repeatable(request):
            return self._send_repeatable(request)
        return self._current.handle_async_request(request)

    def stats(self) -> list[PoolStats]:
        """The current figures, replaced transports included."""
        return [each.stats() for each in (self._current, *self._retired) if isinstance(each, AsyncioTransport)]

    @override
    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        for transport in (self._current, *self._retired):
            await transport.aclose()

    async def _send_repeatable(self, request: httpx.Request) -> httpx.Response:
        for transport in self._pop_drained():
            await transport.aclose()
        try:
            return await self._current.handle_async_request(request)
        except STALE_CONNECTION_ERRORS:
            if not _is_repeatable(request):
                raise
            self.replace()  # the other idle connections are as old as the dead one
            return await self._current.handle_async_request(request)


class SyncPoolTransport(_ReplaceableTransport[httpx.HTTPTransport], httpx.BaseTransport):
    """The transport of the sync client, for threads: it is replaced under a lock, requests run concurrently."""

    _lock = threading.Lock()  # of all instances, since there is one in a process

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. If its connection was dead and repeating it is safe, send it once more on a new connection.

        Raises:
            httpx.TransportError: As raised by the transport.
        """
        request.headers.update(outgoing_headers.get({}))
        transport = self._fresh_transport()
        self._raise_marks(transport, arriving=1)
        try:
            return transport.handle_request(request)
        except (*STALE_CONNECTION_ERRORS, httpx.ReadTimeout, httpx.WriteTimeout) as error:
            if not _is_repeatable(request) or not _is_connection_lost(error):
                raise
            return self._replacement_for(transport).handle_request(request)
        finally:  # two that arrive at once do not see each other, but who has the connection sees who waits for it
            self._raise_marks(transport)

    @override
    def close(self) -> None:
        """Close all connections, including those in use."""
        for transport in (self._current, *self._retired):
            transport.close()

    def _fresh_transport(self) -> httpx.HTTPTransport:
        with self._lock:
            self._replace_if_stale()
            return self._current

    def _raise_marks(self, transport: httpx.HTTPTransport, arriving: int = 0) -> None:
        """Count connections, and requests beyond as many as there may be: each has one until its response ends."""
        if met := marks.get():
            pool = transport._pool  # noqa: SLF001 - as in `_is_drained`
            with self._lock:
                requests = len(pool._requests) + arriving  # noqa: SLF001
                most = _settings().http_pool_maxsize
                met[1].rise(min(max(len(pool.connections), requests), most), max(0, requests - most))

    def _replacement_for(self, dead: httpx.HTTPTransport) -> httpx.HTTPTransport:
        with self._lock:
            if self._current is dead:  # else another thread has already replaced it
                self.replace()
            return self._current

    @override
    def replace(self) -> None:
        """Use new connections from now on; close those replaced before that have become idle."""
        for transport in self._pop_drained():
            transport.close()
        super().replace()


class _Pool:
    """Module state: the clients and their settings."""

    lock = threading.Lock()

    settings: HttpSettings | None = None
    transports: ClassVar[list[PoolTransport]] = []  # of the async client
    client: httpx.AsyncClient | None = None
    sync_client: httpx.Client | None = None


def configure(settings: HttpSettings) -> None:
    """Set limits, timeout and retries; called for each chat at init, before the first `client()`.

    Raises:
        SettingsError: Another chat of this process has set them otherwise.
    """
    if _Pool.settings not in {None, settings}:
        names = ", ".join(name.upper() for name in settings.__struct_fields__)
        raise SettingsError(f"one HTTP pool serves the whole process: every chat must set the same {names}")
    _Pool.settings = settings


def client() -> httpx.AsyncClient:
    """The async client of the process, made on first use; never close it.

    HTTP_TIMEOUT applies to each phase of a request, unless the request sets a timeout, and HTTP_RETRIES to what the
    server could not take; `extensions={"retries": 0}` turns retries off.
    """
    if _Pool.client is None:
        transport = _pooled(AsyncioTransport)
        mounts = _through_proxies(functools.partial(_pooled, httpx.AsyncHTTPTransport))
        _Pool.client = httpx.AsyncClient(transport=transport, mounts=mounts, **_client_options(_decompress))
    return _Pool.client


def sync_client() -> httpx.Client:
    """The sync client, for code that runs in threads, with the same limits, timeouts and retries; thread-safe."""
    with _Pool.lock:
        if _Pool.sync_client is None:
            mounts = _through_proxies(_pooled_sync)
            _Pool.sync_client = httpx.Client(transport=_pooled_sync(), mounts=mounts, **_client_options(decompress))
        return _Pool.sync_client


def stats() -> PoolStats:
    """The current figures of the async client's pool, without connections to proxies.

    In an invocation that has `marks`, those that are open or waiting are the most of its time, of both pools together.
    """
    each = [stats for transport in _Pool.transports for stats in transport.stats()]
    total = PoolMarks(sum(s.open for s in each), sum(s.waiting for s in each))
    if met := marks.get():
        total.rise(met[0].open, met[0].waiting)
        total = PoolMarks(total.open + met[1].open, total.waiting + met[1].waiting)
    return PoolStats(total.open, sum(s.idle for s in each), total.waiting)


def replace_connections() -> None:
    """Send the async client's next requests on new connections: one that broke unnoticed is rarely the only one."""
    for transport in _Pool.transports:
        transport.replace()


async def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Read a streamed response to its end and close it.

    Raises:
        BodyTooLarge: The decompressed body has more than `max_bytes` bytes.
        httpx.RequestError: As raised by httpx.
    """
    async with contextlib.aclosing(iterate_body(response, max_bytes)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def iterate_body(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Read a streamed response to its end, chunk by chunk, and close it; errors are those of `read_body`."""
    left = max_bytes
    # httpx declares an iterator, but it is a generator, and closing it ends a read in progress.
    chunks = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
    async with contextlib.aclosing(response), contextlib.aclosing(chunks):
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise BodyTooLarge(f"the response has more than {max_bytes} bytes", request=response.request)
            yield chunk


async def close() -> None:
    """Close both clients, before a snapshot and at shutdown. The next `client()` makes a new one."""
    if _Pool.client is not None:
        await _Pool.client.aclose()
    if _Pool.sync_client is not None:
        _Pool.sync_client.close()
    _Pool.client = _Pool.sync_client = None
    _Pool.transports.clear()


async def _decompress(response: httpx.Response) -> None:
    if "content-encoding" in response.headers:
        decompress(response)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """The TLS context, which outlives the clients: loading all root certificates takes tens of milliseconds.

    A layer has each in a file of its own, which OpenSSL reads when a server's chain leads there.
    """
    if os.path.isdir(ROOTS) and not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        return ssl.create_default_context(capath=ROOTS)
    return httpx.create_ssl_context()


def _transport_options() -> dict[str, Any]:
    # RFC 5482; only Linux has it.
    options = [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)] if sys.platform == "linux" else []
    total, idle = _settings().http_pool_maxsize, _settings().http_pool_connections
    limits = httpx.Limits(max_connections=total, max_keepalive_connections=idle, keepalive_expiry=KEEPALIVE_EXPIRY_S)
    return {"verify": _ssl_context(), "limits": limits, "socket_options": options}


def _pooled(make: Callable[..., AsyncioTransport | httpx.AsyncHTTPTransport], **proxy: str) -> AsyncRetryTransport:
    _Pool.transports.append(PoolTransport(functools.partial(make, **_transport_options(), **proxy)))
    return AsyncRetryTransport(_Pool.transports[-1], *_retry_limits())


def _pooled_sync(proxy: str | None = None) -> RetryTransport:
    pool = SyncPoolTransport(functools.partial(httpx.HTTPTransport, proxy=proxy, **_transport_options()))
    return RetryTransport(pool, *_retry_limits())


def _through_proxies(make: Callable[..., Retrying]) -> dict[str, Retrying | None]:
    """The transports to the proxies in the environment, by patterns of URLs; None for what goes past them."""
    proxies = httpx._utils.get_environment_proxies()  # noqa: SLF001 - mounted as httpx does where no transport is given
    if proxies:
        proxies |= dict.fromkeys(f"all://{host}" for host in NEVER_PROXIED)
    return {pattern: make(proxy=proxy) if proxy else None for pattern, proxy in proxies.items()}


def _client_options(response_hook: Callable[[httpx.Response], Any]) -> dict[str, Any]:
    headers = {"accept-encoding": ACCEPT_ENCODING, "user-agent": USER_AGENT}
    # A jar that stores nothing: cookies set in one caller's request must not be sent with another's.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    hooks = {"response": [response_hook]}
    return {"timeout": _settings().http_timeout, "headers": headers, "cookies": cookies, "event_hooks": hooks}


def _settings() -> HttpSettings:
    return _Pool.settings or HttpSettings()


def _retry_limits() -> tuple[int, float]:
    return _settings().http_retries, _settings().http_timeout


def _is_connection_lost(error: httpx.TransportError) -> bool:
    """Whether a connection broke. Of the sync client that looks like a timeout if UNACKNOWLEDGED_MS broke it."""
    reasons = getattr(error.__cause__, "args", ())  # of httpcore's exception: the exception of the socket
    is_broken = any(getattr(reason, "errno", None) == errno.ETIMEDOUT for reason in reasons)
    return is_broken or isinstance(error, STALE_CONNECTION_ERRORS)


def _is_repeatable(request: httpx.Request) -> bool:
    safe = request.method in IDEMPOTENT_METHODS or bool(request.extensions.get("repeatable"))
    return safe and isinstance(request.stream, httpx.ByteStream)


def _is_drained(transport: AsyncioTransport | httpx.AsyncHTTPTransport | httpx.HTTPTransport) -> bool:
    if isinstance(transport, AsyncioTransport):
        return transport.stats().open == transport.stats().idle
    # httpx says nothing of its connections; a request that waits for one waits for one in use.
    connections = transport._pool.connections  # noqa: SLF001 - no public API; versions are locked and a test covers it
    return all(connection.is_idle() for connection in connections)
