"""Composition: makes the parts of a chat from its settings and its tools, and puts them together.

The only module that knows every part. Importing it makes nothing. `Chat` finds wrong settings at cold start, not in a
user's first request.
"""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from aws_lambda_powertools import Logger

from winterbourne import before_snapshot, on_shutdown, on_startup, retire
from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.auth.factory import SCHEMES, AuthFactory, make_authenticator
from winterbourne.chat.core.provider import ModelRequest, Provider, capabilities_of, model_name
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format
from winterbourne.chat.http.endpoints.chat import ChatEndpoint
from winterbourne.chat.http.endpoints.chats import ChatsEndpoint
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.endpoints.health import Check, HealthEndpoint
from winterbourne.chat.http.endpoints.models import describe_model, list_models
from winterbourne.chat.http.endpoints.page_config import page_config
from winterbourne.chat.http.endpoints.page_options import PageOptions, suggestions_of
from winterbourne.chat.http.endpoints.static_files import StaticFiles
from winterbourne.chat.http.endpoints.streams import StreamEndpoint
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.http.router import Router
from winterbourne.chat.http.service import Endpoint, Handler, Service
from winterbourne.chat.http.titles import Titles
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.process_setup import make_tracer, set_up_process
from winterbourne.chat.providers.factory import PROVIDERS, ProviderFactory, make_provider
from winterbourne.chat.settings import ModelSettings, Settings, ToolSettings, choose
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import StoreFactory, make_store
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import TOOL_CALL, StopSignals
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.discovery import ToolSource, discover, make_executor
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.handlers import StreamingHandler

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.http.asgi import AsgiApplication
    from winterbourne.chat.http.compaction import Compaction
    from winterbourne.chat.setting_arguments import SettingArguments
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers, McpToken

__all__ = ["Chat", "build"]

Routes: TypeAlias = dict[tuple[str, str], Endpoint]

FORMATS: Final[tuple[Format, ...]] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)

_like_native: Final = partial(Endpoint, encode_error=native.FORMAT.encode_error)

_LOGGER: Final = logging.getLogger(__name__)

PREPARE_TIMEOUT_S: Final = 3.0  # Lambda restarts an environment that is not ready within 10 s


