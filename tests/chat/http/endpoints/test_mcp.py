"""MCP endpoint: the chat's own tools for MCP clients of both eras, without sessions."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.client.auth.utils import build_protected_resource_metadata_discovery_urls
from mcp.shared.auth import ProtectedResourceMetadata

from tests.chat import http_events
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, call_endpoint, event, read_event
from tests.chat.test_app import make_service
from tests.clock import jumping
from winterbourne import streamify_response
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import InputRequired
from winterbourne.chat.http.endpoints.mcp import HANDSHAKE_VERSIONS, MODERN_VERSION, McpEndpoint
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.tool_runtime.declaration import Tool, ToolContext, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

META = "io.modelcontextprotocol/"
ADA = Caller("ada", "Ada")
FORMS: dict[str, Any] = {"form": {}}


@tool
async def add(one: int, other: int) -> dict[str, int]:
    """Add."""
    return {"sum": one + other}


@tool
async def say(text: str) -> str:
    """Say it."""
    return text


@tool
async def count(context: ToolContext) -> int:
    """Count."""
    await context.progress("one")
    await context.progress({"two": 2})
    return 3


@tool(timeout_s=30)
async def hang() -> str:
    """Hang."""
    await asyncio.sleep(3600)
    return "never"


PAID: list[int] = []


@tool(approval=True)
async def pay(eur: int) -> str:
    """Pay."""
    PAID.append(eur)
    return "paid"


@tool
async def whisper(context: ToolContext) -> str:
    """Tell who asks."""
    return context.caller


def make_endpoint(*tools: Tool, **settings: object) -> McpEndpoint:
    parts = Settings.of(**settings)
    executor = ToolExecutor(tools, records=CallRecords(make_store("memory")))
    return McpEndpoint(parts.request, parts.stream, executor, executor.schemas, "Harbour desk")


def message(method: str, params: Mapping[str, Any] | None = None, id_: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params or {}}


def modern(
    method: str, params: Mapping[str, Any] | None = None, capabilities: Any = None, **headers: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of 2026-07-28 with its headers."""
    meta = {f"{META}protocolVersion": MODERN_VERSION, f"{META}clientCapabilities": capabilities or {}}
    params = {**(params or {}), "_meta": {**(params or {}).get("_meta", {}), **meta}}
    own = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": method, "mcp-name": str(params.get("name", ""))}
    return message(method, params), {**own, **{name.replace("_", "-"): text for name, text in headers.items()}}


async def send(
    endpoint: McpEndpoint, body: Any, headers: Mapping[str, str] | None = None, remaining_ms: int = 60_000
) -> RecordedResponse:
    request = read_event(event("POST", "/mcp", body, {"content-type": "application/json", **(headers or {})}))
    return await call_endpoint(endpoint.handle, request, ADA, remaining_ms)


def call(name: Any, arguments: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments or {}, **more}


def frames(response: RecordedResponse) -> list[Any]:
    return [json.loads(line[6:]) for line in response.body.decode().splitlines() if line.startswith("data: ")]


