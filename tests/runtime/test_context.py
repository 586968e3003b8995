"""LambdaContext: each attribute equals that of the stock Python client."""

import asyncio
import json
import time
from typing import Any

import pytest
from awslambdaric.lambda_context import LambdaContext as StockContext

from tests.runtime.harness import serving
from winterbourne import LambdaContext, current_context, current_trace_id
from winterbourne.errors import RuntimeFault

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

    def test_is_none_outside_of_an_invocation(self) -> None:
        assert current_context() is None
        assert current_trace_id() is None
