"""HTTP retries: what may be sent again is, within the time that is left; a side effect never happens twice."""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.http_retry import NO_RETRIES, AsyncRetryTransport, RetryTransport, deadline
from winterbourne.chat.infra.http_transport import AsyncioTransport
from winterbourne.chat.settings import HttpSettings
from winterbourne.override import override

pytestmark = pytest.mark.usefixtures("no_waiting")

Came = int | Exception | tuple[int, str]


class Service:
    """Answers each request with the next of `came`, the last one again and again: a status, a Retry-After, an error."""

    def __init__(self, *came: Came) -> None:
        self.came = list(came)
        self.bodies: list[bytes] = []
        self.responses: list[httpx.Response] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read() if isinstance(request.stream, httpx.ByteStream) else b"")
        next_one = self.came.pop(0) if len(self.came) > 1 else self.came[0]
        if isinstance(next_one, Exception):
            raise next_one
        status, retry_after = (next_one, "") if isinstance(next_one, int) else next_one
        response = httpx.Response(status, content=b"words", headers={"retry-after": retry_after})
        self.responses.append(response)
        return response


class Async(httpx.AsyncBaseTransport):
    def __init__(self, service: Service) -> None:
        self.service = service

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.service.handle(request)


class Sync(httpx.BaseTransport):
    def __init__(self, service: Service) -> None:
        self.service = service

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.service.handle(request)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for; nobody waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


async def ask(service: Service, method: str = "GET", *, retries: int = 2, **options: Any) -> httpx.Response:
    """Ask with the async client, then with the sync one: both must fare alike."""
    twin = Service(*service.came)
    with httpx.Client(transport=RetryTransport(Sync(twin), retries, 15)) as client:
        await asyncio.to_thread(_ignoring_errors, lambda: client.request(method, "http://pier/", **options))
    async with httpx.AsyncClient(transport=AsyncRetryTransport(Async(service), retries, 15)) as client:
        try:
            return await client.request(method, "http://pier/", **options)
        finally:
            assert twin.bodies == service.bodies


def _ignoring_errors(call: Callable[[], httpx.Response]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        call()


@pytest.mark.parametrize("trouble", [429, 502, 503, 504, httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
async def test_a_get_is_repeated_until_it_is_answered(trouble: Came) -> None:
    service = Service(trouble, trouble, 200)
    assert (await ask(service)).status_code == 200
    assert len(service.bodies) == 3


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 408, 409, 422, 500, 501])
async def test_other_answers_are_final(status: int) -> None:
    service = Service(status)
    assert (await ask(service)).status_code == status
    assert len(service.bodies) == 1


@pytest.mark.parametrize("trouble", [502, 503, 504, httpx.ReadError("cut"), httpx.ReadTimeout("slow")])
async def test_a_post_that_may_have_been_processed_is_not_repeated(trouble: Came) -> None:
    service = Service(trouble, 200)
    if isinstance(trouble, Exception):
        with pytest.raises(type(trouble)):
            await ask(service, "POST", content=b"pay")
    else:
        assert (await ask(service, "POST", content=b"pay")).status_code == trouble
    assert service.bodies == [b"pay"]


@pytest.mark.parametrize("trouble", [429, httpx.ConnectError("refused")])
async def test_a_post_that_was_not_processed_is_repeated_with_its_body(trouble: Came) -> None:
    service = Service(trouble, 200)
    assert (await ask(service, "POST", content=b"pay")).status_code == 200
    assert service.bodies == [b"pay", b"pay"]


async def test_an_idempotency_key_makes_a_post_repeatable() -> None:
    service = Service(503, 200)
    assert (await ask(service, "POST", content=b"pay", headers={"Idempotency-Key": "1"})).status_code == 200


async def test_a_streamed_body_is_sent_once() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    service = Service(httpx.ConnectError("refused"))
    async with httpx.AsyncClient(transport=AsyncRetryTransport(Async(service), 2, 15)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.put("http://pier/", content=body())
    assert len(service.bodies) == 1


@pytest.mark.parametrize("options", [{"retries": 0}, {"extensions": NO_RETRIES}])
async def test_retries_can_be_turned_off(options: dict[str, Any]) -> None:
    service = Service(503)
    assert (await ask(service, **options)).status_code == 503
    assert len(service.bodies) == 1


async def test_the_last_answer_is_returned_with_its_body_and_the_others_are_closed() -> None:
    service = Service(503)
    response = await ask(service)
    assert (response.status_code, response.content, len(service.bodies)) == (503, b"words", 3)
    assert [one.is_closed for one in service.responses] == [True] * 3


@pytest.mark.parametrize("as_date", [False, True])
async def test_the_servers_own_wait_is_kept(no_waiting: list[float], *, as_date: bool) -> None:
    header = email.utils.formatdate(time.time() + 5, usegmt=True) if as_date else "3"
    service = Service((503, header), 200)
    assert (await ask(service)).status_code == 200
    assert all(wait_s >= 2 for wait_s in no_waiting)
    assert len(no_waiting) == 2


async def test_a_wait_beyond_the_deadline_is_not_begun(no_waiting: list[float]) -> None:
    deadline.set(time.monotonic() + 5)
    service = Service((429, "6"), 200)
    assert (await ask(service)).status_code == 429
    assert no_waiting == []


async def test_a_deadline_that_has_passed_allows_no_second_attempt() -> None:
    deadline.set(time.monotonic() - 1)
    service = Service(httpx.ConnectError("refused"), 200)
    with pytest.raises(httpx.ConnectError):
        await ask(service)


async def test_the_shared_clients_have_the_retries_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    services: list[Service] = []

    def transport(_: Any, request: httpx.Request) -> httpx.Response:
        return services[-1].handle(request)

    async def async_transport(_: Any, request: httpx.Request) -> httpx.Response:
        return services[-1].handle(request)

    monkeypatch.setattr(AsyncioTransport, "handle_async_request", async_transport)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", transport)
    monkeypatch.setattr(http_pool._Pool, "settings", HttpSettings(http_retries=1))
    try:
        services.append(Service(503))
        await http_pool.client().get("http://pier/")
        services.append(Service(503))
        http_pool.sync_client().get("http://pier/")
    finally:
        await http_pool.close()
    assert [len(service.bodies) for service in services] == [2, 2]