class OwnParts(msgspec.Struct, frozen=True):
    """What a chat has of its own beside the engine's: see the arguments of `Chat`."""

    providers: Mapping[str, ProviderFactory] = {}
    formats: Sequence[Format] = ()
    stores: Mapping[str, StoreFactory] = {}
    auth_schemes: Mapping[str, AuthFactory] = {}
    mcp_token: "McpToken | None" = None
    context: Callable[[str], str] | None = None


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What is made once, and shared by the endpoints."""

    settings: Settings
    provider: Provider
    authenticator: Authenticator
    store: Store
    stop_signals: StopSignals
    executor: ToolExecutor
    servers: "McpServers | None"
    conversations: ConversationStore
    rate_limiter: RateLimiter
    prices: Prices


class Chat:
    """A chat: tools, instructions, look and settings, put together when the execution environment starts.

    Args:
        tools: What the model may call: a package, all of whose modules are searched for tools, a module, a tool, a
            typed function with a docstring, or several of these. What cannot be used is left out; the log says why.
        instructions: The system prompt, as text, or as the `pathlib.Path` of a file with it, in UTF-8; the same setting
            as `system_prompt`.
        context: What the model is told in each request alone, such as the time or the user's name: a function of the
            caller's id that returns text, and must not block. It is put after the newest question, and is not kept;
            what changes does not belong into the instructions, as it would keep all that follows from being cached.
        title: The name of the chat, on its page.
        greeting: What the page says before the first question: a heading and, after a blank line, a paragraph.
        suggestions: Questions that the page offers before the first one, each sent with one click. None for what the
            first four tools do, in the first sentence of each description, which a click puts where a question is
            written, to be completed; without tools before which a person is asked. Empty for none at all.
        accent: The colour of the page's links and signs of life, as `#1d6b7c`; made lighter or darker where it could
            not be read. Empty for the engine's.
        logo: The path of an SVG or PNG file, shown beside the title.
        footer: A line or two at the end of the page, of at most 300 characters, such as who may use the chat; with at
            most one link, as `[Terms](https://example.com/terms)`.
        styles: Colours and fonts of the page by the names of its CSS variables, such as `{"--paper":
            "light-dark(#ffffff, #101014)", "--serif": "Georgia, serif"}`. A colour that others could not be read on, or
            in, is an error.
        page: Whether there is a page; with False `GET /` is answered with 404.
        providers: Model providers of your own, by the names that MODEL_PROVIDER may then have: functions that take the
            model's settings. One with a name of the engine's replaces it; so it is with stores and authentication
            schemes.
        formats: Wire formats of your own, each with a path of its own.
        stores: Stores of your own, by the scheme in STORE: `SCHEME:NAME` calls its function with NAME.
        auth_schemes: Authentication schemes of your own, by the names that AUTH may then have: functions that take the
            settings of authentication.
        mcp_token: Supplies bearer tokens for MCP servers: a function, async or not, of a server's name in MCP_SERVERS
            and the id of the caller whose question is answered, that returns a token, or None for the one in
            MCP_TOKENS. When the server's tools are listed, which is for all callers alike, the id is empty.
        **settings: Every setting, in lower case, such as `max_turns=6`. The environment variable of the same name wins
            if it is set, since it is the deployment that decides; the log says so. Keys belong in secrets, not here.

    Attributes:
        handler: The Lambda handler, for a function URL, a REST API that streams, or callers of Invoke who send a URL's
            event; called as `handler(event, context)`.
        settings: The settings in force, in groups: `settings.stream.max_turns`.

    Raises:
        SettingsError: An argument or variable is missing or invalid; the message names it. Or another chat of this
            process has other settings of the HTTP pool, which they share.
    """

    def __init__(
        self,
        *,
        tools: ToolSource | Iterable[ToolSource] = (),
        instructions: str | Path = "",
        context: Callable[[str], str] | None = None,
        title: str = "Chat",
        greeting: str = "",
        suggestions: Sequence[str] | None = None,
        accent: str = "",
        logo: str | Path = "",
        footer: str = "",
        styles: Mapping[str, str] | None = None,
        page: bool = True,
        providers: Mapping[str, ProviderFactory] | None = None,
        formats: Sequence[Format] = (),
        stores: Mapping[str, StoreFactory] | None = None,
        auth_schemes: Mapping[str, AuthFactory] | None = None,
        mcp_token: "McpToken | None" = None,
        **settings: "Unpack[SettingArguments]",
    ) -> None:
        _check_kinds(instructions, mcp_token, formats, context, providers, stores, auth_schemes)
        own = OwnParts(providers or {}, formats, stores or {}, auth_schemes or {}, mcp_token, context)
        arguments = _with_instructions(settings, instructions)
        options = PageOptions(
            title=title,
            greeting=greeting,
            suggestions=suggestions,
            accent=accent,
            logo=str(logo),
            footer=footer,
            styles={} if styles is None else styles,
            is_served=page,
        )
        self.settings, logger = set_up_process(os.environ, arguments)
        argued = Settings.of(**arguments)  # also what a variable hides on this machine
        choose("MODEL_PROVIDER", argued.model.model_provider, PROVIDERS, own.providers)
        choose("AUTH", argued.auth.auth, SCHEMES, own.auth_schemes)
        self._service = build(self.settings, discover(tools), logger, options, own)
        self.handler = StreamingHandler(LambdaDoor(self._service, self.settings.doors).handle, takes_large_bodies=True)

    @cached_property
    def asgi(self) -> "AsgiApplication":
        """The ASGI application, made on first use, for a server of one's own such as uvicorn.

        Or for a framework to mount, which should run its lifespan: without it nothing is shut down.
        """
        from winterbourne.chat.http.asgi import AsgiApplication  # noqa: PLC0415 - a function of Lambda has no use for it

        return AsgiApplication(self._service, self.settings.doors)


def _check_kinds(instructions: object, mcp_token: object, formats: object, context: object, *factories: Any) -> None:
    """A wrong kind of argument is an error with a name here, not one of Python's further on."""
    is_table = (isinstance(each or {}, Mapping) and all(map(callable, (each or {}).values())) for each in factories)
    checks = {
        "mcp_token: expected a function": mcp_token is None or callable(mcp_token),
        "context: expected a function": context is None or callable(context),
        "instructions: expected text or a pathlib.Path": isinstance(instructions, str | Path),
        "formats: expected a list of Format": isinstance(formats, list | tuple)
        and all(isinstance(each, Format) for each in formats),
        "providers, stores and auth_schemes: expected dicts of functions by their names": all(is_table),
    }
    if unmet := [expected for expected, is_met in checks.items() if not is_met]:
        raise SettingsError("; ".join(unmet))


