"""The handler, and everything that one execution environment makes once.

Wrong settings are found here, while the environment starts, not in somebody's first request.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from chat import tools
from winterbourne import ResponseStream, before_snapshot, on_shutdown, on_startup, retire, streamify_response
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Frontend
from winterbourne.chat.http.endpoints.chat import Answer
from winterbourne.chat.http.endpoints.conversations import Kept
from winterbourne.chat.http.endpoints.health import Probes
from winterbourne.chat.http.endpoints.static_files import site
from winterbourne.chat.http.service import JSON, Call, Context, Endpoint, Service, reply
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.process_setup import set_up
from winterbourne.chat.providers.factory import make_model
from winterbourne.chat.storage.conversations import Conversations
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import Limits
from winterbourne.chat.storage.stop_signals import Stops
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.discovery import discover
from winterbourne.chat.tool_runtime.runner import ToolRunner

if TYPE_CHECKING:
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers

__all__ = ["handler"]

FRONTENDS: Final[tuple[Frontend, ...]] = (native.FRONTEND, ai_sdk.FRONTEND, ag_ui.FRONTEND, openai.FRONTEND)

PREPARE_TIMEOUT_S: Final = 3.0  # Lambda starts an environment anew that is not ready in 10 s

_LOGGER: Final = logging.getLogger(__name__)

_settings, _logger = set_up(os.environ)


def _tools() -> list[Tool]:
    """The function's own, and those of the worker where there is one."""
    packages: list[ModuleType] = [tools]
    if _settings.tool_worker_function:
        from chat.tools import worker  # noqa: PLC0415  (only where there is a worker)

        packages.append(worker)
    return [tool for package in packages for tool in discover(package)]


def _mcp_servers() -> "McpServers | None":
    """What brings the tools of MCP servers in, where there are any."""
    if not _settings.mcp_servers:
        return None
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers  # noqa: PLC0415  (only where there is one)

    return McpServers(_settings, _runner.add)


_model = make_model(_settings)
_runner = ToolRunner(_tools(), _settings)
_store = make_store(_settings)
_servers = _mcp_servers()
_conversations = Conversations(_store, _settings)
_stops = Stops(_store, _settings.stop_poll_interval)
_answer = Answer(_settings, _model, _runner, _conversations, Limits(_store, _settings), _stops)


async def _models(call: Call) -> None:
    await reply(call.stream, 200, openai.models_body(_settings), JSON)


async def _chat(frontend: Frontend, call: Call) -> None:
    if _servers:
        await _servers.connect()
    try:
        await _answer.chat(frontend, call)
    finally:
        if _runner.retiring:  # too many threads of tools hang; a fresh environment has none
            _LOGGER.warning("this environment ends: %d threads and tasks of tools are stuck", _runner.abandoned)
            retire()


async def _nothing_to_resume(call: Call) -> None:
    """A stream cannot be joined a second time; 204 is how the AI SDK is told so without an error."""
    await reply(call.stream, 204, b"", {})


def _routes() -> dict[tuple[str, str], Endpoint]:
    error_body = native.FRONTEND.error_body
    probes = Probes(_model, _runner)
    kept = Kept(_conversations, _stops)
    is_open = partial(Endpoint, is_open=True, error_body=error_body)
    is_mine = partial(Endpoint, error_body=error_body)
    return {
        ("GET", "/"): is_open(act=site),
        ("GET", "/web/{version}/{name}"): is_open(act=site),
        ("GET", "/healthz"): is_open(act=probes.health),
        ("GET", "/readyz"): is_open(act=probes.readiness),
        ("POST", "/chat/{id}/stop"): is_mine(act=kept.stop),
        ("GET", "/conversations"): is_mine(act=kept.page),
        ("GET", "/conversations/{id}"): is_mine(act=kept.show),
        ("DELETE", "/conversations/{id}"): is_mine(act=kept.delete),
        ("GET", "/api/chat/{id}/stream"): Endpoint(act=_nothing_to_resume, error_body=error_body),
        ("GET", "/v1/models"): Endpoint(act=_models, error_body=openai.FRONTEND.error_body),
        **{
            ("POST", frontend.path): Endpoint(act=partial(_chat, frontend), error_body=frontend.error_body)
            for frontend in FRONTENDS
        },
    }


_authenticator = make_authenticator(_settings)
_service = Service(_routes(), _authenticator, native.FRONTEND.error_body, _logger, _settings.service_name)


@on_startup
async def _start() -> None:
    """Reading certificates and keys takes tens of milliseconds: better now than in the first request."""
    http_pool.client()
    with contextlib.suppress(TimeoutError):  # requests try again
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await _authenticator.prepare()
    if _servers:
        await _servers.connect()
    telemetry.ready()


@before_snapshot
async def _close_the_pool() -> None:
    """No socket survives a snapshot; the next use makes a new client."""
    await http_pool.close()


# Run in reverse, and each also where another one fails.
on_shutdown(http_pool.close)
on_shutdown(_store.close)
on_shutdown(_runner.close)
if _servers:
    on_shutdown(_servers.close)


@streamify_response
async def handler(event: Mapping[str, Any], response_stream: ResponseStream, context: Context) -> None:
    """One function-URL request: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""
    await _service.handle(event, response_stream, context)
