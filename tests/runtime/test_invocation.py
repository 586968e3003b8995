"""Invocations: events and HTTP events; the context, each attribute as that of the stock Python client; results."""

import asyncio
import json
import math
import time
from decimal import Decimal
from typing import Any

import pytest
from awslambdaric.lambda_context import LambdaContext as StockContext
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.harness import serving, url_event
from winterbourne import LambdaContext, current_context, current_trace_id
from winterbourne.errors import RuntimeFault
from winterbourne.invocation import FrontEnd, encode_result, find_front_end, name_event_source, parse_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_any_json_event_arrives(event: Any) -> None:
    assert parse_event({"content-type": "application/json"}, [bytearray(json.dumps(event).encode())]) == event


def test_other_content_types_arrive_as_bytes() -> None:
    assert (
        parse_event({"content-type": "application/octet-stream"}, [bytearray(b"\xff"), bytearray(b"\x00")])
        == b"\xff\x00"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_invalid_json_raises_lambdas_own_error(body: bytes) -> None:
    with pytest.raises(RuntimeFault, match="Unable to unmarshal input") as raised:
        parse_event({}, [bytearray(body)])
    assert raised.value.error_type == "Runtime.UnmarshalError"


URL_CONTEXT = {"http": {"method": "GET"}, "routeKey": "$default", "stage": "$default"}
REST = {"httpMethod": "GET", "requestContext": {"stage": "live"}}


class TestFrontEnds:
    """An event is known by what it is, not by what it has."""

    @pytest.mark.parametrize(
        ("event", "front_end"),
        [
            (url_event(), FrontEnd.FUNCTION_URL),
            ({"requestContext": {"http": {"method": "GET"}}}, FrontEnd.FUNCTION_URL),
            (
                {"requestContext": URL_CONTEXT | {"domainName": "abc.lambda-url.eu-west-1.on.aws"}},
                FrontEnd.FUNCTION_URL,
            ),
            ({"requestContext": URL_CONTEXT | {"apiId": "local", "domainPrefix": "local"}}, FrontEnd.FUNCTION_URL),
            (
                {"requestContext": URL_CONTEXT | {"domainName": "a.execute-api.eu-west-1.amazonaws.com"}},
                FrontEnd.HTTP_API,
            ),
            ({"requestContext": URL_CONTEXT | {"routeKey": "GET /ports"}}, FrontEnd.HTTP_API),
            ({"requestContext": URL_CONTEXT | {"stage": "live"}}, FrontEnd.HTTP_API),
            ({"requestContext": URL_CONTEXT | {"apiId": "abc", "domainPrefix": "api"}}, FrontEnd.HTTP_API),
            (REST, FrontEnd.REST_API),
            (REST | {"version": None}, FrontEnd.REST_API),
            (REST | {"version": "1.0"}, FrontEnd.HTTP_API_1),
            (REST | {"requestContext": {"elb": {}}}, FrontEnd.LOAD_BALANCER),
            (REST | {"requestContext": {"elb": {}}, "multiValueHeaders": {}}, FrontEnd.LOAD_BALANCER_MULTI_VALUE),
        ],
    )
    def test_of_http_events(self, event: Any, front_end: FrontEnd) -> None:
        assert find_front_end(event) is front_end

    @pytest.mark.parametrize(
        ("event", "source"),
        [
            (None, "an unknown sender"),
            ("text", "an unknown sender"),
            ([1], "an unknown sender"),
            ({}, "an unknown sender"),
            ({"requestContext": None}, "an unknown sender"),
            ({"Records": [{"eventSource": "aws:sqs"}]}, "aws:sqs"),
            ({"Records": [{"EventSource": "aws:sns"}]}, "aws:sns"),
            ({"Records": [{"cf": {}}]}, "CloudFront"),
            ({"Records": []}, "an unknown sender"),
            ({"version": "0", "detail-type": "Tide", "source": "gauges"}, "EventBridge"),
            ({"requestContext": {"connectionId": "c", "eventType": "CONNECT"}}, "a WebSocket API"),
            ({"version": "2.0", "method": "GET", "requestContext": {"serviceNetworkArn": "a"}}, "VPC Lattice"),
            ({"raw_path": "/", "method": "GET"}, "VPC Lattice"),
            (REST | {"type": "REQUEST", "methodArn": "arn"}, "a Lambda authorizer"),
            ({"type": "REQUEST", "routeArn": "arn", "requestContext": URL_CONTEXT}, "a Lambda authorizer"),
        ],
    )
    def test_of_all_others_is_none_and_their_source_is_named(self, event: Any, source: str) -> None:
        assert find_front_end(event) is None
        assert name_event_source(event) == source


class TestResults:
    @given(JSON)
    def test_any_json_is_sent(self, result: Any) -> None:
        body, content_type = encode_result(result)
        assert content_type == "application/json"
        assert json.loads(body) == result

    def test_bytes_are_sent_as_they_are(self) -> None:
        assert encode_result(b"\xff") == (b"\xff", "application/unknown")

    def test_text_is_not_escaped(self) -> None:
        assert encode_result("grüß")[0] == '"grüß"'.encode()

    def test_a_lone_surrogate_is_escaped(self) -> None:
        assert encode_result(["\ud800", Decimal("1.5")])[0] == b'["\\ud800", 1.5]'

    def test_a_decimal_keeps_its_digits(self) -> None:
        assert encode_result({"a": Decimal("1.10"), "b": Decimal("0.1") ** 30})[0] == b'{"a": 1.10, "b": 1E-30}'

    def test_a_decimal_that_is_not_a_number_is_nan(self) -> None:
        assert math.isnan(json.loads(encode_result(Decimal("-NaN"))[0]))

    def test_bytes_within_json_are_text(self) -> None:
        assert encode_result({"a": b"x"})[0] == b'{"a": "x"}'

    @pytest.mark.parametrize("result", [object(), {1, 2}, {(1,): 2}, {"a": b"\xff"}])
    def test_anything_else_raises_lambdas_own_error(self, result: Any) -> None:
        with pytest.raises(RuntimeFault, match="Unable to marshal response") as raised:
            encode_result(result)
        assert raised.value.error_type == "Runtime.MarshalError"


ENVIRON = {
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/chat",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/22/[1]abc",
    "AWS_LAMBDA_FUNCTION_NAME": "chat",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
}
CLIENT = {
    "client": {"installation_id": "i", "app_title": "t", "app_version_name": "v", "app_version_code": "c"},
    "custom": {"a": 1},
    "env": {"make": "m"},
    "w3c": {"traceparent": "00-1", "tracestate": 7, "baggage": "b", "other": "x"},
}
IDENTITY = {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}
ATTRIBUTES = [name for name in vars(StockContext("", None, None, 0)) if not name.startswith("_")]


def ours(client: Any = CLIENT, identity: Any = IDENTITY, deadline_ms: int = 0) -> LambdaContext:
    headers = {
        "lambda-runtime-aws-request-id": "r-1",
        "lambda-runtime-invoked-function-arn": "arn:aws:lambda:x",
        "lambda-runtime-aws-tenant-id": "blue",
        "lambda-runtime-deadline-ms": str(deadline_ms),
    }
    given = {"lambda-runtime-client-context": client, "lambda-runtime-cognito-identity": identity}
    return LambdaContext(headers | {k: json.dumps(v) for k, v in given.items() if v is not None}, ENVIRON)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> StockContext:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    client = json.loads(json.dumps(CLIENT))
    return StockContext("r-1", client, IDENTITY, 0, "arn:aws:lambda:x", "blue")


@pytest.mark.parametrize("name", [n for n in ATTRIBUTES if n not in {"client_context", "identity"}])
def test_each_attribute_is_that_of_the_stock_client(name: str, stock: StockContext) -> None:
    assert getattr(ours(), name) == getattr(stock, name)


@pytest.mark.parametrize("name", ["custom", "env"])
def test_each_attribute_of_the_client_context_is_that_of_the_stock_client(name: str, stock: StockContext) -> None:
    assert getattr(ours().client_context, name) == getattr(stock.client_context, name)


@pytest.mark.parametrize(
    "name", ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]
)
def test_each_attribute_of_its_client_is_that_of_the_stock_client(name: str, stock: StockContext) -> None:
    client = ours().client_context
    assert client is not None
    assert getattr(client.client, name) == getattr(stock.client_context.client, name)