def _with_instructions(settings: Mapping[str, object], instructions: str | Path) -> dict[str, object]:
    if not instructions:
        return dict(settings)
    if isinstance(instructions, str) and re.fullmatch(r"\S+\.(md|txt)", instructions):
        raise SettingsError(f"instructions: {instructions} is text; for the file of that name pass a pathlib.Path")
    if settings.get("system_prompt"):
        raise SettingsError("instructions and system_prompt are one setting: pass only one of them")
    try:
        text = instructions.read_text(encoding="utf-8") if isinstance(instructions, Path) else instructions
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the instructions {instructions} cannot be read: {type(error).__name__}") from None
    return {**settings, "system_prompt": text.removeprefix("\ufeff").strip()}


def build(
    settings: Settings,
    tools: Iterable[Tool],
    logger: Logger,
    page: PageOptions | None = None,
    own: OwnParts | None = None,
) -> Service:
    """Make a chat's service, and register what it does at start-up, before a snapshot and at shutdown.

    Args:
        settings: Each part is handed to who needs it.
        tools: The function's own; those of MCP servers are added once they have been listed. A tool whose name is
            taken is left out.
        logger: As `set_up_process` returns it.
        page: How the page looks; None for the defaults.
        own: Providers, formats, stores and authentication schemes beside the engine's; None for none.

    Raises:
        SettingsError: A setting is missing or invalid; the message names it.
    """
    own, page, tools = own or OwnParts(), page or PageOptions(), list(tools)
    parts = _make_parts(settings, tools, own)
    is_agentcore = settings.doors.asgi_door == "agentcore"
    more_formats = _agentcore_formats() if is_agentcore else ()
    formats, show = _shown((*FORMATS, *more_formats, *own.formats), settings.model)
    routes = {
        **(_page_routes(parts, _with_suggestions(page, tools, parts.executor)) if page.is_served else {}),
        **_probe_routes(parts),
        **_conversation_routes(parts, show),
        **_openai_routes(settings.model),
        **_mcp_routes(parts, page.title),
    }
    _add_chats(routes, parts, formats, own)
    if is_agentcore:
        _add_ping(routes)
    _register(parts)
    after_request = partial(parts.executor.retire_if_stuck, retire)
    origins = frozenset(filter(None, map(str.strip, settings.doors.cors_origins.split(","))))
    first = Router(routes), parts.authenticator, parts.rate_limiter, native.FORMAT.encode_error
    log, rest = settings.log, (after_request, origins)
    return Service(*first, logger, log.service_name, *rest, log.log_clients, log.metrics, make_tracer(settings))


def _make_parts(settings: Settings, tools: Iterable[Tool], own: OwnParts) -> _Parts:
    store = make_store(settings.storage.store, own.stores)
    stop_signals = StopSignals(store, settings.storage.stop_poll_interval)
    send_stop = partial(stop_signals.send, conversation_id=TOOL_CALL) if store.is_shared else None
    records = CallRecords(store)
    executor = make_executor(settings, tools, records, send_stop)
    return _Parts(
        settings=settings,
        provider=make_provider(settings.model, own.providers),
        authenticator=make_authenticator(settings.auth, own.auth_schemes),
        store=store,
        stop_signals=stop_signals,
        executor=executor,
        servers=_make_mcp_servers(settings.tools, executor, records, own.mcp_token),
        conversations=ConversationStore(store, settings.storage),
        rate_limiter=RateLimiter(store, settings.limits),
        prices=Prices(settings.model, own.providers, must_know=settings.limits.limit_dollars_per_day > 0),
    )


def _with_suggestions(page: PageOptions, tools: Iterable[Tool], executor: ToolExecutor) -> PageOptions:
    """With what the tools on offer do, unless a person is asked first, if the chat does not say what is suggested."""
    if page.suggestions is not None:
        return page
    offered = {each.name for each in executor.schemas} - executor.unavailable.keys()
    open_to_all = (each for each in tools if each.name in offered and not each.options.approval)
    suggestions = suggestions_of(each.description for each in open_to_all)
    return msgspec.structs.replace(page, suggestions=suggestions, are_filled=True)


def _page_routes(parts: _Parts, options: PageOptions) -> Routes:
    """The page, for which nobody signs in."""
    serve = _like_native(_make_page(parts, options), is_public=True)
    return {("GET", "/"): serve, ("GET", "/web/{version}/{name}"): serve}


def _probe_routes(parts: _Parts) -> Routes:
    """The probes, for which nobody signs in."""
    health = HealthEndpoint(parts.provider, parts.executor, _readiness_checks(parts))
    return {
        ("GET", "/healthz"): _like_native(health.liveness, is_public=True),
        ("GET", "/readyz"): _like_native(health.readiness, is_public=True),
    }


