import httpx
import pytest

from winterbourne.local.stub_services import StubServices


class TestPracticeData:
    async def test_come_over_http_and_are_labelled_in_answer_and_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("winterbourne.local.stub_services.delay_s", lambda target: 0)
        log: list[str] = []
        practice = StubServices(log.append)
        async with practice.server as server, httpx.AsyncClient() as client:
            await server.listen("127.0.0.1")
            url = practice.settings["FINNHUB_BASE_URL"]
            response = await client.get(f"{url}/quote", params={"symbol": "AAPL"})
        assert response.json()["source"] == "practice data"
        assert response.headers["x-practice-data"] == "true"
        assert log == ["practice data: /finnhub/quote?symbol=AAPL"]

    async def test_are_not_there_for_anything_else(self) -> None:
        practice = StubServices(print)
        async with practice.server as server, httpx.AsyncClient() as client:
            await server.listen("127.0.0.1")
            assert (await client.get(f"http://127.0.0.1:{server.port}/other")).status_code == 404
            assert (await client.post(practice.settings["FRANKFURTER_BASE_URL"] + "/latest")).status_code == 404

    async def test_settings_are_all_ones_the_chat_has(self) -> None:
        from winterbourne.chat.settings import Settings

        practice = StubServices(print)
        async with practice.server as server:
            await server.listen("127.0.0.1")
            settings = Settings.from_environment(practice.settings)
        for name, value in practice.settings.items():
            assert getattr(settings, name.lower()) == value
