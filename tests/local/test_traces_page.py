"""The collector of the local server and its page: what is taken, what is refused as a real collector does."""

import httpx
import pytest

from tests.local.test_traces import export, span
from winterbourne.local.http_server import HttpServer
from winterbourne.local.traces import Traces
from winterbourne.local.traces_page import Collector, TracesPage

JSON = {"content-type": "application/json"}


async def request(traces: Traces, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async with HttpServer(Collector(traces).handle_request) as server, httpx.AsyncClient() as client:
        await server.listen("127.0.0.1")
        return await client.request(method, f"http://127.0.0.1:{server.port}{path}", content=body, headers=headers)


async def test_an_export_is_taken_and_shown() -> None:
    traces = Traces()
    response = await request(traces, "POST", "/v1/traces", export(span("root")), JSON)
    assert (response.status_code, response.json()) == (200, {})
    async with HttpServer(TracesPage(traces).handle_request) as server, httpx.AsyncClient() as client:
        await server.listen("127.0.0.1")
        shown = (await client.get(f"http://127.0.0.1:{server.port}/", headers={"accept": "application/json"})).json()
    assert [trace["trace_id"] for trace in shown["traces"]] == ["t1"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/v1/logs", JSON, b"{}", 404),
        ("GET", "/v1/traces", JSON, b"", 405),
        ("POST", "/v1/traces", {"content-type": "application/x-protobuf"}, b"\x0a", 415),
        ("POST", "/v1/traces", JSON, b"{", 400),
        ("POST", "/v1/traces", JSON, b"{}", 400),
    ],
)
async def test_what_is_no_export_is_refused(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    traces = Traces()
    assert (await request(traces, method, path, body, headers)).status_code == status
    assert traces.waterfalls() == []


async def test_one_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winterbourne.local.traces_page.MAX_BODY_BYTES", 100)
    assert (await request(Traces(), "POST", "/v1/traces", export(span("root")), JSON)).status_code == 413
