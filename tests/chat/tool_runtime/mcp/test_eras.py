"""The two eras of MCP: which one a server speaks is found out while listing, and what a stateless one may do wrong."""

import asyncio
import json
from typing import Any

import httpx
import orjson
import pytest

from tests.chat.tool_runtime.mcp.station import LOOKED, Answer, Station, event_stream, result_of
from tests.clock import jumping
from winterbourne.chat.core.events import EventBatch, ToolApprovalRequested, ToolFinished
from winterbourne.chat.core.messages import Approval, Decision, ToolCall
from winterbourne.chat.errors import StorageUnavailable, ToolError, ToolUnavailable
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.mcp.client import MAX_ROUNDS, MAX_SESSIONS
from winterbourne.chat.tool_runtime.mcp.listing import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from winterbourne.override import override

FORM = {"type": "object", "properties": {"size": {"type": "string"}}, "required": []}
ASKED = {
    "resultType": "input_required",
    "inputRequests": {"k": {"method": "elicitation/create", "params": {"message": "Size?", "requestedSchema": FORM}}},
    "requestState": "state \u00e9\n",
}


async def look_of(station: Station) -> Tool:
    return {tool.name: tool for tool in (await station.client.list_tools()).tools()}["pier_look"]


def error(status: int, code: int) -> Answer:
    return lambda _, m: httpx.Response(status, json={"id": m["id"], "error": {"code": code, "message": "no"}})


