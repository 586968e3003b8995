"""The metrics page of the local server, live in a browser."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser_page import Visits, keep_picture
from tests.end_to_end.native_client import FIVE_TOOLS, chat
from tests.local_server import local_server
from winterbourne.chat.infra import telemetry

pytestmark = pytest.mark.slow

PAGE = "/__local/metrics"


def test_every_tool_of_a_chat_is_there_with_its_duration(function_url: str) -> None:
    chat(function_url, FIVE_TOOLS)
    shown = httpx.get(function_url + PAGE, headers={"accept": "application/json"}, timeout=30).json()
    tools = {one["dimensions"].split(", ")[0] for one in shown["metrics"] if one["name"] == "ToolDuration"}
    assert tools >= {"tool get_stock_quote", "tool get_weather", "tool convert_currency"}


@pytest.mark.parametrize(("mode", "emitted"), [("lean", telemetry.LEAN_METRICS), ("off", set())])
def test_what_a_mode_leaves_out_is_said(mode: str, emitted: set[str], tmp_path: Path, visits: Visits) -> None:
    with local_server(tmp_path, "--env", f"METRICS={mode}", "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
        chat(server.url, FIVE_TOOLS)
        page = visits.open(server.url)
        page.goto(server.url + PAGE)
        expect(page.get_by_role("status")).to_contain_text(f"METRICS={mode}: ")
        assert {*page.locator("tbody td:first-child").all_text_contents()} == emitted
        expect(page.locator("#requests")).to_contain_text("POST /chat 200")


class TestInABrowser:
    def test_figures_appear_while_the_page_is_open(self, function_url: str, visits: Visits) -> None:
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        expect(page.get_by_role("heading", name="Local metrics")).to_be_visible()
        chat(function_url, "What is the weather in Oslo?")
        expect(page.get_by_role("cell", name="tool get_weather, service chat").first).to_be_visible()
        expect(page.locator("#requests")).to_contain_text("POST /chat 200")
        keep_picture(page, "metrics")

    def test_fits_a_phone(self, function_url: str, visits: Visits) -> None:
        chat(function_url, "What is the weather in Oslo?")
        page = visits.open(function_url, viewport={"width": 375, "height": 800})
        page.goto(function_url + PAGE)
        expect(page.get_by_role("cell", name="MemoryUsed")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 375

    def test_what_a_request_contains_is_text_and_no_markup(self, function_url: str, visits: Visits) -> None:
        httpx.get(f"{function_url}/x?<img/src=x/onerror=alert(1)>", timeout=30)
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        expect(page.locator("#requests")).to_contain_text("GET /x?")
        assert page.locator("#requests img").count() == 0
