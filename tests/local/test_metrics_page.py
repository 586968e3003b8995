"""Metrics page of the local server, as HTML and as JSON."""

from collections import deque

import httpx
import pytest

from tests.local.test_metrics import emf
from winterbourne.local.http_server import HttpServer
from winterbourne.local.metrics import Metrics
from winterbourne.local.metrics_page import MetricsPage


async def request(page: MetricsPage, method: str = "GET", accept: str = "text/html") -> httpx.Response:
    async with HttpServer(page.handle_request) as server, httpx.AsyncClient() as client:
        await server.listen("127.0.0.1")
        return await client.request(method, f"http://127.0.0.1:{server.port}/", headers={"accept": accept})


async def test_a_browser_gets_a_page() -> None:
    response = await request(MetricsPage(Metrics(), ()))
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")


async def test_a_client_that_accepts_json_gets_the_metrics_and_the_requests() -> None:
    metrics = Metrics()
    metrics.ingest(emf(dimensions=[["tool"]], Duration=5))
    page = MetricsPage(metrics, deque(["request 2", "request 1"]))
    shown = (await request(page, accept="application/json")).json()
    (series,) = shown["metrics"]
    assert (series["name"], series["dimensions"], series["count"], series["total"]) == ("Duration", "tool t", 1, 5)
    assert shown["requests"] == ["request 2", "request 1"]


@pytest.mark.parametrize("mode", ["full", "lean", "off"])
async def test_it_is_said_what_the_function_leaves_out(mode: str) -> None:
    metrics = Metrics()
    metrics.mode = mode
    left_out = (await request(MetricsPage(metrics, ()), accept="application/json")).json()["left_out"]
    assert left_out.startswith(f"METRICS={mode}: ") if mode != "full" else left_out == ""


async def test_responses_are_not_cached() -> None:
    assert (await request(MetricsPage(Metrics(), ()))).headers["cache-control"] == "no-store"


async def test_other_methods_are_rejected() -> None:
    assert (await request(MetricsPage(Metrics(), ()), "POST")).status_code == 405