class TestStateless:
    async def test_each_request_is_one_round_trip_without_a_session(self) -> None:
        station = Station(modern=True)
        assert await station.look() == "a grey sea"
        assert station.seen == ["tools/list", "tools/call"]
        assert all("mcp-session-id" not in request.headers for request in station.requests)

    async def test_a_call_with_a_known_era_is_the_only_request(self) -> None:
        station = Station(modern=True)
        station.client.is_modern = True  # as kept with the list
        listing = station.client.new_listing()
        listing.add_page([{"name": "look"}])
        assert await listing.tools()[0].call({}, ToolContext()) == "a grey sea"
        assert station.seen == ["tools/call"]

    async def test_a_stream_that_breaks_is_not_resumed(self) -> None:
        station = Station(modern=True, tools__call=lambda *_: event_stream(b"id: 1\ndata: {}\n\n"))
        with pytest.raises(ToolUnavailable, match="ended its answer"):
            await station.look()
        assert station.seen == ["tools/list", "tools/call"]

    async def test_requests_of_the_server_are_not_answered(self) -> None:
        def ask(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            return event_stream({"id": 9, "method": "ping"}, result_of(message))

        station = Station(modern=True, tools__call=ask)
        assert await station.look() == "a grey sea"
        assert station.seen == ["tools/list", "tools/call"]

    @jumping
    async def test_a_cancelled_call_only_closes_its_connection(self) -> None:
        async def never() -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        station = Station(modern=True, tools__call=lambda *_: never())
        look = await look_of(station)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await look.call({}, ToolContext())
        assert station.seen == ["tools/list", "tools/call"]


class TestChange:
    async def test_of_a_server_to_the_new_era_is_followed_by_a_call(self) -> None:
        station = Station()
        look = await look_of(station)
        station._modern = True
        assert await look.call({}, ToolContext()) == "a grey sea"
        assert station.client.is_modern

    async def test_of_a_server_to_the_old_era_is_followed_by_a_call(self) -> None:
        station = Station(modern=True)
        look = await look_of(station)
        station._modern = False
        assert await look.call({}, ToolContext()) == "a grey sea"
        assert not station.client.is_modern

    @pytest.mark.parametrize(("status", "code"), [(400, -32602), (400, -32020), (400, -32021), (200, -32603)])
    async def test_a_refused_call_is_not_taken_for_one(self, status: int, code: int) -> None:
        """It may have been processed: it is sent once."""
        station = Station(modern=True, tools__call=error(status, code))
        with pytest.raises(ToolError, match="no"):
            await station.look()
        assert station.seen == ["tools/list", "tools/call"]

    @pytest.mark.parametrize(("status", "code"), [(400, -32600), (404, -32601), (400, -32022), (400, 0)])
    async def test_a_tool_that_refuses_as_another_era_would_is_not_called_again(self, status: int, code: int) -> None:
        """The official server gives the errors of its tools and its own the same statuses, and speaks both eras."""
        station = Station(modern=None, tools__call=error(status, code))
        with pytest.raises(ToolError, match="no"):
            await station.look()
        assert station.seen == ["tools/list", "tools/call", "tools/list"]

    async def test_a_refused_call_is_not_sent_again_while_its_reason_cannot_be_found_out(self) -> None:
        def list_once(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            listed = result_of(message, {"resultType": "complete", "tools": [{"name": "look"}]})
            return httpx.Response(200, json=listed) if station.seen == ["tools/list"] else httpx.Response(503)

        station = Station(modern=None, tools__list=list_once, tools__call=error(400, -32600))
        with pytest.raises(ToolUnavailable):
            await station.look()
        assert station.seen == ["tools/list", "tools/call", "tools/list"]

    @pytest.mark.parametrize("code", [-32022, -32601, -32020, 0])
    async def test_a_server_that_refuses_every_version_is_asked_once_in_each_era(self, code: int) -> None:
        requests: list[httpx.Request] = []

        def refuse(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            supported = {"supported": ["2026-07-28", "2025-11-25"]}
            return httpx.Response(400, json={"id": 1, "error": {"code": code, "message": "no", "data": supported}})

        station = Station()
        station._http = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
        with pytest.raises(ToolError, match="refused the request: no"):
            await station.client.list_tools()
        assert len(requests) == 2

    async def test_a_server_that_ignores_the_era_is_of_the_old_one(self) -> None:
        def serve(request: httpx.Request) -> httpx.Response:
            sent = orjson.loads(request.content)
            result = {"protocolVersion": "2025-03-26", "tools": [{"name": "look"}], **LOOKED}
            return httpx.Response(200, json=result_of(sent, result)) if "id" in sent else httpx.Response(202)

        station = Station()
        station._http = httpx.AsyncClient(transport=httpx.MockTransport(serve))
        assert await station.look() == "a grey sea"
        assert not station.client.is_modern


class TestCache:
    @pytest.mark.parametrize(
        ("ttl_ms", "ttl_s"),
        [
            (120_000, 120.0),
            (0, MIN_TTL_S),
            (10**30, MAX_TTL_S),
            (-1, MIN_TTL_S),
            ("5", DEFAULT_TTL_S),
            (1.5, DEFAULT_TTL_S),
            (None, DEFAULT_TTL_S),
        ],
    )
    def test_a_list_is_used_as_long_as_the_server_says_within_reason(self, ttl_ms: Any, ttl_s: float) -> None:
        listing = Station().client.new_listing()
        listing.note_cache({"ttlMs": ttl_ms})
        assert listing.ttl_s == ttl_s

    @pytest.mark.parametrize(("scope", "is_private"), [("private", True), ("public", False), (5, False)])
    def test_a_list_is_private_if_a_page_says_so(self, scope: Any, *, is_private: bool) -> None:
        listing = Station().client.new_listing()
        listing.note_cache({"cacheScope": scope})
        listing.note_cache({})
        assert listing.is_private is is_private


class TestCallersTokens:
    @staticmethod
    def station(**options: Any) -> Station:
        async def authorize(caller: str) -> tuple[str, str]:
            return (f"token-of-{caller}", caller) if caller else ("own-token", "")

        station = Station(**options)
        station.client.authorize = authorize
        return station

    async def test_are_sent_with_calls_and_not_while_listing(self) -> None:
        station = self.station(modern=True)
        look = await look_of(station)
        await look.call({}, ToolContext(caller="ada"))
        sent = [request.headers["authorization"] for request in station.requests]
        assert sent == ["Bearer own-token", "Bearer token-of-ada"]

    async def test_open_sessions_of_their_own(self) -> None:
        station = self.station()
        look = await look_of(station)
        await look.call({}, ToolContext(caller="ada"))
        await look.call({}, ToolContext(caller="bob"))
        await look.call({}, ToolContext(caller="ada"))
        used = [(one.headers["mcp-session-id"], one.headers["authorization"]) for one in station.requests[-2:]]
        assert station.seen.count("initialize") == 3
        assert used == [("s3", "Bearer token-of-bob"), ("s2", "Bearer token-of-ada")]

    async def test_have_a_limited_number_of_sessions(self) -> None:
        station = self.station()
        look = await look_of(station)
        for number in range(MAX_SESSIONS):
            await look.call({}, ToolContext(caller=f"caller {number}"))
        assert len(station.client._sessions) == MAX_SESSIONS

    @pytest.mark.parametrize("status", [200, 400])
    @pytest.mark.parametrize("modern", [True, False])
    @pytest.mark.parametrize("caller", ["ada", ""])
    async def test_that_a_server_sends_back_are_left_out(self, status: int, caller: str, *, modern: bool) -> None:
        def echo(request: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            told = {"message": f"you sent {request.headers['authorization']}", "code": -32602}
            body = json.dumps({"id": message["id"], "error": told}).replace("/", "\\/")  # as PHP does
            return httpx.Response(status, content=body, headers={"content-type": "application/json"})

        async def authorize(caller: str) -> tuple[str, str]:
            return "to/ken/of/any", caller

        station = Station(modern=modern, session=False, tools__call=echo)
        station.client.authorize = authorize
        look = await look_of(station)
        with pytest.raises(ToolError, match=r"you sent Bearer \[redacted\]"):
            await look.call({}, ToolContext(caller=caller))


class TestUnfinishedResults:
    @jumping
    async def test_a_server_that_needs_time_is_asked_again_with_its_state(self) -> None:
        def later(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            if message["params"].get("requestState") == "2":
                return httpx.Response(200, json=result_of(message, {"resultType": "complete", **LOOKED}))
            state = str(int(message["params"].get("requestState", "0")) + 1)
            unfinished = {"resultType": "input_required", "requestState": state}
            return httpx.Response(200, json=result_of(message, unfinished))

        station = Station(modern=True, tools__call=later)
        assert await station.look() == "a grey sea"
        assert len({sent["id"] for sent in station.sent}) == 4

    @jumping
    async def test_a_server_that_never_finishes_is_given_up(self) -> None:
        unfinished = {"resultType": "input_required", "requestState": "s"}
        station = Station(modern=True, tools__call=lambda _, m: httpx.Response(200, json=result_of(m, unfinished)))
        with pytest.raises(ToolUnavailable, match="wanted to be asked again"):
            await station.look()
        assert station.seen.count("tools/call") == MAX_ROUNDS

    @pytest.mark.parametrize("kind", ["partial", "", 5, None, ["complete"]])
    async def test_a_result_of_another_kind_is_not_taken_for_a_good_one(self, kind: Any) -> None:
        result = {**LOOKED, "resultType": kind}
        station = Station(modern=True, tools__call=lambda _, m: httpx.Response(200, json=result_of(m, result)))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await station.look()

    @pytest.mark.parametrize("kind", ["input_required", 5])
    async def test_a_list_of_another_kind_is_none(self, kind: Any) -> None:
        page = {"tools": [{"name": "look"}], "resultType": kind}
        station = Station(modern=True, tools__list=lambda _, m: httpx.Response(200, json=result_of(m, page)))
        with pytest.raises(ToolUnavailable, match="a list of tools that cannot be read"):
            await station.client.list_tools()


class Sizes:
    """A station whose tool asks for a size, the executor that calls it, and what was emitted."""

    def __init__(self, records: CallRecords | None = None) -> None:
        self.station = Station(modern=True, tools__call=self.answer)
        self.records = records or CallRecords(make_store("memory"))
        self.events: list[Any] = []

    def answer(self, _: httpx.Request, message: dict[str, Any]) -> httpx.Response:
        responses = message["params"].get("inputResponses")
        if not responses:
            return httpx.Response(200, json=result_of(message, ASKED))
        text = f"size {responses['k']['content']['size']}"
        result = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
        return httpx.Response(200, json=result_of(message, result))

    async def run(self, approvals: Any = "form", decisions: Any = None, arguments: str = "{}") -> list[str]:
        """Call the tool, or go on with a decision; the contents of the results."""
        tools, settings = (await self.station.client.list_tools()).tools(), Settings.of(signing_key="k" * 32).tools
        executor = ToolExecutor(tools, settings, records=self.records)

        async def emit(batch: EventBatch) -> None:
            self.events += batch

        call = ToolCall("c1", "pier_look", arguments)
        async with executor.turn(emit, caller_id="ada", conversation_id="c", approvals=approvals) as calls:
            calls.start(call, decisions)
            return [message.content for message in await calls.results()]

    @property
    def asked(self) -> Approval:
        return next(one.approval for one in reversed(self.events) if isinstance(one, ToolApprovalRequested))


class TestInputOfAPerson:
    async def test_is_asked_for_and_given_back_with_the_state_as_it_was(self) -> None:
        sizes = Sizes()
        assert await sizes.run() == []
        assert (sizes.asked.message, sizes.asked.schema) == ("Size?", FORM)
        decision = Decision(approval_id=sizes.asked.id, approved=True, arguments={"size": "L"})
        assert await sizes.run(decisions=[decision]) == ['"size L"']
        params = sizes.station.sent[-1]["params"]
        assert params["requestState"] == ASKED["requestState"]
        assert params["inputResponses"] == {"k": {"action": "accept", "content": {"size": "L"}}}

    async def test_may_be_asked_for_more_than_once(self) -> None:
        sizes = Sizes()
        await sizes.run()
        sizes.station._answers["tools/call"] = lambda _, m: httpx.Response(200, json=result_of(m, ASKED))
        first = sizes.asked
        decision = Decision(approval_id=first.id, approved=True, arguments={"size": "L"})
        assert await sizes.run(decisions=[decision]) == []
        assert sizes.asked.id != first.id

    @pytest.mark.parametrize("approvals", ["none", "yes_or_no"])
    async def test_fails_where_no_form_can_be_filled_in(self, approvals: Any) -> None:
        sizes = Sizes()
        assert await sizes.run(approvals) == ["The tool's server asks for input, which cannot be given here."]
        capabilities = sizes.station.sent[-1]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        assert capabilities == {}

    async def test_that_is_refused_sends_nothing(self) -> None:
        sizes = Sizes()
        await sizes.run()
        before = sizes.station.seen.count("tools/call")
        results = await sizes.run(decisions=[Decision(approval_id=sizes.asked.id, approved=False)])
        assert (results, sizes.station.seen.count("tools/call")) == (["The user did not allow this call."], before)

    async def test_counts_once(self) -> None:
        sizes = Sizes()
        await sizes.run()
        decision = Decision(approval_id=sizes.asked.id, approved=True, arguments={"size": "L"})
        await sizes.run(decisions=[decision])
        before = sizes.station.seen.count("tools/call")
        (result,) = await sizes.run(decisions=[decision])
        assert "used before" in result
        assert sizes.station.seen.count("tools/call") == before

    async def test_is_for_the_arguments_that_were_asked_about(self) -> None:
        sizes = Sizes()
        await sizes.run()
        decision = Decision(approval_id=sizes.asked.id, approved=True, arguments={"size": "L"})
        (result,) = await sizes.run(decisions=[decision], arguments='{"a":1}')
        assert "could not be verified" in result

    async def test_is_not_asked_for_if_the_state_cannot_be_kept(self) -> None:
        class Away(CallRecords):
            @override
            async def write(self, key: str, body: bytes, expires_at_s: int) -> None:
                raise StorageUnavailable

        sizes = Sizes(Away(make_store("memory")))
        assert await sizes.run() == ["The tool's server asks for input, which cannot be given here."]
        assert [type(one) for one in sizes.events][-1] is ToolFinished
