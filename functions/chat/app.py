"""The chat's Lambda handler, and everything that an execution environment creates once.

Wrong settings are found here, at cold start, not in a user's first request.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from chat import tools
from winterbourne import ResponseStream, before_snapshot, on_shutdown, on_startup, retire, streamify_response
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format
from winterbourne.chat.http.endpoints.chat import ChatEndpoint
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.endpoints.health import HealthEndpoint
from winterbourne.chat.http.endpoints.static_files import serve_static_file
from winterbourne.chat.http.service import JSON_HEADERS, Endpoint, InvocationContext, RequestContext, Service, reply
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.process_setup import set_up_process
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.discovery import discover
from winterbourne.chat.tool_runtime.executor import ToolExecutor

if TYPE_CHECKING:
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers

__all__ = ["handler"]

FORMATS: Final[tuple[Format, ...]] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)

PREPARE_TIMEOUT_S: Final = 3.0  # Lambda restarts an environment that is not ready within 10 s

_settings, _logger = set_up_process(os.environ)


def _tools() -> list[Tool]:
    """The function's own tools, and those of the worker if there is one."""
    packages: list[ModuleType] = [tools]
    if _settings.tools.tool_worker_function:
        from chat.tools import worker  # noqa: PLC0415 - only if there is a worker

        packages.append(worker)
    return [tool for package in packages for tool in discover(package)]


def _make_mcp_servers() -> "McpServers | None":
    """The MCP servers whose tools are added to the runner; None if the settings name none."""
    if not _settings.tools.mcp_servers:
        return None
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers  # noqa: PLC0415 - only if there is one

    return McpServers(_settings, _runner.add)


_provider = make_provider(_settings)
_runner = ToolExecutor(_tools(), _settings.tools, keys=_settings.values(), log_messages=_settings.log.log_messages)
_store = make_store(_settings)
_servers = _make_mcp_servers()
_conversations = ConversationStore(_store, _settings)
_stop_signals = StopSignals(_store, _settings.storage.stop_poll_interval)
_chat_endpoint = ChatEndpoint(
    _settings, _provider, _runner, _conversations, RateLimiter(_store, _settings), _stop_signals
)


async def _list_models(context: RequestContext) -> None:
    await reply(context.stream, 200, openai.models_body(_settings), JSON_HEADERS)


async def _handle_chat(wire_format: Format, context: RequestContext) -> None:
    if _servers:
        await _servers.connect()
    try:
        await _chat_endpoint.handle(wire_format, context)
    finally:
        _runner.retire_if_stuck(retire)


async def _resume_stream(context: RequestContext) -> None:
    """A stream cannot be resumed; 204 tells the AI SDK so without an error."""
    await reply(context.stream, 204, b"", {})


def _routes() -> dict[tuple[str, str], Endpoint]:
    error_body = native.FORMAT.error_body
    health = HealthEndpoint(_provider, _runner)
    conversations = ConversationsEndpoint(_conversations, _stop_signals)
    public = partial(Endpoint, is_public=True, error_body=error_body)
    authenticated = partial(Endpoint, error_body=error_body)
    return {
        ("GET", "/"): public(handler=serve_static_file),
        ("GET", "/web/{version}/{name}"): public(handler=serve_static_file),
        ("GET", "/healthz"): public(handler=health.liveness),
        ("GET", "/readyz"): public(handler=health.readiness),
        ("POST", "/chat/{id}/stop"): authenticated(handler=conversations.stop),
        ("GET", "/conversations"): authenticated(handler=conversations.list_page),
        ("GET", "/conversations/{id}"): authenticated(handler=conversations.get),
        ("DELETE", "/conversations/{id}"): authenticated(handler=conversations.delete),
        ("GET", "/api/chat/{id}/stream"): Endpoint(handler=_resume_stream, error_body=error_body),
        ("GET", "/v1/models"): Endpoint(handler=_list_models, error_body=openai.FORMAT.error_body),
        **{
            ("POST", wire_format.path): Endpoint(
                handler=partial(_handle_chat, wire_format), error_body=wire_format.error_body
            )
            for wire_format in FORMATS
        },
    }


_authenticator = make_authenticator(_settings)
_service = Service(_routes(), _authenticator, native.FORMAT.error_body, _logger, _settings.log.service_name)


@on_startup
async def _warm_up() -> None:
    """Load certificates and keys at cold start: it takes tens of milliseconds, too much for the first request."""
    http_pool.client()
    with contextlib.suppress(TimeoutError):  # requests retry it
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await _authenticator.prepare()
    if _servers:
        await _servers.connect()
    telemetry.mark_ready()


@before_snapshot
async def _close_http_pool() -> None:
    """Close the HTTP pool: no socket survives a snapshot; the next use creates a new client."""
    await http_pool.close()


# Run in reverse order, each even if another one fails.
on_shutdown(http_pool.close)
on_shutdown(_store.close)
on_shutdown(_runner.close)
if _servers:
    on_shutdown(_servers.close)


@streamify_response
async def handler(event: Mapping[str, Any], response_stream: ResponseStream, context: InvocationContext) -> None:
    """Handle one function-URL request: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""
    await _service.handle(event, response_stream, context)
