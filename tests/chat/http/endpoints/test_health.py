"""Health endpoint: liveness and readiness."""

from typing import cast

from tests.chat.fakes import FakeProvider, SleepingTools
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, request
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.http.endpoints.health import HealthEndpoint
from winterbourne.chat.http.service import Handler, RequestContext


async def probe(handler: Handler) -> RecordedResponse:
    response = RecordedResponse()
    stream = cast("ResponseStream", response)
    await handler(
        RequestContext(
            request=request("GET", "/"),
            caller=ANONYMOUS,
            path_params={},
            stream=stream,
            lambda_context=FakeLambdaContext(),
        )
    )
    return response


async def test_liveness_is_ok_while_the_process_responds() -> None:
    assert (await probe(HealthEndpoint(FakeProvider(), SleepingTools()).liveness)).json == {"status": "ok"}


async def test_readiness_names_the_model_and_the_tools_and_calls_no_model() -> None:
    provider = FakeProvider()
    response = await probe(HealthEndpoint(provider, SleepingTools()).readiness)
    assert response.json == {"status": "ready", "model": "script", "tools": ["sleep"]}
    assert provider.requests == []
