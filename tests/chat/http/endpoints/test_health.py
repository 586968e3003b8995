"""Health endpoint: liveness, and a readiness that is true: each part that a chat needs can fail it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tests.chat.fakes import FakeProvider, SleepingTools
from tests.chat.http_events import RecordedResponse, call_endpoint, request
from tests.clock import jumping
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints.health import CHECK_TIMEOUT_S, HealthEndpoint
from winterbourne.chat.infra import refreshing_cache


class Part:
    """A part that a chat needs, which counts how often it is asked."""

    def __init__(self, answer: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        await self.answer()


async def broken() -> None:
    raise ConnectionError("table-7 at 10.0.0.9 is away")


def endpoint(**checks: Part) -> HealthEndpoint:
    return HealthEndpoint(FakeProvider(), SleepingTools(), checks)


async def probe(health: HealthEndpoint) -> RecordedResponse:
    return await call_endpoint(health.readiness, request("GET", "/readyz"))


async def refusal(health: HealthEndpoint) -> RequestRejected:
    with pytest.raises(RequestRejected) as raised:
        await probe(health)
    return raised.value


async def test_liveness_is_ok_while_the_process_responds() -> None:
    response = await call_endpoint(endpoint(store=Part(broken)).liveness, request("GET", "/healthz"))
    assert response.json == {"status": "ok"}


class TestReadiness:
    async def test_names_the_model_and_the_tools(self) -> None:
        response = await probe(endpoint(store=Part()))
        assert response.json == {"status": "ready", "model": "script", "tools": ["sleep"]}

    async def test_refuses_with_the_names_of_what_is_not_ready(self, caplog: pytest.LogCaptureFixture) -> None:
        error = await refusal(endpoint(store=Part(broken), auth=Part(), model=Part(broken)))
        assert (error.status, error.code, error.headers) == (503, "not_ready", {"retry-after": "5"})
        assert error.public_message == "not ready: store, model"
        lines = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [line.getMessage() for line in lines] == ["not ready: store", "not ready: model"]
        assert "table-7" in str(lines[0].exc_info)

    @jumping
    async def test_waits_for_no_part_longer_than_its_time(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        hanging = Part(lambda: asyncio.sleep(3600))
        assert (await refusal(endpoint(model=hanging, store=Part()))).public_message == "not ready: model"
        assert loop.time() - started_at == pytest.approx(CHECK_TIMEOUT_S)
        assert CHECK_TIMEOUT_S < refreshing_cache.REFRESH_TIMEOUT_S

    async def test_is_asked_for_once_in_a_while_however_many_probes_there_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part, now = Part(), [1000.0]
        health = endpoint(store=part)
        monkeypatch.setattr(health._failed, "_now", lambda: now[0])
        await asyncio.gather(*(probe(health) for _ in range(20)))
        assert part.asked == 1
        part.answer = broken
        await probe(health)
        now[0] += 5.0
        assert (await refusal(health)).code == "not_ready"
        part.answer = lambda: asyncio.sleep(0)
        now[0] += 5.0
        await probe(health)
        assert part.asked == 3
