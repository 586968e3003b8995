"""Tools that ask first, on the page in a real Chromium: deciding, what was decided, reloads, the keyboard."""

import json
import re
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests import npm
from tests.browser_page import Visits, ask, has_ended, keep_picture, sent_body
from tests.end_to_end.asking_chat import AskingChat
from tests.end_to_end.test_page_looks import AXE

pytestmark = [pytest.mark.slow, pytest.mark.clients]

BOTH = "please pay 5 and send_note 2"

RENDER_ASKED = """
async (calls) => {
  const { Answer } = await import("/modules/answer.js");
  Answer.onDecide = (decisions) => { window.decisions = decisions; };
  const answer = new Answer();
  document.getElementById("log").append(answer.node);
  for (const call of calls) answer.handleFrame({ type: "tool_call", status: "approval_requested", ...call });
  answer.handleFrame({ type: "done", stop_reason: "approval", usage: {}, turns: 1 });
}
"""


def card(page: Page, tool: str) -> Locator:
    return page.get_by_role("form", name=f"Decide on {tool}")


def press(form: Locator, label: str) -> None:
    form.get_by_role("button", name=label).click()


def asked(page: Page, text: str) -> Locator:
    """The answer that waits for a decision. A page that still receives it takes no further question."""
    answer = has_ended(ask(page, text))
    expect(answer.locator("form").first).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Waiting for your decision")
    return answer


def question(name: str, arguments: dict[str, Any], **approval: Any) -> dict[str, Any]:
    expires = {"expires_at_s": int(time.time()) + 3600}
    return {
        "id": name,
        "name": name,
        "arguments": json.dumps(arguments),
        "approval": {"id": name, **expires, **approval},
    }


