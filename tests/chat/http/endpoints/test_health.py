"""The two probes."""

from typing import cast

from tests.chat.fakes import FakeProvider, SleepingTools
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, request
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.http.endpoints.health import HealthEndpoint
from winterbourne.chat.http.service import Handler, RequestContext


async def probe(act: Handler) -> RecordedResponse:
    answered = RecordedResponse()
    stream = cast("ResponseStream", answered)
    await act(
        RequestContext(
            request=request("GET", "/"),
            caller=ANONYMOUS,
            path_params={},
            stream=stream,
            lambda_context=FakeLambdaContext(),
        )
    )
    return answered


async def test_health_is_that_the_process_answers() -> None:
    assert (await probe(HealthEndpoint(FakeProvider(), SleepingTools()).liveness)).json == {"status": "ok"}


async def test_readiness_says_what_there_is_and_asks_no_model() -> None:
    model = FakeProvider()
    answered = await probe(HealthEndpoint(model, SleepingTools()).readiness)
    assert answered.json == {"status": "ready", "model": "script", "tools": ["sleep"]}
    assert model.requests == []
