"""Composition: importing makes nothing; a service is built from settings and tools, and starts and stops as a whole."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chat.http_events import FakeLambdaContext, event
from tests.chat.processes import run
from winterbourne import lifecycle, streamify_response
from winterbourne.chat import app
from winterbourne.chat.app import build
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, tool

pytestmark = pytest.mark.usefixtures("own_hooks")

HELLO = {"messages": [{"role": "user", "content": "hello"}], "conversation_id": "c-1", "store": True}


WRONG: Final = {
    "max_turn=3": "there is no setting max_turn; is max_turns meant?",
    "MAX_TURNS=3": "there is no setting MAX_TURNS; is max_turns meant?",
    "tools='chat.tools'": "tools: expected a package, a module, a function, or a list of them, not 'chat.tools'",
    "title=5": "title, greeting, accent, logo and footer: expected text",
    "suggestions=[1]": "suggestions: expected a list of texts",
    "suggestions=5": "suggestions: expected a list of texts",
    "styles=['--ink']": "styles: expected a dict of texts",
    "styles={'--ink': 5}": "styles: expected a dict of texts",
    "styles={'--ink': '#999'}": "styles: --ink on --paper has a contrast of 2.63:1 in light, and needs 4.5:1",
    "page='no'": "page: expected True or False",
    "tools=None": "tools: expected a package",
    "instructions=5": "instructions: expected text or a pathlib.Path",
    "providers=[len]": "providers, stores and auth_schemes: expected dicts",
    "stores={'x': 5}": "providers, stores and auth_schemes: expected dicts",
    "mcp_token='t'": "mcp_token: expected a function",
    "context='noon'": "context: expected a function",
    "formats=native.FORMAT": "formats: expected a list of Format",
    "formats=['/x']": "formats: expected a list of Format",
    "formats=[msgspec.structs.replace(native.FORMAT, path='plain')]": "a format's path must be like /plain",
    "formats=[msgspec.structs.replace(native.FORMAT, path='/chat/a/stop')]": "two formats or endpoints",
    "providers={'p': lambda s: None}, model_provider='p'": "MODEL_PROVIDER: the function for p must return",
    "auth_schemes={'b': lambda s: None}, auth='b'": "AUTH: the function for b must return a Authen",
    "stores={'x': lambda name: None}, store='x:y'": "STORE: the function for x must return a Store",
    "model_provider='opnai'": "MODEL_PROVIDER: expected one of scripted",
    "max_turns='many'": "MAX_TURNS: expected int, got str",
    "instructions='a', system_prompt='b'": "instructions and system_prompt are one setting",
    "instructions='instructions.md'": "instructions: instructions.md is text; for the file of that name pass",
    "instructions=pathlib.Path('/no/such')": "the instructions /no/such cannot be read: FileNotFoundError",
    "auth='oracle'": "AUTH: expected one of api_key, jwt, iam, none",
    "store='redis:x'": "STORE: expected one of memory",
    "formats=[native.FORMAT]": "two formats or endpoints have the path /chat",
}
"""Arguments that a chat cannot be made of, and how the error begins that says so."""


@tool
def ring_bell() -> str:
    """Ring the bell."""
    return "ding"


@tool(name="ring_bell")
def ring_other_bell() -> str:
    """Ring the other bell."""
    return "dong"


@tool
def hoist_flag() -> str:
    """Hoist the flag."""
    return "up"


SETTINGS = Settings.of(auth="none", scripted_words_per_second=0, title_model="off")


def make_service(*tools: Tool, **settings: object) -> Service:
    values = {"auth": "none", "scripted_words_per_second": 0, "title_model": "off", **settings}
    return build(Settings.of(**values), tools, telemetry.make_logger())


async def send(service: Service, method: str, path: str, body: object = None) -> Any:
    """The whole response, as a client that cannot stream gets it."""
    handler = streamify_response(LambdaDoor(service).handle)
    return await handler._serve_buffered(event(method, path, body), FakeLambdaContext())


def pool_is_open() -> bool:
    return http_pool._Pool.client is not None


def test_importing_the_engine_makes_nothing() -> None:
    code = """
    import importlib, logging, os, pkgutil, sys, threading
    descriptors, root = len(os.listdir("/dev/fd")), len(logging.getLogger().handlers)
    import winterbourne.chat
    for module in pkgutil.walk_packages(winterbourne.chat.__path__, "winterbourne.chat."):
        importlib.import_module(module.name)
    from winterbourne import lifecycle
    from winterbourne.chat.infra import http_pool, redaction
    loggers = [logging.getLogger(name) for name in logging.Logger.manager.loggerDict if name.startswith("winterbourne")]
    print({
        "modules": "winterbourne.chat.app" in sys.modules,
        "threads": threading.active_count() - 1,
        "files and sockets": len(os.listdir("/dev/fd")) - descriptors,
        "log handlers": [logger.name for logger in loggers if logger.handlers] + logging.getLogger().handlers[root:],
        "hooks": lifecycle._startup_hooks + lifecycle._shutdown_hooks,
        "HTTP clients": [client for client in (http_pool._Pool.client, http_pool._Pool.sync_client) if client],
        "secrets": redaction.redact("x") != "x",
    })
    """
    nothing = {"threads": 0, "files and sockets": 0, "log handlers": [], "hooks": [], "HTTP clients": []}
    assert run(code, preamble="") == str({"modules": True, **nothing, "secrets": False})


def test_building_imports_only_what_the_settings_select() -> None:
    """Every import is part of a cold start."""
    code = """
    import os, sys
    from chat import app
    unused = {"jsonschema_rs", "jwt", "boto3", "sqlite3", "cryptography", "winterbourne.chat.tool_runtime.mcp.servers"}
    unused |= {"winterbourne.chat.core.compaction", "winterbourne.chat.http.compaction"}
    unused |= {f"winterbourne.chat.providers.{name}" for name in ("openai", "anthropic", "bedrock")}
    print(unused & set(sys.modules), "winterbourne.chat.providers.scripted" in sys.modules)
    """
    assert run(code, AUTH="none", MODEL_PROVIDER="scripted").endswith("set() True")


def test_an_environment_with_stuck_threads_retires_after_the_response() -> None:
    """Stuck threads cost memory and CPU for good; Lambda starts a fresh environment instead."""
    code = """
    import os
    from winterbourne import streamify_response
    from winterbourne.chat.app import build
    from winterbourne.chat.http.lambda_events import LambdaDoor
    from winterbourne.chat.process_setup import set_up_process
    settings, logger = set_up_process(os.environ)
    handler = streamify_response(LambdaDoor(build(settings, [hang], logger)).handle)
    event = {
        "rawPath": "/chat",
        "requestContext": {"http": {"method": "POST"}},
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"messages": [{"role": "user", "content": "hang"}]}),
    }
    answer = handler(event, CONTEXT)
    print("timed_out" in answer["body"], '"done"' in answer["body"], retired)
    """
    output = run(code, AUTH="none", SCRIPTED_WORDS_PER_SECOND="0", TOOL_ABANDONED_LIMIT="1")
    assert output.endswith("True True [True]")


class TestBuilding:
    async def test_two_services_share_no_tools_and_no_conversations(self) -> None:
        one, other = make_service(ring_bell), make_service(hoist_flag)
        assert json.loads((await send(one, "GET", "/readyz"))["body"])["tools"] == ["ring_bell"]
        assert json.loads((await send(other, "GET", "/readyz"))["body"])["tools"] == ["hoist_flag"]
        assert '"done"' in (await send(one, "POST", "/chat", HELLO))["body"]
        assert len(json.loads((await send(one, "GET", "/conversations"))["body"])["conversations"]) == 1
        assert json.loads((await send(other, "GET", "/conversations"))["body"])["conversations"] == []

    async def test_each_service_has_its_own_limits_and_callers(self) -> None:
        limited = make_service(limit_requests_per_minute=1)
        closed = make_service(auth="api_key")
        assert [(await send(limited, "POST", "/chat", HELLO))["statusCode"] for _ in range(2)] == [200, 429]
        assert (await send(closed, "POST", "/chat", HELLO))["statusCode"] == 401
        assert (await send(make_service(), "POST", "/chat", HELLO))["statusCode"] == 200

    @pytest.mark.parametrize(
        ("settings", "failed"),
        [
            ({"auth": "api_key"}, "auth"),
            ({"auth": "jwt", "jwt_issuer": "http://127.0.0.1:9", "jwt_audience": "a"}, "auth"),
            ({"model_provider": "openai", "openai_base_url": "http://127.0.0.1:9/v1"}, "model"),
        ],
    )
    async def test_what_cannot_answer_a_single_chat_is_not_ready(self, settings: dict[str, str], failed: str) -> None:
        answer = await send(make_service(**settings), "GET", "/readyz")
        assert (answer["statusCode"], json.loads(answer["body"])["error"]["message"]) == (503, f"not ready: {failed}")

    def test_wrong_settings_are_found(self) -> None:
        with pytest.raises(SettingsError, match="MCP_SERVERS"):
            make_service(mcp_servers="station")
        with pytest.raises(SettingsError, match="AUTH=jwt"):
            make_service(auth="jwt")

    async def test_of_two_tools_with_the_same_name_the_second_is_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = make_service(ring_bell, ring_other_bell)
        assert "Two tools are named ring_bell." in caplog.text
        assert json.loads((await send(service, "GET", "/readyz"))["body"])["tools"] == ["ring_bell"]


@pytest.fixture(scope="module")
def errors() -> dict[str, str]:
    """What each of the wrong arguments leads to, in a fork of one process that has imported everything."""
    code = f"""
    import msgspec, os, pathlib
    from winterbourne.chat import Chat, SettingsError
    from winterbourne.chat.formats import native
    for arguments in {list(WRONG)}:
        if os.fork():
            os.wait()
            continue
        os.environ["MODEL_PROVIDER"] = "" if "{{'p'" in arguments else "scripted"
        try:
            Chat(**{{"auth": "none", **eval(f"dict({{arguments}})")}})
        except SettingsError as error:
            print(json.dumps([arguments, str(error)]), flush=True)
        os._exit(0)
    """
    return dict(json.loads(line) for line in run(code).splitlines() if line.startswith("["))


class TestChat:
    """`Chat(...)`: a process of its own for each, since it starts an execution environment."""

    def test_answers_with_its_tools_instructions_and_settings(self, tmp_path: Path) -> None:
        (tmp_path / "instructions.md").write_text("Speak of ships alone.\n")
        code = f"""
        import pathlib
        from winterbourne.chat import Chat

        def ring_bell(times: int) -> str:
            \"\"\"Ring the bell.\"\"\"
            return "ding"

        instructions = pathlib.Path({str(tmp_path)!r}, "instructions.md")
        chat = Chat(tools=[ring_bell, hang], instructions=instructions, auth="none", max_turns=3)
        event = {{"rawPath": "/readyz", "requestContext": {{"http": {{"method": "GET"}}}}}}
        print(json.loads(chat.handler(event, CONTEXT)["body"])["tools"])
        print(chat.settings.model.system_prompt, chat.settings.stream.max_turns)
        """
        assert run(code).splitlines()[-2:] == ["['ring_bell', 'hang']", "Speak of ships alone. 3"]

    def test_is_an_asgi_application_too(self) -> None:
        code = """
        import httpx
        from winterbourne.chat import Chat

        async def ask(app) -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat") as client:
                body = {"messages": [{"role": "user", "content": "hello"}]}
                print((await client.post("/chat", json=body)).text.strip().splitlines()[-1])

        asyncio.run(ask(Chat(tools=hang, auth="none", scripted_words_per_second=0).asgi))
        """
        assert '"type":"done"' in run(code).splitlines()[-1]

    def test_a_variable_wins_over_an_argument_and_the_log_says_so_once(self) -> None:
        code = """
        from winterbourne.chat import Chat
        chat = Chat(instructions="Be brief.", max_turns=3, auth="none", http_timeout=5)
        print(chat.settings.stream.max_turns, chat.settings.model.system_prompt, chat.settings.http.http_timeout)
        """
        *log, last = run(code, MAX_TURNS="4", SYSTEM_PROMPT="Be long.", AUTH="").splitlines()
        assert last == "4 Be long. 5.0"
        (line,) = (each for each in map(json.loads, log) if "variables_win" in each)
        assert line["message"] == "variables win over arguments: MAX_TURNS, SYSTEM_PROMPT"

    def test_a_misspelt_variable_is_a_warning_but_not_what_a_tool_declares(self) -> None:
        code = """
        from winterbourne.chat import Chat
        @tool(keys=["OPENAI_APIKEY"], needs=["MAX_TURN"])
        def ring_bell() -> str:
            \"\"\"Ring.\"\"\"
        Chat(tools=ring_bell, auth="none")
        """
        log = run(code, MODEL_PROVDER="openai", OPENAI_APIKEY="k", MAX_TURN="3").splitlines()
        warned = [line["message"] for line in map(json.loads, log) if "is not a setting" in line["message"]]
        assert warned == ["MODEL_PROVDER is not a setting; is MODEL_PROVIDER meant?"]

    def test_two_in_one_process_have_tools_and_callers_of_their_own_and_one_pool(self) -> None:
        code = """
        from winterbourne.chat import Chat, SettingsError
        one = Chat(tools=hang, auth="none", service_name="one")
        other = Chat(auth="none", service_name="other")
        event = {"rawPath": "/readyz", "requestContext": {"http": {"method": "GET"}}}
        print([json.loads(chat.handler(event, CONTEXT)["body"])["tools"] for chat in (one, other)])
        try:
            Chat(auth="none", http_pool_maxsize=7)
        except SettingsError as error:
            print(error)
        """
        *log, tools, error = run(code).splitlines()
        assert tools == "[['hang'], []]"
        assert error.startswith("one HTTP pool serves the whole process")
        requests = [line for line in map(json.loads, log) if line.get("message") == "request"]
        assert [line["service"] for line in requests] == ["one", "other"]

    @pytest.mark.parametrize("arguments", WRONG)
    def test_what_is_wrong_is_an_error_that_names_it(self, arguments: str, errors: dict[str, str]) -> None:
        assert errors[arguments].startswith(WRONG[arguments])

    def test_a_key_that_is_an_argument_is_masked_even_if_another_argument_is_wrong(self) -> None:
        code = """
        from winterbourne.chat import Chat, SettingsError
        from winterbourne.chat.infra import redaction
        try:
            Chat(openai_api_key="sk-made-up-key", max_turn=6)
        except SettingsError:
            print(redaction.redact("it is sk-made-up-key"))
        """
        assert run(code) == "it is [redacted]"

    def test_a_tool_of_a_worker_is_offered_only_if_there_is_one(self) -> None:
        code = """
        from winterbourne.chat import Chat, remote_tool
        @remote_tool("{TOOL_WORKER_FUNCTION}")
        async def dig(depth: int) -> int:
            \"\"\"Dig.\"\"\"
        chat = Chat(tools=dig, auth="none")
        event = {"rawPath": "/readyz", "requestContext": {"http": {"method": "GET"}}}
        print(json.loads(chat.handler(event, CONTEXT)["body"])["tools"])
        """
        assert run(code).endswith("[]")
        assert run(code, TOOL_WORKER_FUNCTION="worker").endswith("['dig']")


@tool(approval=True)
def sink_ship() -> str:
    """Sink a ship."""
    return "gone"


@tool(needs=("HARBOUR",))
def dredge() -> str:
    """Dredge the harbour."""
    return "deep"


class TestPage:
    async def test_without_suggestions_it_offers_what_the_tools_do_that_can_be_used(self) -> None:
        tools = ring_bell, sink_ship, dredge, hoist_flag
        service = build(SETTINGS, tools, telemetry.make_logger(), PageOptions(suggestions=None))
        html = (await send(service, "GET", "/"))["body"]
        assert re.findall(r'class="suggestion" dir="auto"( data-fill)>([^<]*)<', html) == [
            (" data-fill", "Ring the bell"),
            (" data-fill", "Hoist the flag"),
        ]

    async def test_with_an_empty_list_it_offers_nothing(self) -> None:
        service = build(SETTINGS, [ring_bell], telemetry.make_logger(), PageOptions(suggestions=()))
        assert 'class="suggestion"' not in (await send(service, "GET", "/"))["body"]

    async def test_it_is_told_how_the_chat_is_deployed(self) -> None:
        html = (await send(make_service(model_id="a", model_choices="b"), "GET", "/"))["body"]
        [told] = re.findall(r"id=config>(.*?)</script>", html)
        config = json.loads(told)
        assert (config["auth"], config["isDurable"], config["models"]) == ("none", False, ["a", "b"])

    async def test_it_signs_its_readers_in_where_it_is_known_to_the_issuer(self) -> None:
        issuer = {"jwt_issuer": "http://127.0.0.1:9", "jwt_audience": "chat"}
        for client, signs_in in ({}, False), ({"jwt_client_id": "page"}, True):
            service = make_service(auth="jwt", **issuer, **client)
            [told] = re.findall(r"id=config>(.*?)</script>", (await send(service, "GET", "/"))["body"])
            assert ("signIn" in json.loads(told)) is signs_in

    async def test_there_is_none_if_the_chat_wants_none(self) -> None:
        service = build(SETTINGS, [ring_bell], telemetry.make_logger(), PageOptions(is_served=False))
        for path in ("/", "/web/x/logo.svg"):
            response = await send(service, "GET", path)
            assert (response["statusCode"], response["headers"]["x-error-code"]) == (404, "not_found")
        assert (await send(service, "GET", "/healthz"))["statusCode"] == 200
        assert (await send(service, "POST", "/chat", HELLO))["statusCode"] == 200

    def test_its_look_is_what_the_chat_says(self) -> None:
        code = """
        from winterbourne.chat import Chat
        def look(**options):
            event = {"rawPath": "/", "requestContext": {"http": {"method": "GET"}}}
            return Chat(auth="none", **options).handler(event, CONTEXT)
        face = {"footer": "Be kind.", "styles": {"--serif": "Georgia"}, "suggestions": ["Hello"], "accent": "#a0281e"}
        texts = "Be kind.</footer>", "--serif:Georgia", ">Hello</button>", "#a0281e"
        body, status = look(**face)["body"], look(page=False)["statusCode"]
        print([text in body for text in texts], status)
        """
        assert run(code).endswith("[True, True, True, True] 404")


class TestStartingAndStopping:
    async def test_the_http_pool_is_open_from_start_up_to_shutdown(self) -> None:
        make_service()
        assert not pool_is_open()
        await lifecycle.run_startup()
        assert pool_is_open()
        await lifecycle.run_shutdown()
        assert not pool_is_open()

    async def test_what_two_chats_share_is_closed_after_what_each_has(self) -> None:
        """Their stores may have to be written to over the pool."""
        make_service()
        make_service()
        pool, *others = lifecycle._shutdown_hooks
        assert pool is http_pool.close
        assert len(others) == 4
        assert pool not in others

    async def test_a_store_that_fails_to_close_does_not_keep_the_rest_from_closing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class BrokenStore:
            is_shared = False

            async def close(self) -> None:
                raise OSError

        monkeypatch.setattr(app, "make_store", lambda *_: BrokenStore())
        make_service()
        await lifecycle.run_startup()
        with pytest.raises(ExceptionGroup) as failures:
            await lifecycle.run_shutdown()
        assert len(failures.value.exceptions) == 1
        assert not pool_is_open()
        lifecycle._shutdown_hooks.clear()  # it would fail once more at the end of the test

    async def test_a_slow_authentication_scheme_delays_the_start_only_briefly(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class SlowAuthenticator:
            async def prepare(self) -> None:
                await asyncio.Event().wait()

        monkeypatch.setattr(app, "PREPARE_TIMEOUT_S", 0.0)
        monkeypatch.setattr(app, "make_authenticator", lambda *_: SlowAuthenticator())
        make_service()
        await lifecycle.run_startup()

    async def test_a_scheme_that_cannot_be_prepared_is_a_line_in_the_log(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class BrokenAuthenticator:
            async def prepare(self) -> None:
                raise OSError

        monkeypatch.setattr(app, "make_authenticator", lambda *_: BrokenAuthenticator())
        make_service()
        await lifecycle.run_startup()
        assert "authentication is not prepared" in caplog.text

    async def test_shutdown_cancels_connecting_to_mcp_servers(self) -> None:
        connected = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            make_service(mcp_servers=f"station=http://127.0.0.1:{port}/mcp")
            starting = asyncio.create_task(lifecycle.run_startup())
            await connected.wait()
            (listing,) = [task for task in asyncio.all_tasks() if "_load_or_refresh" in str(task.get_coro())]
            await lifecycle.run_shutdown()
            assert listing.cancelled()
            await starting
