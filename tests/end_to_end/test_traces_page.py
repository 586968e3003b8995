"""The traces page of the local server, live in a browser; and what it shows, as the collector got it."""

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.browser_page import Visits, keep_picture
from tests.end_to_end.native_client import FIVE_TOOLS, chat

pytestmark = pytest.mark.slow

PAGE = "/__local/traces"
TOOLS = ("get_stock_quote", "get_weather", "convert_currency")


def test_a_chat_is_a_trace_with_its_turns_and_tools(function_url: str) -> None:
    chat(function_url, FIVE_TOOLS)
    shown = httpx.get(function_url + PAGE, headers={"accept": "application/json"}, timeout=30).json()
    spans = shown["traces"][0]["spans"]
    assert [(span["name"], span["depth"]) for span in spans[:2]] == [("POST /chat", 0), ("invoke_agent chat", 1)]
    within = {(span["name"], span["depth"]) for span in spans[2:]}
    assert within == {("chat", 2), *((f"execute_tool {tool}", 2) for tool in TOOLS)}
    assert len(spans) == 2 + 2 + 5
    answer = spans[1]["attributes"]
    assert answer["gen_ai.usage.input_tokens"] > 0
    assert answer["gen_ai.conversation.id"]
    assert "gen_ai.input.messages" not in answer, "what is said is nobody's business without LOG_MESSAGES"


def test_a_probe_and_the_page_are_no_traces(function_url: str) -> None:
    def count() -> int:
        return len(httpx.get(function_url + PAGE, headers={"accept": "application/json"}, timeout=30).json()["traces"])

    before = count()
    for path in ("/", "/healthz", "/nothing"):
        httpx.get(function_url + path, timeout=30)
    assert count() == before


def answer_without_traces(route: Route) -> None:
    if "application/json" in route.request.headers["accept"]:
        route.fulfill(json={"traces": []})
    else:
        route.continue_()


class TestInABrowser:
    def test_a_waterfall_appears_while_the_page_is_open(self, function_url: str, visits: Visits) -> None:
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        expect(page.get_by_role("heading", name="Local traces")).to_be_visible()
        chat(function_url, FIVE_TOOLS)
        newest = page.locator("section").first
        expect(newest.get_by_role("heading", name="POST /chat")).to_be_visible()
        expect(newest.get_by_text("invoke_agent chat", exact=True)).to_be_visible()
        row = newest.locator("details", has_text="execute_tool get_weather").first
        expect(row.locator(".bar")).to_be_visible()
        row.locator("summary").click()
        expect(row.get_by_text("gen_ai.tool.call.id")).to_be_visible()
        keep_picture(page, "traces")

    def test_an_open_row_stays_open_while_others_come(self, function_url: str, visits: Visits) -> None:
        chat(function_url, "What is the weather in Oslo?")
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        row = page.locator("details", has_text="execute_tool get_weather").first
        row.locator("summary").click()
        expect(page.locator("section").first).to_contain_text("get_weather")
        chat(function_url, "Hello")
        expect(page.locator("section").first).not_to_contain_text("get_weather")
        expect(page.locator("details[open]")).to_have_count(1)

    def test_without_traces_there_is_no_legend(self, function_url: str, visits: Visits) -> None:
        page = visits.open(function_url)
        page.route(f"**{PAGE}", answer_without_traces)
        page.goto(function_url + PAGE)
        expect(page.get_by_role("status")).to_contain_text("No traces yet.")
        expect(page.locator(".legend")).to_be_hidden()

    def test_says_what_failed_where_the_answer_did_not(self, function_url: str, visits: Visits) -> None:
        chat(function_url, "Convert 5 XXX to YYY")
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        expect(page.locator("h2 .failed").first).to_have_text("execute_tool convert_currency: failed")

    def test_bars_lie_within_their_track_in_the_order_in_which_they_began(
        self, function_url: str, visits: Visits
    ) -> None:
        chat(function_url, FIVE_TOOLS)
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        section = page.locator("section").first
        tracks = [each.bounding_box() for each in section.locator(".track").all()]
        bars = [each.bounding_box() for each in section.locator(".bar").all()]
        assert len(bars) == 9
        for track, bar in zip(tracks, bars, strict=True):
            assert track
            assert bar
            assert track["x"] - 1 <= bar["x"] <= bar["x"] + bar["width"] <= track["x"] + track["width"] + 4
        starts = [bar["x"] for bar in bars if bar]
        assert starts == sorted(starts)

    def test_what_a_trace_contains_is_text_and_no_markup(self, function_url: str, visits: Visits) -> None:
        chat(function_url, "Hello", conversation_id="<img src=x onerror=alert(1)>")
        page = visits.open(function_url)
        page.goto(function_url + PAGE)
        page.locator("section").first.locator("details", has_text="invoke_agent").locator("summary").click()
        expect(page.get_by_text("<img src=x").first).to_be_visible()
        assert page.locator("main img").count() == 0
