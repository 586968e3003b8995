"""Events as requests: a function URL's, a REST API's and those of callers of Invoke; whatever else comes is refused."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, handle
from tests.chat.test_app import make_service
from tests.chat.test_way import ANSWER
from tests.runtime.harness import serving, url_event
from tests.runtime.runtime_api import Outcome
from tests.upstream import Exchange, failing, saying, upstream
from winterbourne.chat.http import lambda_events
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.http.request import LARGE_CHARS
from winterbourne.chat.settings import DoorSettings
from winterbourne.errors import RuntimeFault
from winterbourne.http_event import read_http_event
from winterbourne.invocation import TRACE_ID, FrontEnd

pytestmark = pytest.mark.usefixtures("own_hooks")

XRAY = "Root=1-6921a3f0-3b1c52d17e8a4f0692d5ab37;Parent=53995c3f42cd8ad8;Sampled=1"

URL_EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/chat/a%20b%2Fc",
    "rawQueryString": "a=1&a=2&b=x%20y&c=",
    "cookies": ["x=1", "y=2"],
    "headers": {"Content-Type": "application/json", "cookie": "x=1;y=2", "x-api-key": "k"},
    "requestContext": {
        "domainName": "abc.lambda-url.us-east-1.on.aws",
        "http": {"method": "post", "path": "/chat/a b/c", "sourceIp": "192.0.2.1"},
        "authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:user/ada", "userId": "AIDA"}},
        "requestId": "of-the-url",
        "timeEpoch": 1795348320113,
    },
    "body": "{}",
    "isBase64Encoded": False,
}

REST_EVENT: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": "/chat/a%20b%2Fc",
    "httpMethod": "POST",
    "headers": {"Host": "api.example.com", "accept": "b"},
    "multiValueHeaders": {"Host": ["api.example.com"], "accept": ["a", "b"], "Cookie": ["x=1", "y=2"]},
    "queryStringParameters": {"a": "2"},
    "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x y"], "c": [""]},
    "pathParameters": {"proxy": "chat/a%20b%2Fc"},
    "requestContext": {
        "path": "/v1/chat/a%20b%2Fc",
        "stage": "v1",
        "requestId": "of-the-gateway",
        "requestTimeEpoch": 1795348320113,
        "identity": {"sourceIp": "203.0.113.9", "userArn": None, "caller": None},
    },
    "body": None,
    "isBase64Encoded": False,
}


def read(event: Any, timeout_s: float = 900) -> Any:
    door = LambdaDoor(None, DoorSettings(request_timeout=timeout_s))  # type: ignore[arg-type]
    return door.read(event, FakeLambdaContext("r-9", remaining_ms=30_000))


class TestAFunctionUrl:
    async def test_says_all_of_a_request(self) -> None:
        request = read(URL_EVENT)
        assert (request.method, request.raw_path, request.root_path) == ("POST", "/chat/a%20b%2Fc", "")
        assert (request.raw_query, request.query) == ("a=1&a=2&b=x%20y&c=", {"a": "2", "b": "x y", "c": ""})
        assert request.headers == {"content-type": "application/json", "x-api-key": "k", "cookie": "x=1; y=2"}
        assert (request.raw_body, request.is_base64, request.client) == ("{}", False, "192.0.2.1")
        assert request.identity == {"userArn": "arn:aws:iam::123456789012:user/ada", "userId": "AIDA", "kind": "iam"}
        assert (request.request_id, request.received_ms, request.is_bare) == ("r-9", 1795348320113, False)
        assert request.door_fields == {}

    async def test_may_leave_out_what_it_does_not_know(self) -> None:
        request = read({"requestContext": {"http": {}}, "headers": None, "body": None})
        assert (request.method, request.raw_path, request.raw_query, request.headers) == ("GET", "/", "", {})
        assert (request.raw_body, request.client, request.identity) == ("", "", {})
        assert request.received_ms > 1e12

    async def test_keeps_no_large_body(self) -> None:
        event = {"requestContext": {"http": {}}, "body": "x" * (LARGE_CHARS + 1)}
        assert read(event).raw_body == "x" * (LARGE_CHARS + 1)
        assert event["body"] is None

    @pytest.mark.parametrize(("timeout_s", "remaining_s"), [(900, 30), (12, 12)])
    async def test_ends_with_lambda_or_with_what_stands_before_it(self, timeout_s: float, remaining_s: float) -> None:
        now = asyncio.get_running_loop().time()
        assert read(URL_EVENT, timeout_s).deadline - now == pytest.approx(remaining_s, abs=1)

    async def test_traces_on_with_the_segment_of_the_invocation(self) -> None:
        token = TRACE_ID.set(XRAY)
        try:
            traced = read(
                URL_EVENT | {"headers": {"x-amzn-trace-id": "Root=1-00000000-000000000000000000000000"}}
            ).trace
        finally:
            TRACE_ID.reset(token)
        assert traced == {
            "x-amzn-trace-id": XRAY,
            "traceparent": "00-6921a3f03b1c52d17e8a4f0692d5ab37-53995c3f42cd8ad8-01",
        }


class TestARestApi:
    async def test_says_all_of_a_request(self) -> None:
        request = read(REST_EVENT)
        assert (request.method, request.raw_path, request.root_path) == ("POST", "/chat/a%20b%2Fc", "/v1")
        assert (request.raw_query, request.query["a"]) == ("a=1&a=2&b=x+y&c=", "2")
        assert request.headers == {"host": "api.example.com", "accept": "a,b", "cookie": "x=1; y=2"}
        assert (request.raw_body, request.client, request.identity) == ("", "203.0.113.9", {})
        assert (request.request_id, request.received_ms, request.is_bare) == ("r-9", 1795348320113, True)
        assert request.door_fields == {"gateway_request_id": "of-the-gateway"}

    async def test_may_send_null_for_what_is_not_there(self) -> None:
        names = ["headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "body"]
        nulls = dict.fromkeys([*names, "pathParameters"])
        request = read(REST_EVENT | nulls | {"resource": "/", "path": "/", "requestContext": {"path": "/v1/"}})
        assert (request.raw_path, request.root_path, request.raw_query, request.headers) == ("/", "/v1", "", {})

    async def test_may_have_half_a_character_in_its_query(self) -> None:
        assert read(REST_EVENT | {"multiValueQueryStringParameters": {"a": ["\ud83d"]}}).query == {"a": "?"}

    async def test_under_a_base_path_has_it_before_its_path(self) -> None:
        mapped = {"path": "/tiler/chat", "pathParameters": {"proxy": "chat"}, "requestContext": {"path": "/tiler/chat"}}
        request = read(REST_EVENT | mapped)
        assert (request.root_path, request.raw_path) == ("/tiler", "/chat")

    @pytest.mark.parametrize(
        ("context", "identity"),
        [
            (
                {"identity": {"userArn": "arn:u", "caller": "AIDA", "accountId": "1"}},
                {"userArn": "arn:u", "userId": "AIDA", "accountId": "1", "kind": "iam"},
            ),
            ({"authorizer": {"claims": {"sub": "ada"}}}, {"sub": "ada", "kind": "jwt"}),
            ({"authorizer": {"principalId": "ada", "kind": "iam"}}, {"principalId": "ada", "kind": "authorizer"}),
            (
                {"authorizer": {"claims": '{"sub": "ada"}', "iam": "AIDA"}},
                {"claims": '{"sub": "ada"}', "iam": "AIDA", "kind": "authorizer"},
            ),
            ({"authorizer": None, "identity": None}, {}),
        ],
    )
    async def test_says_who_called_as_it_has_been_verified(self, context: Any, identity: Any) -> None:
        assert read(REST_EVENT | {"requestContext": {"path": "/v1/chat", **context}}).identity == identity

    @given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.sampled_from(["", "/v1", "/base/path"]))
    def test_splits_any_path_in_two(self, segments: list[str], root: str) -> None:
        own = "/" + "/".join(quote(segment, safe="") for segment in segments)
        event = REST_EVENT | {"pathParameters": {"proxy": own[1:]}, "requestContext": {"path": root + own}}
        http = read_http_event(event, FrontEnd.REST_API)
        assert (http.root_path, http.raw_path) == (root, own)


class TestOtherSenders:
    @pytest.mark.parametrize(
        ("event", "source"),
        [
            ({}, "an unknown sender"),
            ({"message": "hello"}, "an unknown sender"),
            ([1], "an unknown sender"),
            ({"Records": [{"eventSource": "aws:sqs"}]}, "aws:sqs"),
            ({"httpMethod": "POST", "path": "/chat", "requestContext": {"elb": {}}}, "load balancer"),
            ({"version": "1.0", "httpMethod": "POST", "requestContext": {}}, "HTTP API, payload 1.0"),
            ({"httpMethod": "POST", "path": "/chat"}, "an unknown sender"),
        ],
    )
    async def test_are_refused_by_name(self, event: Any, source: str) -> None:
        with pytest.raises(RuntimeFault, match=f"a chat accepts HTTP events only, of: .*; this one is from {source}"):
            await handle(make_service(), event, RecordedResponse())

    async def test_an_http_api_is_answered_and_warned_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        lambda_events._warn_of_http_api.cache_clear()
        context = {"domainName": "a.execute-api.us-east-1.amazonaws.com", "http": {"method": "GET"}}
        with caplog.at_level(logging.WARNING, "winterbourne.chat"):
            for _ in range(2):
                response = RecordedResponse()
                await handle(make_service(), {"rawPath": "/healthz", "requestContext": context}, response)
                assert json.loads(response.body) == {"status": "ok"}
        assert [record.message for record in caplog.records if "HTTP API" in record.message] == [
            "an HTTP API collects each answer and sends it at its end: put a function URL or a REST API there"
        ]


@pytest.mark.parametrize("event", [URL_EVENT, REST_EVENT], ids=["function URL", "REST API"])
class TestAFieldOfAnotherType:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("body", 1),
            ("body", ["{}"]),
            ("headers", ["a"]),
            ("isBase64Encoded", "yes"),
            ("cookies", "x=1"),
            ("path", 7),
        ],
    )
    async def test_is_named_in_an_answer(self, event: dict[str, Any], field: str, value: object) -> None:
        response = RecordedResponse()
        await handle(make_service(), event | {field: value}, response)
        assert response.response
        assert response.response.status == 400
        assert json.loads(response.body)["error"]["message"].startswith(f"{field}: expected ")

    @given(st.data())
    def test_never_fails_an_invocation(self, event: dict[str, Any], data: st.DataObject) -> None:
        """One field anywhere in it; what then is no HTTP event any more is refused as others are."""
        event, response = json.loads(json.dumps(event)), RecordedResponse()
        node, key = data.draw(st.sampled_from([*nodes(event)]))
        node[key] = data.draw(st.sampled_from([None, True, 0, -1, 1.5, "", "text", [], [1], ["a"], {}, {"a": 1}]))
        with contextlib.suppress(RuntimeFault):
            asyncio.run(handle(make_service(), event, response))
            assert response.response
            assert response.response.status < 500


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where each value in it is."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from nodes(inner)


async def test_a_post_through_a_rest_api_is_a_post() -> None:
    """Once it was read as `GET /`, and answered with the page."""
    response = RecordedResponse()
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
    rest = {"pathParameters": {"proxy": "chat"}, "path": "/chat", "body": body}
    context = {"path": "/v1/chat", "identity": {"sourceIp": "203.0.113.9"}}
    headers = {"multiValueHeaders": {"Content-Type": ["application/json"]}, "requestContext": context}
    await handle(make_service(), REST_EVENT | rest | headers, response)
    assert response.frames[-1]["type"] == "done"


@pytest.mark.parametrize(
    ("asked", "query", "location"),
    [("/v1", "", "./v1/"), ("/v1", "a=1", "./v1/?a=1"), ("//elsewhere.example", "", "./elsewhere.example/")],
)
async def test_the_page_of_a_stage_without_a_slash_is_at_the_one_with_it(asked: str, query: str, location: str) -> None:
    """Its links would lead out of the stage."""
    context = {"path": asked, "identity": {}}
    asks = {"queryStringParameters": None, "multiValueQueryStringParameters": {"a": ["1"]} if query else None}
    root = asks | {"resource": "/", "path": "/", "httpMethod": "GET", "pathParameters": None, "requestContext": context}
    response = RecordedResponse()
    await handle(make_service(), REST_EVENT | root, response)
    assert response.response
    assert (response.response.status, dict(response.response.headers)["location"]) == (308, location)
    response = RecordedResponse()
    context["path"] = f"{asked}/"
    await handle(make_service(), REST_EVENT | root, response)
    assert response.response
    assert response.response.status == 200


class TestManagedInstances:
    """Several invocations at once in one process; Lambda tells their callers of a timeout, and ends nothing."""

    QUESTION: ClassVar = url_event(
        "POST", "/chat", body=json.dumps({"messages": [{"role": "user", "content": "?"}]})
    ) | {"headers": {"content-type": "application/json"}}

    async def test_each_chat_has_its_own_trace(self) -> None:
        """Nothing of a request is taken from the environment, which they share."""
        arrived, all_arrived = list[Exchange](), asyncio.Event()

        async def answer_together(exchange: Exchange) -> None:
            arrived.append(exchange)
            if len(arrived) == 8:
                all_arrived.set()
            await all_arrived.wait()
            await saying(ANSWER)(exchange)

        async with upstream(answer_together) as provider:
            service = make_service(model_provider="openai", openai_base_url=f"{provider.url}/v1")
            async with serving(LambdaDoor(service).handle, pollers=8) as api:
                traces = [f"Root=1-6921a3f0-3b1c52d17e8a4f0692d5ab3{n};Parent=53995c3f42cd8ad8" for n in range(8)]
                asked = [api.submit(self.QUESTION, Lambda_Runtime_Trace_Id=trace) for trace in traces]
                answers = [await invocation.outcome for invocation in asked]
        assert sorted(exchange.headers["x-amzn-trace-id"] for exchange in arrived) == traces
        assert all(b'"done"' in answer.payload for answer in answers)

    async def test_a_timeout_that_nobody_enforces_is_ours(self) -> None:
        async def hang(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.gone()
            cut.set()

        cut = asyncio.Event()
        async with upstream(hang) as provider:
            service = make_service(
                model_provider="openai", openai_base_url=f"{provider.url}/v1", deadline_margin=0.5, title_model="off"
            )
            async with serving(LambdaDoor(service).handle, pollers=2) as api:
                answer = await api.invoke(self.QUESTION, deadline_s=1)
                await asyncio.wait_for(cut.wait(), 10)
        assert json.loads(answer.payload.split(b"data: ")[-1])["code"] == "deadline_reached"
        assert not answer.trailers


class TestErrorTrailers:
    """ERROR_TRAILERS: Lambda counts an answer that failed, and its reader has the error frame first."""

    HELLO: ClassVar = [{"role": "user", "content": "hello", "id": "m", "parts": [{"type": "text", "text": "hello"}]}]
    BODIES: ClassVar[dict[str, dict[str, Any]]] = {
        "/chat": {"messages": HELLO},
        "/api/chat": {"id": "c", "messages": HELLO},
        "/agui": {"threadId": "t", "runId": "r", "state": {}, "messages": HELLO, "tools": [], "context": []},
        "/v1/chat/completions": {"model": "m", "messages": HELLO, "stream": True},
    }

    async def ask(self, path: str, *, fails: bool = True, event: Any = None, **settings: object) -> Outcome:
        answer = failing(400, b'{"error":{"message":"said by the provider"}}') if fails else saying(ANSWER)
        async with upstream(answer) as provider:
            address = {"model_provider": "openai", "openai_base_url": f"{provider.url}/v1", "model_id": "m"}
            service = make_service(**address, **{"error_trailers": True, **settings})
            headers = {"headers": {"content-type": "application/json"}}
            asked = event or url_event("POST", path, body=json.dumps(self.BODIES[path])) | headers
            async with serving(LambdaDoor(service).handle) as api:
                outcome = await api.invoke(asked)
                await api.invoke(url_event("GET", "/healthz"))  # is taken once all of the first is done
                return outcome

    @pytest.mark.parametrize("path", BODIES)
    async def test_come_after_the_error_frame_of_each_format(self, path: str) -> None:
        plain, trailed = await self.ask(path, error_trailers=False), await self.ask(path)
        assert plain.complete
        assert (len(plain.payload), plain.trailers) == (len(trailed.payload), {})
        assert b"request-1" in trailed.payload
        assert trailed.trailers["lambda-runtime-function-error-type"] == "Function.model_refused"
        assert trailed.trailing_error == {
            "errorMessage": "The model does not accept this request.",
            "errorType": "Function.model_refused",
            "requestId": "request-1",
            "stackTrace": [],
        }

    async def test_come_where_something_is_done_after_the_end(self) -> None:
        answer = await self.ask("/chat", limit_tokens_per_day=10**6)
        assert (json.loads(answer.payload.split(b"data: ")[-1])["type"], bool(answer.trailers)) == ("error", True)

    async def test_are_not_there_if_the_answer_is_whole(self) -> None:
        answer = await self.ask("/chat", fails=False)
        assert (b'"done"' in answer.payload, answer.trailers) == (True, {})

    async def test_are_not_there_where_the_answer_is_one_document(self) -> None:
        context = {"domainName": "a.execute-api.us-east-1.amazonaws.com", "http": {"method": "POST"}}
        api = {"rawPath": "/chat", "requestContext": context, "headers": {"content-type": "application/json"}}
        answer = await self.ask("/chat", event=api | {"body": json.dumps(self.BODIES["/chat"])})
        assert "model_refused" in answer.json["body"]
        assert answer.trailers == {}
