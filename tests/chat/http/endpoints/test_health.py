"""Health endpoint: liveness and readiness."""

from tests.chat.fakes import FakeProvider, SleepingTools
from tests.chat.http_events import call_endpoint, request
from winterbourne.chat.http.endpoints.health import HealthEndpoint


async def test_liveness_is_ok_while_the_process_responds() -> None:
    response = await call_endpoint(HealthEndpoint(FakeProvider(), SleepingTools()).liveness, request("GET", "/healthz"))
    assert response.json == {"status": "ok"}


async def test_readiness_names_the_model_and_the_tools_and_calls_no_model() -> None:
    provider = FakeProvider()
    response = await call_endpoint(HealthEndpoint(provider, SleepingTools()).readiness, request("GET", "/readyz"))
    assert response.json == {"status": "ready", "model": "script", "tools": ["sleep"]}
    assert provider.requests == []