class TestBothEras:
    async def test_list_the_tools(self) -> None:
        endpoint = make_endpoint(add)
        old = (await send(endpoint, message("tools/list"))).json["result"]
        new = (await send(endpoint, *modern("tools/list"))).json["result"]
        assert old == {"tools": [{"name": "add", "description": "Add.", "inputSchema": add.parameters}]}
        assert new["tools"] == old["tools"]
        assert (new["resultType"], new["cacheScope"]) == ("complete", "private")

    @pytest.mark.parametrize("is_modern", [True, False])
    async def test_call_a_tool(self, *, is_modern: bool) -> None:
        params = call("add", {"one": 1, "other": 2})
        request = modern("tools/call", params) if is_modern else (message("tools/call", params), {})
        result = (await send(make_endpoint(add), *request)).json["result"]
        assert result["structuredContent"] == {"sum": 3}
        assert result["content"] == [{"type": "text", "text": '{"sum":3}'}]
        assert result["isError"] is False
        assert result.get("resultType") == ("complete" if is_modern else None)

    async def test_a_text_is_no_json(self) -> None:
        result = (await send(make_endpoint(say), message("tools/call", call("say", {"text": "a grey sea"})))).json
        assert result["result"] == {"content": [{"type": "text", "text": "a grey sea"}], "isError": False}

    async def test_a_tool_that_fails_has_a_result_that_says_so(self) -> None:
        response = await send(make_endpoint(add), message("tools/call", call("add", {"one": "x"})))
        assert response.status == 200
        assert response.json["result"]["isError"] is True

    async def test_the_caller_is_the_one_of_the_request(self) -> None:
        result = (await send(make_endpoint(whisper), message("tools/call", call("whisper")))).json["result"]
        assert result["content"][0]["text"] == "ada"

    @pytest.mark.parametrize("id_", [0, -1, 1.5, "x", None, True, [1], {"a": 1}])
    async def test_an_id_of_any_type_is_sent_back(self, id_: Any) -> None:
        assert (await send(make_endpoint(), message("tools/list", id_=id_))).json["id"] == id_

    @pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "tools/call"])
    async def test_a_notification_changes_nothing(self, method: str) -> None:
        response = await send(make_endpoint(), {"jsonrpc": "2.0", "method": method})
        assert (response.status, response.body) == (202, b"")


class TestHandshake:
    @pytest.mark.parametrize("version", HANDSHAKE_VERSIONS)
    async def test_a_version_that_is_known_is_agreed_to(self, version: str) -> None:
        result = (await send(make_endpoint(), message("initialize", {"protocolVersion": version}))).json["result"]
        assert result["protocolVersion"] == version
        assert result["serverInfo"]["name"] == "Harbour desk"

    @pytest.mark.parametrize("version", ["1999-01-01", MODERN_VERSION, 5, None, []])
    async def test_another_one_is_answered_with_the_newest(self, version: Any) -> None:
        response = await send(make_endpoint(), message("initialize", {"protocolVersion": version}))
        assert response.json["result"]["protocolVersion"] == HANDSHAKE_VERSIONS[0]
        assert "mcp-session-id" not in response.headers

    async def test_a_ping_is_answered(self) -> None:
        assert (await send(make_endpoint(), message("ping"))).json["result"] == {}


