"""Stub services for the chat's HTTP tools: practice data over real HTTP, labelled as such."""

import httpx
import pytest

from tests.stack import ROOT
from winterbourne.local.chat_settings import named_variables
from winterbourne.local.stub_services import StubServices


class TestStubServices:
    async def test_respond_over_http_and_label_the_response_and_the_log_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("winterbourne.local.stub_services.delay_s", lambda target: 0)
        log: list[str] = []
        stub_services = StubServices(log.append)
        async with stub_services.server as server, httpx.AsyncClient() as client:
            await server.listen("127.0.0.1")
            url = stub_services.settings["FINNHUB_BASE_URL"]
            response = await client.get(f"{url}/quote", params={"symbol": "AAPL"})
        assert response.json()["source"] == "practice data"
        assert response.headers["x-practice-data"] == "true"
        assert log == ["practice data: /finnhub/quote?symbol=AAPL"]

    async def test_serve_nothing_else(self) -> None:
        stub_services = StubServices(print)
        async with stub_services.server as server, httpx.AsyncClient() as client:
            await server.listen("127.0.0.1")
            assert (await client.get(f"http://127.0.0.1:{server.port}/other")).status_code == 404
            assert (await client.post(stub_services.settings["FRANKFURTER_BASE_URL"] + "/latest")).status_code == 404

    async def test_set_only_variables_that_the_demos_tools_read(self) -> None:
        stub_services = StubServices(print)
        async with stub_services.server as server:
            await server.listen("127.0.0.1")
            assert stub_services.settings.keys() <= named_variables(ROOT / "functions")
