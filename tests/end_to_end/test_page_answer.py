"""An answer on the page, in a real Chromium: what it waits for, thinks, runs, cites and costs."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import npm
from tests.browser_page import DESK, FIVE, Visits, ask, has_ended, keep_picture, open_tools
from tests.end_to_end.test_page_looks import AXE

pytestmark = [pytest.mark.slow, pytest.mark.clients]

# An answer that gets these frames, and more with `window.feed`.
SHOW = """
async (frames) => {
  const { Answer } = await import("/modules/answer.js");
  Answer.onRegenerate = (answer) => { window.wanted = answer.messageId; };
  const answer = new Answer();
  document.getElementById("hero").hidden = true;
  document.getElementById("log").append(answer.node);
  window.feed = (more) => more.forEach((frame) => answer.handleFrame(frame));
  window.answer = answer;
  feed(frames);
}
"""
READABLE = "async (data) => (await import('/modules/values.js')).readable(data)"
COPIED = """
const write = async ([item]) => { window.copied = await (await item.getType("text/plain")).text(); };
Object.defineProperty(navigator, "clipboard", { value: { write } });
"""

START = {"type": "start", "message_id": "m_1"}
DONE = {"type": "done", "stop_reason": "stop", "usage": {"input": 1200, "output": 340, "cost": 0.00123}, "turns": 2}


def call(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": name, "name": name, "status": status, **more}


def content(text: str) -> dict[str, Any]:
    return {"type": "content", "delta": text}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "delta": text}


def cited(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "source", "id": name, "title": name, **more}


def completed(name: str, duration_ms: int, **more: Any) -> list[dict[str, Any]]:
    return [call(name, "started"), call(name, "completed", duration_ms=duration_ms, result=1, **more)]


def show(page: Page, *frames: dict[str, Any]) -> Locator:
    page.evaluate(SHOW, list(frames))
    return page.locator(".answer")


def feed(page: Page, *frames: dict[str, Any]) -> None:
    page.evaluate("feed", list(frames))


@pytest.fixture
def page(visits: Visits, chat: str) -> Page:
    """A page whose modules can be imported, and whose clock moves only as a test says."""
    page = visits.open(chat, modules=True, locale="en-GB")
    page.clock.install()
    page.reload()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    return page


class TestWaiting:
    def test_while_nothing_has_come_it_says_for_how_long_it_thinks(self, page: Page) -> None:
        waiting = show(page).locator(".waiting")
        expect(waiting).to_have_text("Thinking…")
        page.clock.run_for(3000)
        expect(waiting).to_have_text("Thinking… 3 s")
        feed(page, START, content("Here"))
        expect(waiting).to_be_hidden()

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [
            ([], "Waiting for a free place on the server…"),
            ([START], "Waiting for the model…"),
            ([START, *completed("dig", 3)], "Waiting for the model…"),
            ([START, call("dig", "started"), call("find", "queued")], "Waiting for dig…"),
            ([START, call("dig", "started"), call("find", "started")], "Waiting for dig and find…"),
            ([START, call("dig", "queued")], "Waiting for a place for dig…"),
        ],
    )
    def test_after_five_seconds_it_says_what_it_waits_for(
        self, page: Page, frames: list[dict[str, Any]], reason: str
    ) -> None:
        waiting = show(page, *frames).locator(".waiting")
        page.clock.run_for(4000)
        expect(waiting).not_to_contain_text("Waiting")
        page.clock.run_for(8000)
        expect(waiting).to_have_text(f"{reason} 12 s")
        feed(page, content("Now."))
        expect(waiting).to_be_hidden()

    def test_screen_readers_are_told_once_and_not_each_second(self, page: Page) -> None:
        show(page, START)
        expect(page.locator(".waiting")).to_have_attribute("aria-hidden", "true")
        page.evaluate("""() => {
          window.told = [];
          const status = document.getElementById("status");
          new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true });
        }""")
        page.clock.run_for(20_000)
        feed(page, content("Now."))
        page.clock.run_for(1000)
        assert [text.strip() for text in page.evaluate("told")] == ["Waiting for the model…", "Answering"]

    def test_a_short_pause_between_words_is_none(self, page: Page) -> None:
        waiting = show(page, START, content("One")).locator(".waiting")
        page.clock.run_for(1000)
        expect(waiting).to_be_hidden()
        page.clock.run_for(2000)
        expect(waiting).to_have_text("Thinking… 3 s")

    @pytest.mark.parametrize("end", [DONE, {"type": "stopped", "reason": "user"}])
    def test_what_is_over_waits_for_nothing(self, page: Page, end: dict[str, Any]) -> None:
        waiting = show(page, START).locator(".waiting")
        page.clock.run_for(6000)
        feed(page, end)
        page.clock.run_for(6000)
        expect(waiting).to_be_hidden()

    def test_an_answer_that_is_not_shown_says_nothing(self, page: Page) -> None:
        show(page, START)
        page.evaluate("answer.node.remove()")
        page.clock.run_for(9000)
        assert page.get_by_role("status").inner_text() == ""

    def test_over_a_lost_connection_it_waits_for_nothing_else(self, page: Page) -> None:
        answer = show(page, START)
        page.evaluate("answer.interrupt()")
        page.clock.run_for(9000)
        expect(answer.locator(".waiting")).to_be_hidden()
        expect(answer).to_contain_text("The connection was lost.")


class TestThoughts:
    def test_they_are_folded_with_the_time_they_took(self, page: Page) -> None:
        answer = show(page, START, thought("The tide."))
        page.clock.run_for(4000)
        expect(answer.locator("summary")).to_have_text("Thinking… 4 s")
        expect(answer.locator(".waiting")).to_be_hidden()
        feed(page, content("High."))
        page.clock.run_for(9000)
        expect(answer.locator("summary").first).to_have_text("Thought for 4 s")
        expect(answer.get_by_text("The tide.")).to_be_hidden()
        answer.get_by_text("Thought for").click()
        expect(answer.get_by_text("The tide.")).to_be_visible()

    def test_the_times_of_all_turns_are_one(self, page: Page) -> None:
        answer = show(page, START, thought("One."))
        page.clock.run_for(2000)
        feed(page, *completed("dig", 1))
        page.clock.run_for(5000)
        feed(page, {"type": "turn"}, thought("Two."))
        page.clock.run_for(3000)
        feed(page, content("So."), DONE)
        expect(answer.locator("summary").first).to_have_text("Thought for 5 s")

    def test_of_an_answer_that_was_not_seen_live_no_time_is_told(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Please think about it"))
        page.reload()
        expect(page.locator(".thoughts summary")).to_have_text("Thoughts")


class TestTools:
    def test_they_are_one_row_with_a_state_each_that_opens_to_the_cards(self, page: Page) -> None:
        answer = show(page, START, *completed("dig", 20), call("find", "started"))
        row = answer.get_by_role("button", name="dig completed find running")
        expect(row).to_have_attribute("aria-expanded", "false")
        expect(answer.locator(".tool:visible")).to_have_count(0)
        row.focus()
        page.keyboard.press("Enter")
        expect(answer.get_by_role("list", name="Tools").get_by_role("listitem")).to_have_count(2)
        feed(page, call("find", "completed", duration_ms=30, result=1))
        row = answer.get_by_role("button", name="dig completed find completed")
        expect(row).to_be_focused()
        expect(row).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Enter")
        expect(answer.locator(".tool:visible")).to_have_count(0)

    @pytest.mark.parametrize("status", ["failed", "timed_out", "approval_requested"])
    def test_what_fails_or_asks_opens_by_itself(self, page: Page, status: str) -> None:
        more = {"approval": {"id": "a", "expires_at_s": 4e9}} if status == "approval_requested" else {"error": "Flint."}
        answer = show(page, START, *completed("dig", 20), call("find", status, **more))
        expect(answer.get_by_role("listitem", name="Tool find")).to_be_visible()
        expect(answer.get_by_role("listitem", name="Tool dig")).to_be_hidden()

    def test_a_result_from_the_cache_says_so_instead_of_a_time(self, page: Page) -> None:
        answer = show(page, START, *completed("dig", 0, cached=True), content("Done."), DONE)
        open_tools(answer)
        expect(answer.get_by_role("listitem", name="Tool dig")).to_contain_text("cached")


class TestTimeline:
    def test_it_is_there_only_where_several_ran(self, page: Page) -> None:
        answer = show(page, START, *completed("dig", 500), *completed("find", 0, cached=True), DONE)
        expect(answer.locator(".timeline")).to_be_hidden()
        feed(page, *completed("lift", 700))
        page.clock.run_for(100)
        expect(answer.locator(".timeline li")).to_have_count(2)

    def test_a_second_answer_from_the_cache_has_none(self, visits: Visits, function_url: str) -> None:
        page = visits.open(function_url)
        has_ended(ask(page, FIVE))
        answer = open_tools(has_ended(ask(page, FIVE)))
        expect(answer.locator(".tool", has_text="cached")).to_have_count(5)
        expect(answer.locator(".timeline")).to_be_hidden()

    def test_of_instant_ones_nothing_is_saved_and_the_axis_has_a_length(self, page: Page) -> None:
        answer = show(page, START, *completed("dig", 0), *completed("find", 0), DONE)
        expect(answer.locator("figcaption")).to_have_text("2 tools, 0 ms")
        expect(answer.locator(".axis span").last).to_have_text("0.01 s")

    def test_a_call_that_waits_for_a_place_has_run_for_no_time_yet(self, page: Page) -> None:
        answer = show(page, START, call("dig", "started"), call("find", "queued"))
        page.clock.run_for(2000)
        expect(answer.locator(".row-time")).to_have_text([re.compile(r"^\d\.\d\d\ss$"), ""])


class TestValues:
    """As people write them, and never wrong."""

    @pytest.mark.parametrize(
        ("data", "shown"),
        [
            ({"temperature_c": 8.7}, [["temperature", "8.7 °C"]]),
            ({"feels_like_f": 47}, [["feels_like", "47 °F"]]),
            ({"wind_km_h": 45}, [["wind", "45 km/h"]]),
            ({"distance_km": 12.5, "weight_kg": 3}, [["distance", "12.5 km"], ["weight", "3 kg"]]),
            ({"humidity_percent": 62}, [["humidity", "62%"]]),
            ({"change_percent": -3.2784}, [["change", "-3.28%"]]),
            ({"change": 8.54, "change_percent": 1.75}, [["change", "8.54"], ["change_percent", "1.75%"]]),
            ({"share_percent": 0.0004}, [["share", "0.0004%"]]),
            ({"price_eur": 1392}, [["price", "€1,392.00"]]),
            ({"amount": 1200, "from_currency": "EUR"}, [["amount", "€1,200.00"]]),
            ({"price": 0.0012, "currency": "usd"}, [["price", "US$0.0012"]]),
            ({"price": 1200, "currency": "JPY"}, [["price", "JP¥1,200"]]),
            ({"value": 8.7, "unit": "mol"}, [["value", "8.7 mol"]]),
            ({"depth": 3, "depth_unit": "m"}, [["depth", "3 m"]]),
            ({"date": "2026-11-26"}, [["date", "26 Nov 2026"]]),
            ({"local_time": "2026-11-26T07:30"}, [["local_time", "26 Nov 2026, 07:30"]]),
            ({"time": "2026-11-26T07:30:09.5+09:00"}, [["time", "26 Nov 2026, 07:30 +09:00"]]),
            ({"time": "2026-11-26T07:30:00Z"}, [["time", "26 Nov 2026, 07:30 UTC"]]),
        ],
    )
    def test_where_a_name_or_a_neighbour_says_what_they_are(
        self, visits: Visits, chat: str, data: dict[str, Any], shown: list[list[str]]
    ) -> None:
        page = visits.open(chat, modules=True, locale="en-GB", timezone_id="America/Lima")
        found = page.evaluate(READABLE, data)
        assert [[name, text.replace("\N{NO-BREAK SPACE}", " ")] for name, text in found] == shown

    def test_where_that_is_not_sure_they_stay_as_they_are(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True, locale="en-GB")
        unsure = {
            "year": 2026,
            "vitamin_c": 60,
            "price_kg": 3,
            "cost_per_km": 0.3,
            "amount": 12,
            "from": "EUR",
            "count": 3,
            "currency": "EUR",
            "eur_usd": 1.0834,
            "id": 1234567,
            "price_unit": "EUR",
            "day": "2026-02-30",
            "version": "2026-11",
            "is_open": True,
            "metres": 3,
        }
        as_they_are = {name: str(value).lower() if value is True else str(value) for name, value in unsure.items()}
        assert dict(page.evaluate(READABLE, unsure)) == as_they_are

    def test_they_are_written_as_in_the_readers_language(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True, locale="en-ZA")
        assert page.evaluate(READABLE, {"temperature_c": 8.7}) == [["temperature", "8,7\N{NO-BREAK SPACE}°C"]]


class TestSources:
    def test_numbers_in_the_text_open_to_what_they_cite(self, page: Page) -> None:
        frames = (
            content("High at **noon**"),
            cited("Tides", url="https://example.com/t", cited_text="12:04"),
            content(", low"),
        )
        answer = show(page, START, *frames, cited("<b>Notes"), content(" at six"), cited("Tides"), content("."), DONE)
        numbers = answer.locator(".prose").get_by_role("button")
        assert [number.get_attribute("aria-label") for number in numbers.all()] == ["Source 1", "Source 2", "Source 1"]
        numbers.last.focus()
        page.keyboard.press("Enter")
        card = answer.locator(".card:popover-open")
        expect(card).to_have_text("Tides12:04")
        expect(card.get_by_role("link", name="Tides")).to_have_attribute("href", "https://example.com/t")
        page.keyboard.press("Escape")
        expect(card).to_have_count(0)
        expect(numbers.last).to_be_focused()
        numbers.nth(1).click()
        expect(card).to_have_text("<b>Notes")
        expect(answer.get_by_role("list", name="Sources").get_by_role("listitem")).to_have_text(["Tides", "<b>Notes"])

    def test_what_is_copied_has_no_numbers(self, page: Page) -> None:
        page.evaluate(COPIED)
        answer = show(page, START, content("High at `noon`"), cited("Tides"), content(" today."), DONE)
        answer.get_by_role("button", name="Copy answer").click()
        page.wait_for_function("window.copied === 'High at `noon` today.'")
        assert answer.locator(".prose").text_content() == "High at noon today."

    def test_no_number_breaks_a_list_or_stands_in_code(self, page: Page) -> None:
        texts = "- one\n", "- two\n\n```\nsum", "(1)\n```", "\n\n`x", "y`"
        answer = show(page, START, *(frame for text in texts for frame in (content(text), cited("a"))), DONE)
        expect(answer.locator(".prose li")).to_have_text(["one", "two"])
        expect(answer.locator(".prose pre")).to_have_text("sum(1)")
        expect(answer.locator(".prose p code")).to_have_text("xy")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("See https://example.com/a", 'href="https://example.com/a"'),
            ("See _this_", "<em>this</em>"),
            ("See **this**", "<strong>this</strong>"),
            ("See [this](https://example.com/b)", 'href="https://example.com/b"'),
        ],
    )
    def test_a_number_ends_what_is_before_it(self, page: Page, text: str, shown: str) -> None:
        answer = show(page, START, content(text), cited("a"), content(" and more."), DONE)
        expect(answer.locator(".prose").get_by_role("button", name="Source 1")).to_be_visible()
        assert shown in answer.locator(".prose").inner_html()

    def test_numbers_of_a_turn_that_is_taken_back_go(self, page: Page) -> None:
        first = content("One"), cited("a"), content(". "), *completed("dig", 1), {"type": "turn"}
        answer = show(
            page, START, *first, content("Two"), cited("b"), {"type": "retract"}, content("Three"), cited("c"), DONE
        )
        expect(answer.locator(".prose").get_by_role("button")).to_have_count(2)
        expect(answer.locator(".sources li")).to_have_text(["a", "c"])


class TestFoot:
    def test_figures_are_behind_a_button(self, page: Page) -> None:
        answer = show(page, START, content("Done."), DONE)
        figures = answer.get_by_text("2 turns · 1,200 tokens in, 340 out · US$0.0012")
        expect(figures).to_be_hidden()
        about = answer.get_by_role("button", name="About this answer")
        about.focus()
        page.keyboard.press("Enter")
        expect(figures).to_be_visible()
        page.keyboard.press("Escape")
        expect(figures).to_be_hidden()
        expect(about).to_be_focused()
        box = about.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 24

    def test_the_last_answer_can_be_given_again(self, page: Page) -> None:
        show(page, START, content("Done."), DONE)
        page.get_by_role("button", name="Answer again").click()
        assert page.evaluate("wanted") == "m_1"
        show(page, START, content("Done."), {"type": "stopped", "reason": "user"})
        expect(page.get_by_role("button", name="Answer again")).to_have_count(1)
        expect(page.locator(".answer").last.get_by_role("button", name="Answer again")).to_be_visible()

    def test_errors_are_upright(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/chat", lambda route: route.abort())
        alert = has_ended(ask(page, "Hello"), "failed").get_by_role("alert")
        expect(alert).to_have_css("font-style", "normal")


SCENES: dict[str, list[dict[str, Any]]] = {
    "waiting": [],
    "thinking": [START, thought("Hm.")],
    "tools": [START, call("dig", "started"), call("find", "failed", error="Hit flint.", duration_ms=12)],
    "sources": [START, content("High at noon"), cited("Tides", url="https://example.com/t"), DONE],
}


def open_all(answer: Locator) -> None:
    for name in ("summary", ".chips", "[title]", ".cite"):
        for node in answer.locator(f"{name}:visible").all():
            node.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_nothing(visits: Visits, chat: str, scene: str, scheme: Any) -> None:
    page = visits.open(chat, modules=True, color_scheme=scheme, reduced_motion="reduce", viewport=DESK)
    page.evaluate((npm.clients() / "node_modules" / "axe-core" / "axe.min.js").read_text())
    answer = show(page, *SCENES[scene])
    open_all(answer)
    assert page.evaluate(AXE) == []
    keep_picture(page, f"answer-{scene}-{scheme}")


def test_it_fits_the_narrowest_screen(visits: Visits, chat: str) -> None:
    page = visits.open(chat, modules=True, viewport={"width": 320, "height": 256})
    for frames in SCENES.values():
        open_all(show(page, *frames).last)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