class TestErrors:
    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            ((message("resources/list"), {}), 200, -32601),
            (modern("ping"), 404, -32601),
            (modern("initialize"), 404, -32601),
            (modern("tools/list", mcp_method="tools/call"), 400, -32020),
            (modern("tools/call", call("add"), mcp_name="say"), 400, -32020),
            (modern("tools/list", mcp_protocol_version="2025-11-25"), 400, -32020),
            ((message("tools/list"), {"mcp-protocol-version": MODERN_VERSION}), 400, -32602),
            ((message("tools/list"), {"mcp-protocol-version": "2031-01-01"}), 400, -32022),
            (modern("tools/call", call("other")), 400, -32602),
            ((message("tools/call", call("other")), {}), 200, -32602),
            ((message("tools/call", call(["add"])), {}), 200, -32602),
            ((message("tools/call", {"name": "add", "arguments": [1]}), {}), 200, -32602),
            (({"id": 1, "result": {}}, {}), 400, -32600),
            (({"id": 1, "method": "ping", "params": []}, {}), 400, -32600),
        ],
    )
    async def test_have_the_codes_of_the_protocol(self, request_: Any, status: int, code: int) -> None:
        response = await send(make_endpoint(add), *request_)
        assert (response.status, response.json["error"]["code"]) == (status, code)

    async def test_a_version_that_is_unknown_is_told_the_known_ones(self) -> None:
        response = await send(make_endpoint(), message("tools/list"), {"mcp-protocol-version": "2031-01-01"})
        assert response.json["error"]["data"]["supported"] == [MODERN_VERSION, *HANDSHAKE_VERSIONS]

    async def test_a_name_may_be_encoded(self) -> None:
        request = modern("tools/call", call("add", {"one": 1, "other": 1}), mcp_name="=?base64?YWRk?=")
        assert "result" in (await send(make_endpoint(add), *request)).json

    @pytest.mark.parametrize("name", ["=?base64?YWRk", "=?base64?*?=", "=?base64?/w==?="])
    async def test_a_name_that_cannot_be_decoded_is_another_one(self, name: str) -> None:
        request = modern("tools/call", call("add"), mcp_name=name)
        assert (await send(make_endpoint(add), *request)).json["error"]["code"] == -32020

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )

    @given(
        method=st.sampled_from(["initialize", "tools/list", "tools/call", "server/discover", "x"]) | json_values,
        params=st.fixed_dictionaries(
            {},
            optional={
                "name": json_values | st.just("say"),
                "arguments": json_values,
                "protocolVersion": json_values,
                "requestState": json_values,
                "inputResponses": json_values | st.fixed_dictionaries({"approval": json_values}),
                "_meta": json_values
                | st.fixed_dictionaries(
                    {f"{META}protocolVersion": json_values | st.just(MODERN_VERSION)},
                    optional={f"{META}clientCapabilities": json_values, "progressToken": json_values},
                ),
            },
        )
        | json_values,
        version=st.sampled_from(["", MODERN_VERSION, "2025-06-18", "x"]),
    )
    def test_whatever_is_sent_is_answered_by_the_protocol(self, method: Any, params: Any, version: str) -> None:
        async def answer() -> RecordedResponse:
            body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
            named = params.get("name") if isinstance(params, dict) else ""
            known = {"mcp-method": str(method), "mcp-name": str(named)} if version == MODERN_VERSION else {}
            known |= {"mcp-protocol-version": version} if version else {}
            return await send(make_endpoint(say), body, known)

        response = asyncio.run(answer())
        assert response.json["id"] == 7
        assert response.json.keys() - {"jsonrpc", "id"} in ({"result"}, {"error"})