@pytest.mark.parametrize("name", ["cognito_identity_id", "cognito_identity_pool_id"])
def test_each_attribute_of_the_identity_is_that_of_the_stock_client(name: str, stock: StockContext) -> None:
    assert getattr(ours().identity, name) == getattr(stock.identity, name)


def test_the_w3c_trace_context_is_that_of_the_stock_client(stock: StockContext) -> None:
    assert ours().w3c() == stock.w3c() == {"traceparent": "00-1", "baggage": "b"}


def test_without_client_and_identity() -> None:
    context = ours(None, None)
    assert context.client_context is None
    assert context.identity.cognito_identity_id is None
    assert context.w3c() == {}


@pytest.mark.parametrize("name", ["lambda-runtime-client-context", "lambda-runtime-cognito-identity"])
def test_a_header_that_is_not_json_raises_lambdas_own_error(name: str) -> None:
    with pytest.raises(RuntimeFault, match="Unable to parse") as raised:
        LambdaContext({name: "{"}, {})
    assert raised.value.error_type == "Runtime.LambdaContextUnmarshalError"


class TestRemainingTime:
    def test_counts_down_to_the_deadline_in_milliseconds(self) -> None:
        context = ours(deadline_ms=int(time.time() * 1000) + 5000)
        assert 4000 < context.get_remaining_time_in_millis() <= 5000

    def test_is_never_negative(self) -> None:
        assert ours(deadline_ms=1).get_remaining_time_in_millis() == 0


def test_its_repr_shows_what_the_stock_one_shows() -> None:
    shown = repr(ours())
    assert shown.startswith("LambdaContext([aws_request_id=r-1,log_group_name=/aws/lambda/chat,")
    assert shown.endswith("tenant_id=blue])")


def test_log_writes_to_the_functions_log(logged: list[str]) -> None:
    ours().log("said\n")
    assert logged == ["said\n"]


class TestCurrent:
    async def test_is_the_invocations_own_in_coroutines_tasks_and_threads(self) -> None:
        def ids() -> list[str | None]:
            context = current_context()
            return [context.aws_request_id if context else None, current_trace_id()]

        async def handler(event: Any, context: LambdaContext) -> Any:
            return [ids(), await asyncio.create_task(asyncio.to_thread(ids))]

        async with serving(handler) as api:
            for number in "12":
                outcome = await api.invoke()
                assert outcome.json == [[f"request-{number}", f"Root=1-request-{number}"]] * 2

    def test_is_none_outside_of_an_invocation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
        assert current_context() is None
        assert current_trace_id() is None
