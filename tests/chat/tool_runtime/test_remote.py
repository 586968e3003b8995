"""Remote tools: tools that run in another Lambda function."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer
from msgspec import Meta

from tests.chat.tool_keys import keys_of
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra.decompression import decompress
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime import remote
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.remote import remote_tool
from winterbourne.override import override

SETTINGS = Settings.of(aws_region="eu-central-1", tool_worker_function="worker:live").values()


@remote_tool("{TOOL_WORKER_FUNCTION}", timeout_s=5)
async def double(number: Annotated[int, Meta(ge=0)], label: str = "x") -> None:
    """Double a number."""


async def halve(number: int) -> None:
    """Halve a number."""


class StubLambda(httpx.AsyncBaseTransport):
    """A stub of Lambda's Invoke API that sends a preset answer."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json={"content": "42"})

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
async def api() -> AsyncIterator[tuple[StubLambda, ToolContext]]:
    api = StubLambda()
    async with httpx.AsyncClient(transport=api) as client:
        clients = HttpClients(asynchronous=lambda: client)
        yield (
            api,
            ToolContext(request_id="r-1", caller="ada", keys=keys_of(double, SETTINGS), clients=clients, deadline=1e12),
        )


async def run(tool: Tool, arguments: str, context: ToolContext) -> Any:
    return await tool.call(tool.validate_arguments(arguments), context)


