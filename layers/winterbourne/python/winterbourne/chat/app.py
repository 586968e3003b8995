"""Composition: makes the parts of a chat from its settings and its tools, and puts them together as a `Service`.

The only module that knows every part. Importing it makes nothing. `build` finds wrong settings at cold start, not in a
user's first request.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from aws_lambda_powertools import Logger

from winterbourne import before_snapshot, on_shutdown, on_startup, retire
from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format
from winterbourne.chat.http.endpoints.chat import ChatEndpoint, resume_stream
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.endpoints.health import HealthEndpoint
from winterbourne.chat.http.endpoints.models import list_models
from winterbourne.chat.http.endpoints.static_files import serve_static_file
from winterbourne.chat.http.router import Router
from winterbourne.chat.http.service import Endpoint, Service
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import ModelSettings, Settings, ToolSettings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.discovery import add_tools
from winterbourne.chat.tool_runtime.executor import ToolExecutor

if TYPE_CHECKING:
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers

__all__ = ["build"]

Routes: TypeAlias = dict[tuple[str, str], Endpoint]

FORMATS: Final[tuple[Format, ...]] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)

PREPARE_TIMEOUT_S: Final = 3.0  # Lambda restarts an environment that is not ready within 10 s


def build(settings: Settings, tools: Iterable[Tool], logger: Logger) -> Service:
    """Make a chat's service, and register what it does at start-up, before a snapshot and at shutdown.

    Args:
        settings: Each part is handed to who needs it.
        tools: The function's own; those of MCP servers are added once they have been listed. A tool whose name is
            taken, or that needs a setting that does not exist, is left out.
        logger: As `set_up_process` returns it.

    Raises:
        SettingsError: A setting is missing or invalid; the message names it.
    """
    provider, authenticator = make_provider(settings.model), make_authenticator(settings.auth)
    log = settings.log
    executor = ToolExecutor((), settings.tools, keys=settings.values(), log_messages=log.log_messages)
    add_tools(executor, tools)
    servers = _make_mcp_servers(settings.tools, executor)
    store = make_store(settings.storage.store)
    conversations = ConversationStore(store, settings.storage)
    stop_signals = StopSignals(store, settings.storage.stop_poll_interval)
    rate_limiter = RateLimiter(store, settings.limits) if settings.limits.are_set else None
    chat = ChatEndpoint(
        request_settings=settings.request,
        model_settings=settings.model,
        stream_settings=settings.stream,
        log_messages=log.log_messages,
        provider=provider,
        tools=executor,
        conversations=conversations,
        rate_limiter=rate_limiter,
        stop_signals=stop_signals,
    )
    health, stored = HealthEndpoint(provider, executor), ConversationsEndpoint(conversations, stop_signals)
    routes = _routes(settings.model, health, stored)
    connect = servers.connect if servers else None
    for each in FORMATS:
        routes["POST", each.path] = Endpoint(
            partial(chat.handle, each), each.encode_error, is_chat=True, prepare=connect
        )
    on_startup(partial(_warm_up, authenticator, servers))
    before_snapshot(http_pool.close)  # no socket survives a snapshot; the next use creates a new client
    # Run in reverse order, each even if another one fails.
    on_shutdown(http_pool.close)
    on_shutdown(store.close)
    on_shutdown(executor.close)
    if servers:
        on_shutdown(servers.close)
    after_request = partial(executor.retire_if_stuck, retire)
    return Service(
        Router(routes), authenticator, rate_limiter, native.FORMAT.encode_error, logger, log.service_name, after_request
    )


def _make_mcp_servers(settings: ToolSettings, executor: ToolExecutor) -> "McpServers | None":
    """The MCP servers whose tools are added to the executor; None if the settings name none."""
    if not settings.mcp_servers:
        return None
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers  # noqa: PLC0415 - only if there is one

    return McpServers(settings, executor.add)


def _routes(settings: ModelSettings, health: HealthEndpoint, conversations: ConversationsEndpoint) -> Routes:
    """The routes besides the chats'. Error responses are in the native format, those of OpenAI's paths in OpenAI's."""
    endpoint = partial(Endpoint, encode_error=native.FORMAT.encode_error)
    return {
        ("GET", "/"): endpoint(serve_static_file, is_public=True),
        ("GET", "/web/{version}/{name}"): endpoint(serve_static_file, is_public=True),
        ("GET", "/healthz"): endpoint(health.liveness, is_public=True),
        ("GET", "/readyz"): endpoint(health.readiness, is_public=True),
        ("POST", "/chat/{id}/stop"): endpoint(conversations.stop),
        ("GET", "/conversations"): endpoint(conversations.list_page),
        ("GET", "/conversations/{id}"): endpoint(conversations.get),
        ("DELETE", "/conversations/{id}"): endpoint(conversations.delete),
        ("GET", "/api/chat/{id}/stream"): endpoint(resume_stream),
        ("GET", "/v1/models"): Endpoint(partial(list_models, openai.models_body(settings)), openai.FORMAT.encode_error),
    }


async def _warm_up(authenticator: Authenticator, servers: "McpServers | None") -> None:
    """Load certificates and keys at cold start: it takes tens of milliseconds, too much for the first request."""
    http_pool.client()
    with contextlib.suppress(TimeoutError):  # requests retry it
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await authenticator.prepare()
    if servers:
        await servers.connect()
    telemetry.mark_ready()