def _make_page(parts: _Parts, options: PageOptions) -> Handler:
    config = partial(page_config, parts.settings, parts.provider, is_durable=parts.store.is_shared)
    auth = parts.settings.auth
    if auth.auth != "jwt" or not auth.jwt_client_id:
        return StaticFiles(options, config).serve
    from winterbourne.chat.auth.sign_in import SignInDiscovery  # noqa: PLC0415 - only if the page signs in
    from winterbourne.chat.http.endpoints.sign_in_page import SignInPage  # noqa: PLC0415 - the same

    return SignInPage(options, config, SignInDiscovery(auth).get).serve


def _readiness_checks(parts: _Parts) -> dict[str, Check]:
    """What chats need; a part of one's own is taken to be ready unless it has a `check_ready`."""
    needed = {"store": parts.store, "auth": parts.authenticator, "model": parts.provider, "tools": parts.executor}
    found = ((name, getattr(part, "check_ready", None)) for name, part in needed.items())
    return {name: check for name, check in found if check}


def _conversation_routes(parts: _Parts, show: Callable[[Any], Any]) -> Routes:
    """What has been kept, natively and as `useChat` loads it."""
    stored = ConversationsEndpoint(parts.conversations, parts.stop_signals, parts.settings.request, show)
    chats = ChatsEndpoint(parts.conversations, parts.executor, ai_sdk.encode_history, show)
    return {
        ("POST", "/chat/{id}/stop"): _like_native(stored.stop),
        ("GET", "/conversations"): _like_native(stored.list_page),
        ("GET", "/conversations/{id}"): _like_native(stored.get),
        ("PATCH", "/conversations/{id}"): _like_native(stored.rename),
        ("DELETE", "/conversations/{id}"): _like_native(stored.delete),
        ("GET", "/api/chat"): Endpoint(chats.list_page, ai_sdk.FORMAT.encode_error),
        ("GET", "/api/chat/{id}"): Endpoint(chats.get, ai_sdk.FORMAT.encode_error),
    }


def _openai_routes(settings: ModelSettings) -> Routes:
    list_all, describe = (
        partial(list_models, partial(openai.models_body, settings)),
        partial(openai.model_body, settings),
    )
    encode_error = openai.FORMAT.encode_error
    return {
        ("GET", "/v1/models"): Endpoint(list_all, encode_error),
        ("GET", "/v1/models/{id+}"): Endpoint(partial(describe_model, describe), encode_error),
    }


def _mcp_routes(parts: _Parts, name: str) -> Routes:
    """The tools for other MCP clients, and where those are told to sign in."""
    settings, executor = parts.settings, parts.executor
    wanted, auth = settings.tools.mcp_endpoint, settings.auth
    if wanted == "off" or (wanted == "auto" and auth.auth == "none"):
        return {}
    from winterbourne.chat.http.endpoints import mcp as endpoint  # noqa: PLC0415 - only if it is offered

    offered = tuple(each for each in executor.schemas if each.name not in executor.unavailable)
    mcp = endpoint.McpEndpoint(settings.request, settings.stream, executor, offered, name)
    routes: Routes = {("POST", "/mcp"): Endpoint(mcp.handle, endpoint.encode_error)}
    if auth.auth == "jwt":
        describe = Endpoint(partial(endpoint.describe_authorization, auth), endpoint.encode_error, is_public=True)
        routes |= {("GET", f"/.well-known/oauth-protected-resource{path}"): describe for path in ("", "/mcp")}
    return routes


def _add_chats(routes: Routes, parts: _Parts, formats: Iterable[Format], own: OwnParts) -> None:
    """Each format's chat, and its way back to an answer."""
    streams = StreamEndpoint(parts.settings.stream, parts.conversations)
    chat = _make_chat(parts, streams, own)
    connect = parts.servers.connect if parts.servers else None
    own_paths = {each.path for each in own.formats}
    for each in formats:
        if each.path in own_paths:
            _check_path(each.path, routes)
        answer = partial(chat.handle, each)
        routes["POST", each.path] = Endpoint(answer, each.encode_error, is_chat=True, prepare=connect)
        if each.resume:
            routes["GET", f"{each.path}/{{id}}/stream"] = Endpoint(partial(streams.handle, each), each.encode_error)


def _agentcore_formats() -> tuple[Format, ...]:
    from winterbourne.chat.formats import invocations  # noqa: PLC0415 - only there

    return (invocations.FORMAT,)