class TestInvocation:
    async def test_goes_to_the_function_that_the_setting_names(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        assert str(api[0].requests[0].url) == (
            "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions/worker%3Alive/invocations"
        )

    async def test_is_signed_for_lambda(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        assert "/eu-central-1/lambda/aws4_request" in api[0].requests[0].headers["authorization"]

    async def test_carries_the_validated_arguments_and_the_caller(self, api: tuple[StubLambda, ToolContext]) -> None:
        await run(double, '{"number":21}', api[1])
        payload = json.loads(api[0].requests[0].content)
        assert payload.pop("timeout_s") > 0
        assert payload == {
            "tool": "double",
            "arguments": {"number": 21, "label": "x"},
            "request_id": "r-1",
            "caller": "ada",
        }

    async def test_returns_the_result(self, api: tuple[StubLambda, ToolContext]) -> None:
        assert await run(double, '{"number":21}', api[1]) == 42

    async def test_has_the_schema_of_its_signature(self) -> None:
        properties: Any = double.schema.parameters["properties"]
        assert properties["number"] == {"type": "integer", "minimum": 0}

    async def test_with_invalid_arguments_is_not_sent(self, api: tuple[StubLambda, ToolContext]) -> None:
        with pytest.raises(ToolError, match=r"\$\.number"):
            await run(double, '{"number":-1}', api[1])
        assert not api[0].requests

    async def test_goes_to_another_endpoint_if_one_is_set(self, api: tuple[StubLambda, ToolContext]) -> None:
        settings = Settings.of(
            aws_region="eu-central-1", tool_worker_function="w", aws_endpoint_url_lambda="http://127.0.0.1:1"
        )
        clients = HttpClients(asynchronous=lambda: api[1].http)
        context = ToolContext(keys=keys_of(double, settings.values()), clients=clients, deadline=1e12)
        await run(double, '{"number":21}', context)
        assert api[0].requests[0].url.host == "127.0.0.1"


class TestFunctionArn:
    @pytest.mark.parametrize(
        ("arn", "region", "host"),
        [
            ("arn:aws:lambda:us-west-2:123456789012:function:w:live", "us-west-2", "lambda.us-west-2.amazonaws.com"),
            (
                "arn:aws-cn:lambda:cn-north-1:123456789012:function:w",
                "cn-north-1",
                "lambda.cn-north-1.amazonaws.com.cn",
            ),
            ("123456789012:function:w", "eu-central-1", "lambda.eu-central-1.amazonaws.com"),
        ],
    )
    async def test_is_called_in_its_own_region(
        self, api: tuple[StubLambda, ToolContext], arn: str, region: str, host: str
    ) -> None:
        tool = remote_tool(arn)(halve)
        await run(tool, '{"number":21}', api[1])
        (request,) = api[0].requests
        assert request.url.host == host
        assert f"/{region}/lambda/aws4_request" in request.headers["authorization"]


class TestCaller:
    async def caller_sent(self, api: tuple[StubLambda, ToolContext], **options: Any) -> tuple[Tool, str]:
        tool = remote_tool("w", **options)(halve)
        clients = HttpClients(asynchronous=lambda: api[1].http)
        caller = None if tool.is_cache_shared else "ada"
        context = ToolContext(caller=caller, keys=keys_of(tool, SETTINGS), clients=clients, deadline=1e12)
        await run(tool, '{"number":21}', context)
        return tool, msgspec.json.decode(api[0].requests[-1].content)["caller"]

    @pytest.mark.parametrize("options", [{}, {"cache_ttl_s": 60}, {"cache_ttl_s": 60, "cache_per_caller": True}])
    async def test_is_sent_to_the_function_and_separates_cached_results(
        self, api: tuple[StubLambda, ToolContext], options: dict[str, Any]
    ) -> None:
        tool, caller = await self.caller_sent(api, **options)
        assert (tool.is_cache_shared, caller) == (False, "ada")

    async def test_is_not_sent_if_all_callers_share_the_results(self, api: tuple[StubLambda, ToolContext]) -> None:
        tool, caller = await self.caller_sent(api, cache_ttl_s=60, cache_per_caller=False)
        assert (tool.is_cache_shared, caller) == (True, "")


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "error", "sentence"),
        [
            (lambda: httpx.Response(429), ToolUnavailable, "busy or broken"),
            (lambda: httpx.Response(500), ToolUnavailable, "busy or broken"),
            (lambda: httpx.Response(403), ToolError, "cannot be called"),
            (
                lambda: httpx.Response(200, headers={"x-amz-function-error": "Unhandled"}, json={}),
                ToolUnavailable,
                "failed while it ran",
            ),
            (lambda: httpx.Response(200, text="null"), ToolUnavailable, "cannot be read"),
            (lambda: httpx.Response(200, json={"content": "{"}), ToolUnavailable, "cannot be read"),
            (lambda: httpx.Response(200, json={"content": "too odd", "is_error": True}), ToolError, "^too odd$"),
        ],
    )
    async def test_is_one_sentence_for_the_model(
        self,
        api: tuple[StubLambda, ToolContext],
        answer: Callable[[], httpx.Response],
        error: type[ToolError],
        sentence: str,
    ) -> None:
        api[0].answer = answer
        with pytest.raises(error, match=sentence):
            await run(double, '{"number":21}', api[1])

    async def test_of_the_network_means_unavailable(self, api: tuple[StubLambda, ToolContext]) -> None:
        def fail() -> httpx.Response:
            raise httpx.ConnectError("no route")

        api[0].answer = fail
        with pytest.raises(ToolUnavailable, match="cannot be reached"):
            await run(double, '{"number":21}', api[1])

    @pytest.mark.parametrize("encoding", ["gzip, gzip", "br"])
    async def test_to_decompress_is_an_answer_that_cannot_be_read(
        self, api: tuple[StubLambda, ToolContext], encoding: str
    ) -> None:
        packed = httpx.ByteStream(gzip.compress(gzip.compress(b"{}")))
        api[0].answer = lambda: decompress(httpx.Response(200, headers={"content-encoding": encoding}, stream=packed))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await run(double, '{"number":21}', api[1])

    async def test_an_answer_larger_than_lambda_allows_cannot_be_read(
        self, api: tuple[StubLambda, ToolContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "MAX_PAYLOAD_BYTES", 1000)
        api[0].answer = lambda: httpx.Response(200, json={"content": "x" * 1000})
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await run(double, '{"number":21}', api[1])

    async def test_a_payload_over_the_limit_is_rejected_before_it_is_sent(
        self, api: tuple[StubLambda, ToolContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "MAX_PAYLOAD_BYTES", 100)
        with pytest.raises(ToolError, match="accepts 100"):
            await run(double, json.dumps({"number": 1, "label": "x" * 100}), api[1])
        assert not api[0].requests


async def test_a_tool_without_its_setting_reports_that_before_any_call() -> None:
    (message,) = await run_turn(ToolExecutor([double], keys=Settings().values()), tool_call("double", number=1))
    assert message.content.startswith("double is not set up here: TOOL_WORKER_FUNCTION is not set.")


@pytest.fixture
async def moto_lambda() -> AsyncIterator[tuple[str, ToolContext]]:
    """moto's Lambda without containers: functions are not found, or answer with a preset result instead of running."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    settings = Settings.of(aws_region="us-east-1", tool_worker_function="worker", aws_endpoint_url_lambda=url)
    async with httpx.AsyncClient() as client:
        clients = HttpClients(asynchronous=lambda: client)
        yield url, ToolContext(keys=keys_of(double, settings.values()), clients=clients, deadline=1e12)
    server.stop()


@pytest.fixture
def without_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(default_user_config, "lambda", {"use_docker": False})


class TestInvokeApi:
    async def test_reports_a_function_that_does_not_exist(self, moto_lambda: tuple[str, ToolContext]) -> None:
        with pytest.raises(ToolError, match=r"cannot be called \(HTTP 404\)"):
            await run(double, '{"number":21}', moto_lambda[1])

    @pytest.mark.usefixtures("without_containers")
    async def test_returns_the_answer_of_the_function(self, moto_lambda: tuple[str, ToolContext]) -> None:
        result = {"results": ['{"content": "42"}'], "region": "us-east-1"}
        (
            await moto_lambda[1].http.post(f"{moto_lambda[0]}/moto-api/static/lambda-simple/response", json=result)
        ).raise_for_status()
        assert await run(double, '{"number":21}', moto_lambda[1]) == 42

    @pytest.mark.usefixtures("without_containers")
    async def test_with_another_kind_of_function_gives_no_result(self, moto_lambda: tuple[str, ToolContext]) -> None:
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await run(double, '{"number":21}', moto_lambda[1])
