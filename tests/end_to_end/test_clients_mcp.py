"""MCP clients against the local function URL: the official SDKs for Python and for Node, and the inspector."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult
from pydantic import AnyUrl

from tests import npm
from tests.end_to_end.asking_chat import AskingChat
from tests.end_to_end.token_issuer import token_issuer
from tests.local_server import DOOR, local_server

pytestmark = pytest.mark.slow

TOOLS = ["calculate", "convert_currency", "current_time", "get_stock_quote", "get_weather"]
SUM = {"expression": "6 * 7"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
class TestPythonSdk:
    async def test_lists_and_calls(self, chat: str, mode: Any) -> None:
        async with Client(f"{chat}/mcp", mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
            result = await client.call_tool("calculate", SUM)
        assert isinstance(result, CallToolResult)
        assert "42" in str(result.content)
        assert not result.is_error

    async def test_gets_the_error_of_a_tool_as_its_result(self, chat: str, mode: Any) -> None:
        async with Client(f"{chat}/mcp", mode=mode) as client:
            result = await client.call_tool("calculate", {"expression": "1 +"})
        assert isinstance(result, CallToolResult)
        assert result.is_error

    async def test_gets_an_error_of_the_protocol(self, chat: str, mode: Any) -> None:
        async with Client(f"{chat}/mcp", mode=mode) as client:
            with pytest.raises(MCPError, match="there is no tool nothing"):
                await client.call_tool("nothing", {})

    async def test_may_ask_for_progress(self, chat: str, mode: Any) -> None:
        async def ignore(progress: float, total: float | None, message: str | None) -> None: ...

        async with Client(f"{chat}/mcp", mode=mode) as client:
            result = await client.call_tool("calculate", SUM, progress_callback=ignore)
        assert isinstance(result, CallToolResult)
        assert "42" in str(result.content)


class TestApproval:
    """A tool that asks a person first asks the one before the client."""

    @staticmethod
    async def pay(asking: AskingChat, action: Any, mode: Any = "auto") -> tuple[CallToolResult, list[str]]:
        """The result, and what the person was asked."""
        asked: list[str] = []

        async def decide(context: Any, params: ElicitRequestParams) -> ElicitResult:
            asked.append(params.message)
            return ElicitResult(action=action)

        async with Client(f"{asking.url}/mcp", mode=mode, elicitation_callback=decide) as client:
            result = await client.call_tool("pay", {"euros": 5})
        assert isinstance(result, CallToolResult)
        return result, asked

    async def test_a_call_that_is_allowed_runs_once(self, asking: AskingChat) -> None:
        result, asked = await self.pay(asking, "accept")
        assert asked == ['Pay 5 EUR?\npay {"euros":5}']
        assert (result.structured_content, asking.runs) == ({"done": "pay 5"}, ["pay 5"])

    @pytest.mark.parametrize("action", ["decline", "cancel"])
    async def test_a_call_that_is_not_allowed_does_not_run(self, asking: AskingChat, action: str) -> None:
        result, _ = await self.pay(asking, action)
        assert "did not allow" in str(result.content)
        assert (result.is_error, asking.runs) == (True, [])

    async def test_with_a_session_nobody_is_asked_and_the_model_is_told(self, asking: AskingChat) -> None:
        result, asked = await self.pay(asking, "accept", "legacy")
        assert "needs a person's approval" in str(result.content)
        assert (asked, asking.runs) == ([], [])


class Tokens:
    """Where the SDK keeps its token and its registration, and the person who lets it have them."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client_info: OAuthClientInformationFull | None = None
        self.asked: dict[str, str] = {}

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client_info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client_info = client_info

    async def open_page(self, url: str) -> None:
        self.asked = dict(parse_qsl(urlsplit(url).query))

    async def come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code="any", state=self.asked["state"])


@pytest.mark.skipif(DOOR == "rest", reason="clients look for metadata at the root of a host, where no stage is")
async def test_the_python_sdk_gets_itself_a_token_from_the_issuer_of_jwts(tmp_path: Path) -> None:
    tokens, metadata = Tokens(), OAuthClientMetadata(redirect_uris=[AnyUrl("http://localhost/back")])
    with token_issuer() as issuer:
        settings = (
            "AUTH=jwt",
            "JWT_AUDIENCE=chat",
            f"JWT_ISSUER={issuer}",
            f"JWT_JWKS_URL={issuer}/keys",
            "JWT_SCOPE=tide",
        )
        with local_server(tmp_path, *(f"--env={setting}" for setting in settings)) as server:
            url = f"{server.url}/mcp"
            auth = OAuthClientProvider(url, metadata, tokens, tokens.open_page, tokens.come_back)
            http = create_mcp_http_client(auth=auth)
            async with http, Client(streamable_http_client(url, http_client=http)) as client:
                assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
    assert (tokens.asked["resource"], tokens.asked["scope"]) == (url, "tide")


def test_the_sdk_for_node_lists_and_calls(chat: str) -> None:
    outcome = npm.run("mcp.mjs", f"{chat}/mcp")
    assert outcome["tools"] == TOOLS
    assert "42" in outcome["result"]["content"][0]["text"]
    assert outcome["server"] == "Winterbourne"
    assert outcome["refused"] == -32602


def inspect(chat: str, *arguments: str) -> Any:
    """What the inspector's command line prints."""
    command = [str(npm.clients() / "node_modules/.bin/mcp-inspector"), "--cli", f"{chat}/mcp", "--transport", "http"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_inspector_lists_and_calls(chat: str) -> None:
    assert [tool["name"] for tool in inspect(chat, "--method", "tools/list")["tools"]] == TOOLS
    tool = "--method", "tools/call", "--tool-name", "calculate", "--tool-arg", f"expression={SUM['expression']}"
    assert "42" in inspect(chat, *tool)["content"][0]["text"]