def _add_ping(routes: Routes) -> None:
    """AgentCore's probe, which is told while chats run."""
    from winterbourne.chat.http.endpoints.ping import PingEndpoint  # noqa: PLC0415 - only there

    ping = PingEndpoint()
    for route, endpoint in routes.items():
        if endpoint.is_chat:
            routes[route] = msgspec.structs.replace(endpoint, handler=ping.counting(endpoint.handler))
    routes["GET", "/ping"] = _like_native(ping.handle, is_public=True)


def _make_chat(parts: _Parts, streams: StreamEndpoint, own: OwnParts) -> ChatEndpoint:
    return ChatEndpoint(
        request_settings=parts.settings.request,
        model_settings=parts.settings.model,
        stream_settings=parts.settings.stream,
        log_messages=parts.settings.log.log_messages,
        provider=parts.provider,
        capabilities_of=capabilities_of(parts.provider),
        tools=parts.executor,
        conversations=parts.conversations,
        rate_limiter=parts.rate_limiter,
        prices=parts.prices,
        stop_signals=parts.stop_signals,
        streams=streams,
        compaction=_make_compaction(parts),
        titles=_make_titles(parts),
        context=own.context,
    )


def _make_titles(parts: _Parts) -> Titles | None:
    model_id, max_tokens = parts.settings.storage.title_model, parts.settings.model.model_max_tokens
    if model_id == "off":
        return None
    return Titles(parts.provider, parts.conversations, parts.rate_limiter, parts.prices, model_id, max_tokens)


def _register(parts: _Parts) -> None:
    """What happens at start-up, before a snapshot and at shutdown."""
    on_startup(partial(_warm_up, parts))
    before_snapshot(http_pool.close)  # no socket survives a snapshot; the next use creates a new client
    # Run in reverse order, each even if another one fails.
    on_shutdown(http_pool.close)
    on_shutdown(parts.store.close)
    on_shutdown(parts.executor.close)
    if parts.servers:
        on_shutdown(parts.servers.close)


def _shown(formats: tuple[Format, ...], settings: ModelSettings) -> tuple[tuple[Format, ...], Callable[[Any], Any]]:
    """The formats as they answer, and what shows a kept message: without what a model thinks, if that is hidden."""
    if settings.show_reasoning:
        return formats, lambda message: message
    from winterbourne.chat.formats import hidden_reasoning  # noqa: PLC0415 - only if it is hidden

    return tuple(map(hidden_reasoning.hide_reasoning, formats)), hidden_reasoning.without_reasoning_text


def _check_path(path: str, routes: Routes) -> None:
    if not re.fullmatch(r"(/[\w~-][\w.~-]*)+", path, re.ASCII):
        raise SettingsError(f"a format's path must be like /plain or /v2/plain, not {path!r}")
    with contextlib.suppress(RequestRejected):
        Router(routes).match("POST", path)
        raise SettingsError(f"two formats or endpoints have the path {path}")


def _make_mcp_servers(
    settings: ToolSettings, executor: ToolExecutor, records: CallRecords, mcp_token: "McpToken | None"
) -> "McpServers | None":
    """The MCP servers whose tools are added to the executor; None if the settings name none."""
    if not settings.mcp_servers:
        return None
    from winterbourne.chat.tool_runtime.mcp.servers import McpServers  # noqa: PLC0415 - only if there is one

    return McpServers(settings, executor, records, mcp_token)


def _make_compaction(parts: _Parts) -> "Callable[[], Compaction] | None":
    model, provider = parts.settings.model, parts.provider

    @cache
    def make() -> "Compaction":
        from winterbourne.chat.http.compaction import Compaction  # noqa: PLC0415 - only for long conversations

        price = parts.prices.priced
        return Compaction(provider, capabilities_of(provider), price, model.compaction_model, model.model_max_tokens)

    return make if model.compaction == "auto" else None


async def _warm_up(parts: _Parts) -> None:
    """Load keys, and what is known of the model, at cold start: it takes too long for the first request."""
    http_pool.client()
    with contextlib.suppress(Exception):  # of a provider of one's own: the first request says so
        capabilities_of(parts.provider)("")
        parts.prices.highest(model_name(parts.provider, ModelRequest(messages=())), 0, 0)
    try:
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await parts.authenticator.prepare()
    except Exception as error:
        _LOGGER.warning("authentication is not prepared", exc_info=None if isinstance(error, TimeoutError) else error)
    if parts.servers:
        await parts.servers.connect()
    telemetry.mark_ready()