class TestProgress:
    async def test_is_streamed_to_a_client_that_asks_for_it(self) -> None:
        request = message("tools/call", call("count", _meta={"progressToken": "t"}), id_="x")
        response = await send(make_endpoint(count), request, {"accept": "application/json, text/event-stream"})
        first, last = frames(response)  # the second progress came at once, and gives way to the result
        assert response.headers["content-type"] == "text/event-stream"
        assert first["params"] == {"progressToken": "t", "progress": 1, "message": "one"}
        assert (last["id"], last["result"]["content"][0]["text"]) == ("x", "3")

    @pytest.mark.parametrize(("token", "accept"), [(None, "text/event-stream"), (1, "application/json")])
    async def test_is_not_sent_to_others(self, token: Any, accept: str) -> None:
        meta = {} if token is None else {"progressToken": token}
        response = await send(
            make_endpoint(count), message("tools/call", call("count", _meta=meta)), {"accept": accept}
        )
        assert response.json["result"]["content"][0]["text"] == "3"

    @pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
    async def test_has_last_words_while_the_event_loop_stands_still(
        self, accept: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the runtime's watchdog asks for them."""
        response, said = RecordedResponse(), list[bytes]()
        monkeypatch.setattr(http_events, "RecordedResponse", lambda: response)

        @tool
        async def block() -> str:
            """Block."""
            assert response.last_words
            said.append(response.last_words(True))  # noqa: FBT003 - as the watchdog calls it
            return "too late"

        request = message("tools/call", call("block", _meta={"progressToken": 1}), id_=7)
        await send(make_endpoint(block), request, {"accept": accept})
        assert json.loads(said[0].partition(b"data: ")[2] or said[0])["error"]["code"] == -32603
        assert response.body == b""

    @jumping
    async def test_a_silent_tool_is_kept_alive(self) -> None:
        request = message("tools/call", call("hang", _meta={"progressToken": 0}))
        endpoint = make_endpoint(hang, heartbeat_interval=10)
        response = await send(endpoint, request, {"accept": "text/event-stream"})
        assert response.body.count(b": keep-alive\n\n") == 2
        assert "did not finish within 30 seconds" in frames(response)[-1]["result"]["content"][0]["text"]


class TestLimits:
    @jumping
    async def test_a_call_ends_before_the_invocation(self) -> None:
        response = await send(make_endpoint(hang), message("tools/call", call("hang")), remaining_ms=10_000)
        assert response.json["result"]["isError"] is True

    async def test_a_missing_key_is_an_error_without_an_id(self) -> None:
        service = make_service(add, auth="api_key", api_keys='{"ada":"key-of-ada"}')
        answer = await streamify_response(LambdaDoor(service).handle)._serve_buffered(
            event("POST", "/mcp", message("tools/list")), FakeLambdaContext()
        )
        assert answer["statusCode"] == 401
        assert json.loads(answer["body"])["id"] is None

    @pytest.mark.parametrize(("method", "status"), [("GET", 405), ("DELETE", 405)])
    async def test_only_posts_are_answered(self, method: str, status: int) -> None:
        handler = streamify_response(LambdaDoor(make_service(add, mcp_endpoint="on")).handle)
        answer = await handler._serve_buffered(event(method, "/mcp"), FakeLambdaContext())
        assert (answer["statusCode"], answer["headers"]["allow"]) == (status, "POST")

    async def test_a_batch_is_refused(self) -> None:
        handler = streamify_response(LambdaDoor(make_service(add, mcp_endpoint="on")).handle)
        answer = await handler._serve_buffered(event("POST", "/mcp", [message("ping")]), FakeLambdaContext())
        body = json.loads(answer["body"])
        assert (answer["statusCode"], body["id"], body["error"]["code"]) == (400, None, -32600)

    async def test_what_is_no_json_cannot_be_parsed(self) -> None:
        handler = streamify_response(LambdaDoor(make_service(add, mcp_endpoint="on")).handle)
        answer = await handler._serve_buffered(event("POST", "/mcp", "{"), FakeLambdaContext())
        assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (400, -32700)

    async def test_a_page_of_another_origin_cannot_send_one_unasked(self) -> None:
        """Without this type, which CORS has to allow, a browser sends a request of any page's."""
        handler = streamify_response(LambdaDoor(make_service(add, mcp_endpoint="on")).handle)
        headers = {"content-type": "text/plain", "origin": "https://evil.example"}
        answer = await handler._serve_buffered(event("POST", "/mcp", message("ping"), headers), FakeLambdaContext())
        assert answer["statusCode"] == 415

    @pytest.mark.parametrize(
        ("settings", "status"),
        [
            ({"auth": "none"}, 404),
            ({"auth": "none", "mcp_endpoint": "on"}, 200),
            ({"auth": "api_key"}, 401),
            ({"auth": "api_key", "mcp_endpoint": "off"}, 404),
        ],
    )
    async def test_it_is_there_where_callers_are_known_unless_a_setting_says_else(
        self, settings: dict[str, str], status: int
    ) -> None:
        handler = streamify_response(LambdaDoor(make_service(add, **settings)).handle)
        answer = await handler._serve_buffered(event("POST", "/mcp", message("ping")), FakeLambdaContext())
        assert answer["statusCode"] == status

    @pytest.mark.parametrize("scope", ["", "chat"])
    @pytest.mark.parametrize("place", [0, 1])
    async def test_clients_are_told_where_to_get_a_token(self, scope: str, place: int) -> None:
        issuer = {"jwt_issuer": "https://id.example", "jwt_audience": "chat", "jwt_scope": scope}
        handler = streamify_response(LambdaDoor(make_service(add, auth="jwt", **issuer)).handle)
        path = httpx.URL(build_protected_resource_metadata_discovery_urls(None, "https://desk.example/mcp")[place]).path
        answer = await handler._serve_buffered(event("GET", path, None, {"Host": "desk.example"}), FakeLambdaContext())
        metadata = ProtectedResourceMetadata.model_validate_json(answer["body"])
        assert str(metadata.resource) == "https://desk.example/mcp"
        assert list(map(str, metadata.authorization_servers)) == ["https://id.example"]
        assert metadata.scopes_supported == ([scope] if scope else None)

    async def test_a_tool_without_its_key_is_not_offered(self) -> None:
        @tool(keys=["KEY_THAT_IS_NOT_SET"])
        async def locked() -> str:
            """Be locked."""
            return ""

        handler = streamify_response(LambdaDoor(make_service(add, locked, mcp_endpoint="on")).handle)
        answer = await handler._serve_buffered(event("POST", "/mcp", message("tools/list")), FakeLambdaContext())
        assert [each["name"] for each in json.loads(answer["body"])["result"]["tools"]] == ["add"]


class TestApproval:
    @pytest.fixture(autouse=True)
    def nothing_paid(self) -> None:
        PAID.clear()

    async def ask(self, endpoint: McpEndpoint, params: Mapping[str, Any], kinds: Any = FORMS) -> Any:
        return (await send(endpoint, *modern("tools/call", params, {"elicitation": kinds}))).json["result"]

    @pytest.mark.parametrize(("action", "paid"), [("accept", [5]), ("decline", []), ("cancel", []), (None, [])])
    async def test_is_asked_for_by_elicitation(self, action: Any, paid: list[int]) -> None:
        endpoint, params = make_endpoint(pay), call("pay", {"eur": 5})
        asked = await self.ask(endpoint, params)
        assert (asked["resultType"], PAID) == ("input_required", [])
        ((key, question),), state = asked["inputRequests"].items(), asked["requestState"]
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == 'May this be run?\npay {"eur":5}'
        answered = params | {"requestState": state, "inputResponses": {key: {"action": action}}}
        result = await self.ask(endpoint, answered)
        assert (PAID, result["resultType"], result["isError"]) == (paid, "complete", not paid)

    async def test_counts_once_and_for_the_arguments_that_were_shown(self) -> None:
        endpoint, params = make_endpoint(pay), call("pay", {"eur": 5})
        asked = await self.ask(endpoint, params)
        yes = {"requestState": asked["requestState"], "inputResponses": {"approval": {"action": "accept"}}}
        assert (await self.ask(endpoint, call("pay", {"eur": 6}) | yes))["isError"]
        results = [await self.ask(endpoint, params | yes) for _ in range(2)]
        assert ([result["isError"] for result in results], PAID) == ([False, True], [5])

    async def test_is_asked_for_again_if_a_client_says_nothing(self) -> None:
        endpoint, params = make_endpoint(pay), call("pay", {"eur": 5})
        asked = await self.ask(endpoint, params)
        again = await self.ask(endpoint, params | {"requestState": asked["requestState"]})
        assert (again["resultType"], PAID) == ("input_required", [])

    async def test_cannot_be_made_up(self) -> None:
        yes = {"requestState": "1.2.3", "inputResponses": {"approval": {"action": "accept"}}}
        assert (await self.ask(make_endpoint(pay), call("pay", {"eur": 5}) | yes))["isError"]
        assert PAID == []

    @pytest.mark.parametrize(("kinds", "asks"), [({}, True), ({"form": {}}, True), ({"url": {}}, False), (5, False)])
    async def test_is_asked_for_as_the_client_can_ask(self, kinds: Any, *, asks: bool) -> None:
        result = await self.ask(make_endpoint(pay), call("pay", {"eur": 5}), kinds)
        assert (result["resultType"] == "input_required") is asks

    async def test_is_all_that_a_person_is_asked_for(self) -> None:
        @tool
        async def fill_in() -> str:
            """Ask for a form."""
            raise InputRequired("Size?", {"type": "object"}, "state")

        assert (await self.ask(make_endpoint(fill_in), call("fill_in")))["isError"]

    @pytest.mark.parametrize("is_modern", [True, False])
    async def test_a_client_that_cannot_ask_is_told_so(self, *, is_modern: bool) -> None:
        params = call("pay", {"eur": 5})
        request = modern("tools/call", params) if is_modern else (message("tools/call", params), {})
        result = (await send(make_endpoint(pay), *request)).json["result"]
        assert "needs a person's approval" in result["content"][0]["text"]
        assert (PAID, result["isError"]) == ([], True)