class TestDeciding:
    def test_after_a_yes_the_answer_goes_on(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        form = card(page, "pay")
        expect(form).to_contain_text("Pay 5 EUR?")
        expect(form.locator("dl")).to_have_text("euros5")
        form.get_by_label("Reason").press("Enter")  # is no yes
        assert asking.runs == []
        press(form, "Approve")
        expect(answer).to_contain_text("done pay 5")
        has_ended(answer)
        expect(answer.locator(".tool")).to_contain_text("You approved this.")
        expect(answer).to_contain_text("Let me look that up.")
        assert asking.runs == ["pay 5"]

    def test_after_a_no_the_model_is_told_why(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        card(page, "pay").get_by_label("Reason").fill("Too much")
        press(card(page, "pay"), "Deny")
        expect(answer.get_by_role("listitem", name="Tool pay, denied")).to_contain_text("You denied this. Too much")
        expect(answer.locator(".prose").last).to_contain_text("Too much")
        assert asking.runs == []

    def test_all_decisions_of_a_turn_are_sent_together(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, BOTH)
        with page.expect_request("**/chat") as sent:
            press(card(page, "pay"), "Approve")
            expect(answer.get_by_role("listitem", name="Tool pay, decided")).to_be_visible()
            expect(page.get_by_role("listitem", name="Tool send_note, waiting for you")).to_be_focused()
            press(card(page, "send_note"), "Deny")
        body = sent_body(sent.value)
        assert sorted(decision["approved"] for decision in body["decisions"]) == [False, True]
        assert body["messages"] == []
        expect(answer).to_contain_text("done pay 5")
        assert asking.runs == ["pay 5"]

    def test_arguments_can_be_changed_where_the_tool_allows_it(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please send_note 2")
        form = card(page, "send_note")
        form.get_by_label("text").fill("Other words")
        form.get_by_label("is urgent").uncheck()
        form.get_by_label("copies").fill("")
        press(form, "Approve")  # a number is needed
        form.get_by_label("copies").fill("3")
        press(form, "Approve")
        expect(answer.get_by_role("listitem", name="Tool send_note, completed")).to_contain_text(
            "Other words · 3 · false"
        )
        assert asking.runs == ["send 3 False Other words"]

    def test_another_question_leaves_it_undecided(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        asked(page, "please pay 5")
        has_ended(ask(page, "Hello"))
        first = page.locator(".answer").first
        for _ in range(2):
            expect(first.get_by_role("listitem", name="Tool pay, denied")).to_contain_text("not decided")
            expect(page.locator(".answer form")).to_have_count(0)
            expect(first).not_to_contain_text("once you have decided")
            page.reload()
        assert asking.runs == []

    def test_the_second_click_of_two_decides_nothing_on_the_card_that_moves_up(
        self, visits: Visits, asking: AskingChat
    ) -> None:
        page = visits.open(asking.url, modules=True)
        page.evaluate(RENDER_ASKED, [question("one", {"a": 1}), question("two", {"b": 2})])
        press(card(page, "one"), "Approve")
        for label in ("Approve", "Deny"):
            card(page, "two").get_by_role("button", name=label).dispatch_event("click", {"detail": 2})
        assert page.evaluate("window.decisions ?? null") is None
        press(card(page, "two"), "Deny")
        assert [decision["approved"] for decision in page.evaluate("window.decisions")] == [True, False]


class TestComingBack:
    def test_a_page_that_is_loaded_again_asks_again_and_shows_what_was_decided(
        self, visits: Visits, asking: AskingChat
    ) -> None:
        page = visits.open(asking.url, modules=True)
        asked(page, "please pay 5")
        page.reload()
        press(card(page, "pay"), "Approve")
        answer = page.locator(".answer")
        expect(answer).to_contain_text("done pay 5")
        has_ended(answer)
        page.reload()
        expect(answer.get_by_role("listitem", name="Tool pay, completed")).to_contain_text("You approved this.")
        expect(answer).to_contain_text("done pay 5")
        expect(page.locator(".answer form")).to_have_count(0)
        assert asking.runs == ["pay 5"]

    def test_a_connection_that_breaks_after_the_decision_loses_and_repeats_nothing(
        self, visits: Visits, asking: AskingChat
    ) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")

        def cut(route: Route) -> None:
            response = route.fetch()
            route.fulfill(response=response, body="\n\n".join(response.text().split("\n\n")[:2]) + "\n\n")

        page.route("**/chat", cut)
        press(card(page, "pay"), "Approve")
        expect(answer).to_contain_text("done pay 5")
        has_ended(answer)
        expect(answer.locator(".prose")).to_have_text(["Let me look that up.", "Here is what I found:5: done pay 5"])
        expect(answer.locator(".tool")).to_have_count(1)
        assert asking.runs == ["pay 5"]

    def test_a_decision_that_does_not_arrive_can_be_made_again(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        page.route("**/chat", lambda route: route.abort())
        press(card(page, "pay"), "Approve")
        has_ended(answer, "failed")
        page.unroute("**/chat")
        page.get_by_role("button", name="Try again").click()
        press(card(page, "pay"), "Approve")
        expect(page.locator(".answer")).to_contain_text("done pay 5")
        assert asking.runs == ["pay 5"]

    def test_a_second_tab_sees_what_was_decided_in_the_first(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        other = page.context.new_page()
        other.goto(page.url)
        expect(card(other, "pay")).to_be_visible()
        press(card(page, "pay"), "Approve")
        expect(answer).to_contain_text("done pay 5")
        has_ended(answer)
        other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(other.locator(".answer")).to_contain_text("done pay 5")
        assert asking.runs == ["pay 5"]

    def test_who_decides_later_than_another_tab_sees_what_was_decided(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        other = page.context.new_page()
        other.goto(page.url)
        press(card(other, "pay"), "Deny")
        expect(other.locator(".answer .prose").last).to_contain_text("not allow")
        has_ended(other.locator(".answer"))
        press(card(page, "pay"), "Approve")
        expect(answer.get_by_role("listitem", name="Tool pay, denied")).to_be_visible()
        expect(page.locator(".answer form, .alert:not(:empty)")).to_have_count(0)
        assert asking.runs == []

    def test_what_has_expired_cannot_be_decided(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")

        def expire(route: Route) -> None:
            response = route.fetch()
            route.fulfill(response=response, body=re.sub(r'("expires_at_s":)\d+', r"\1 1", response.text()))

        page.route("**/conversations/*", expire)
        page.reload()
        expect(answer.get_by_role("listitem", name="Tool pay, denied")).to_contain_text("not decided")
        expect(answer.locator("form")).to_have_count(0)
        expect(answer).not_to_contain_text("once you have decided")


class TestCards:
    def test_a_form_is_filled_in(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        properties = {
            "name": {"type": "string", "title": "Your name", "description": "as on the card"},
            "nights": {"type": "integer", "minimum": 1},
            "size": {"type": "string", "enum": ["small", "large"], "default": "large"},
            "breakfast": {"type": "boolean"},
            "remark": {"type": "string"},
        }
        form = {"type": "object", "properties": properties, "required": ["name", "nights"]}
        page.evaluate(RENDER_ASKED, [question("book", {"hotel": "Crown"}, message="Who comes?", schema=form)])
        fields = card(page, "book")
        expect(fields.locator("dl")).to_have_text("hotelCrown")
        press(fields, "Send")  # two fields are required
        assert page.evaluate("window.decisions ?? null") is None
        fields.get_by_label("Your name: as on the card").fill("Ada")
        fields.get_by_label("nights").fill("2")
        fields.get_by_label("breakfast").check()
        press(fields, "Send")
        filled = {"name": "Ada", "nights": 2, "size": "large", "breakfast": True}
        expected = [{"approval_id": "book", "approved": True, "reason": "", "arguments": filled}]
        assert page.evaluate("window.decisions") == expected

    def test_arguments_that_no_field_can_hold_stay_as_they_are(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        arguments = {"to": "Ada", "rows": [[1], {"a": None}], "note": ""}
        page.evaluate(RENDER_ASKED, [question("send", arguments, allows_edits=True)])
        expect(card(page, "send").locator("dd")).to_contain_text('"a": null')
        card(page, "send").get_by_label("to").fill("Bob")
        press(card(page, "send"), "Approve")
        assert page.evaluate("window.decisions")[0]["arguments"] == {**arguments, "to": "Bob"}

    @pytest.mark.parametrize("allows_edits", [True, False])
    def test_what_is_shown_is_what_is_run(self, visits: Visits, asking: AskingChat, *, allows_edits: bool) -> None:
        page = visits.open(asking.url, modules=True)
        arguments = {"id": 1234567890123456789, "rows": [{"id": 1234567890123456789}], "text": "a\r\nb"}
        page.evaluate(RENDER_ASKED, [question("delete", arguments, allows_edits=allows_edits)])
        form = card(page, "delete")
        expect(form.locator("dd").get_by_text("1234567890123456789")).to_have_count(1 if allows_edits else 2)
        if allows_edits:
            expect(form.get_by_label("id", exact=True)).to_have_value("1234567890123456789")
        press(form, "Approve")
        assert "arguments" not in page.evaluate("window.decisions")[0]

    def test_long_arguments_are_shown_whole(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        page.evaluate(RENDER_ASKED, [question("send", {"text": "many words " * 1000})])
        hidden = "dd => dd.scrollHeight > dd.clientHeight + 1 && getComputedStyle(dd).overflow !== 'visible'"
        assert card(page, "send").locator("dd").evaluate(hidden) is False

    def test_a_call_may_have_no_arguments(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        empty = {"none": "", "null": "null", "object": "{}"}
        page.evaluate(RENDER_ASKED, [question(name, {}) | {"arguments": text} for name, text in empty.items()])
        for name in empty:
            press(card(page, name), "Approve")
        told = {"approved": True, "reason": ""}
        assert page.evaluate("window.decisions") == [{"approval_id": name, **told} for name in empty]

    def test_each_text_has_the_direction_of_its_letters(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        page.evaluate(RENDER_ASKED, [question("pay", {"to": "سارة (5)"}, message="الدفع (5)?")])
        for text in ("p.tool-asked", "dd", "input"):
            expect(card(page, "pay").locator(text)).to_have_css("unicode-bidi", "plaintext")

    def test_a_string_can_never_become_html(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        hostile = "<img src=x onerror=alert(1)>"
        properties = {hostile: {"type": "string", "title": hostile, "enum": [hostile]}}
        calls = question("pay", {hostile: hostile}, message=hostile, schema={"properties": properties})
        page.evaluate(RENDER_ASKED, [calls, question("edit", {hostile: hostile}, allows_edits=True)])
        expect(card(page, "pay")).to_contain_text(hostile)
        expect(page.locator(".answer img")).to_have_count(0)

    def test_it_is_used_with_the_keyboard(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, modules=True)
        answer = asked(page, "please pay 5")
        expect(page.get_by_role("textbox", name="Your question")).to_be_focused()  # it takes nothing from who writes
        card(page, "pay").get_by_label("Reason").focus()
        page.keyboard.type("Fine")
        page.keyboard.press("Tab")
        expect(card(page, "pay").get_by_role("button", name="Deny")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        expect(answer).to_contain_text("done pay 5")
        expect(answer.locator(".tool")).to_be_focused()
        assert asking.runs == ["pay 5"]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_at_any_stage(self, visits: Visits, asking: AskingChat, scheme: Any) -> None:
        page = visits.open(asking.url, color_scheme=scheme, reduced_motion="reduce")
        page.evaluate((npm.clients() / "node_modules" / "axe-core" / "axe.min.js").read_text())
        answer = asked(page, BOTH)
        assert page.evaluate(AXE) == []
        keep_picture(page, f"approval-{scheme}")
        press(card(page, "pay"), "Approve")
        assert page.evaluate(AXE) == []
        press(card(page, "send_note"), "Deny")
        expect(answer).to_contain_text("done pay 5")
        has_ended(answer)
        assert page.evaluate(AXE) == []
        assert asking.runs == ["pay 5"]

    def test_it_fits_a_phone(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url, viewport={"width": 320, "height": 640})
        asked(page, BOTH)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
