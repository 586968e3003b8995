"""A live page of the local server, as HTML and as JSON."""

import httpx

from winterbourne.local.http_server import HttpServer
from winterbourne.local.live_page import LivePage


async def request(method: str = "GET", accept: str = "text/html") -> httpx.Response:
    page = LivePage("<!doctype html>", lambda: {"seen": 1})
    async with HttpServer(page.handle_request) as server, httpx.AsyncClient() as client:
        await server.listen("127.0.0.1")
        return await client.request(method, f"http://127.0.0.1:{server.port}/", headers={"accept": accept})


async def test_a_browser_gets_a_page() -> None:
    response = await request()
    assert (response.headers["content-type"], response.text) == ("text/html; charset=utf-8", "<!doctype html>")


async def test_a_client_that_accepts_json_gets_the_data() -> None:
    assert (await request(accept="application/json")).json() == {"seen": 1}


async def test_responses_are_not_cached() -> None:
    assert (await request()).headers["cache-control"] == "no-store"


async def test_other_methods_are_rejected() -> None:
    assert (await request("POST")).status_code == 405
