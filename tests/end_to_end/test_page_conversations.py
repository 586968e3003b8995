"""Conversations on the page, in a real Chromium: their URLs, their list, and answers that survive a lost connection."""

import json
import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser_page import FIVE, KEY, Visits, ask, has_ended, keep_picture, sent_body
from tests.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.clients]

SHOWN = """(answer) => [...answer.querySelectorAll(".prose, .thoughts, .tool")].map((node) => {
  const copy = node.cloneNode(true);
  // How long it thought, and how long a call took, is not kept.
  copy.querySelector(".tool-state span, .tool-state, .thoughts > summary")?.remove();
  return [node.className, node.ariaLabel, copy.innerHTML.replace("<p></p>", "")];
})"""

BREAKABLE = """
const { fetch } = window;
window.fetch = async (...request) => {
  const response = await fetch(...request);
  if (response.headers.get("content-type") !== "text/event-stream") return response;
  const breaks = { start: (stream) => { window.cut = () => stream.error(new TypeError("network error")); } };
  return new Response(response.body.pipeThrough(new TransformStream(breaks)), response);
};
"""

ESCAPES_DURING_TOOLS = """
new MutationObserver((_, observer) => {
  if (document.querySelectorAll(".tool[data-status=started]").length < 2) return;
  observer.disconnect();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
}).observe(document.body, { subtree: true, childList: true, attributes: true });
"""  # at once: tools end in half a second, and a test on a busy machine may look later than that


def count(last: int) -> str:
    return " ".join(map(str, range(1, last + 1)))


def says(answer: Locator, text: str) -> None:
    """The answer consists of this, once."""
    assert " ".join(answer.locator(".prose").inner_text().split()) == text


def address(page: Page) -> str:
    expect(page).to_have_url(re.compile("#c_"))
    return page.url


def serve_list(page: Page, *names: str) -> None:
    """Show conversations of these names and no others."""
    dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
    rows = [{"id": name, "title": name} | dates for name in names]
    page.route("**/conversations?*", lambda route: route.fulfill(json={"conversations": rows, "next": None}))


def open_list(page: Page) -> Locator:
    page.get_by_role("button", name="Conversations").click()
    return page.get_by_role("dialog", name="Conversations")


class TestAddress:
    def test_an_opened_conversation_looks_as_it_did_live(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        live = [has_ended(ask(page, text)).evaluate(SHOWN) for text in ("Please think about it", FIVE)]
        failed = has_ended(ask(page, "What is the weather in Atlantisville?")).evaluate(SHOWN)
        tokens = (page.locator(".figures").last.text_content() or "").split(" · ")[-3:]
        page.reload()
        answers = page.locator(".answer")
        expect(answers).to_have_count(3)
        assert [answer.evaluate(SHOWN) for answer in answers.all()] == [*live, failed]
        expect(page.locator(".question")).to_have_text(
            ["Please think about it", FIVE, "What is the weather in Atlantisville?"]
        )
        expect(answers.last.locator(".figures")).to_have_text(" · ".join(tokens))
        expect(answers.last.get_by_role("button", name="Copy answer")).to_be_visible()
        expect(page.locator(".timeline:visible")).to_have_count(0)
        expect(page).to_have_title("Please think about it · Winterbourne")
        keep_picture(page, "reopened")

    def test_an_answer_that_was_not_finished_says_so(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.evaluate(ESCAPES_DURING_TOOLS)
        has_ended(ask(page, FIVE), "stopped")
        page.route("**/stream*", lambda route: route.fulfill(status=204))  # as after an hour
        page.reload()
        answer = has_ended(page.locator(".answer"), "stopped")
        expect(answer).to_contain_text("This answer was not finished.")
        expect(answer.locator(".chip[data-status=cancelled]").first).to_be_visible()
        expect(answer.locator("[data-status=started]")).to_have_count(0)
        expect(answer.get_by_role("button", name="Try again")).to_be_visible()

    def test_back_and_forward_lead_from_one_to_another(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        first = address(page)
        page.get_by_role("button", name="New conversation").click()
        expect(page).to_have_url(f"{chat}/")
        has_ended(ask(page, "Count to 4"))
        page.go_back()
        expect(page.get_by_role("heading", name="Ask, and it runs.")).to_be_visible()
        page.go_back()
        expect(page).to_have_url(first)
        says(has_ended(page.locator(".answer")), "1 2 3")
        page.go_forward()
        page.go_forward()
        expect(page.locator(".question")).to_have_text("Count to 4")

    def test_one_that_is_not_there_is_told_and_a_new_one_begins(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.goto(f"{chat}/#c_nowhere%")
        expect(page.get_by_role("article")).to_contain_text("There is no such conversation here")
        says(has_ended(ask(page, "Count to 3")), "1 2 3")
        assert "nowhere" not in address(page)
        page.go_back()
        page.get_by_role("article").get_by_role("button", name="New conversation").click()
        expect(page.get_by_role("heading", name="Ask, and it runs.")).to_be_visible()

    def test_a_server_that_does_not_answer_is_asked_again(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        body = json.dumps({"error": {"code": "store_unavailable", "message": "storage is unavailable"}})
        page.route("**/conversations/*", lambda route: route.fulfill(status=503, body=body))
        page.reload()
        expect(page.get_by_role("alert").first).to_have_text("Something went wrong here. Try again in a moment.")
        page.unroute("**/conversations/*")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".answer")).to_have_text(re.compile("1 2 3"))

    def test_a_question_that_failed_is_sent_again_under_its_id(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        page = visits.open(guarded, key=KEY)
        model_provider.rejects_with(503)
        with page.expect_request("**/chat") as first:
            has_ended(ask(page, "Hello"), "failed")
        model_provider.responds_with("Now it ", "runs.")
        page.reload()
        with page.expect_request("**/chat") as second:
            page.get_by_role("button", name="Try again").click()
        says(has_ended(page.locator(".answer")), "Now it runs.")
        assert sent_body(first.value) == sent_body(second.value)
        visitor = visits.open(guarded)
        visitor.goto(address(page))
        visitor.get_by_role("dialog").get_by_label("Key").fill(KEY)
        visitor.keyboard.press("Enter")
        expect(visitor.locator(".question")).to_have_text("Hello")
        says(has_ended(visitor.locator(".answer")), "Now it runs.")

    def test_an_answer_that_is_asked_for_again_takes_the_place_of_the_one_before(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        page = visits.open(guarded, key=KEY)
        model_provider.responds_with("First ", "answer.")
        has_ended(ask(page, "Hello"))
        model_provider.responds_with("Second ", "answer.")
        page.locator(".answer").hover()
        page.get_by_role("button", name="Answer again").click()
        says(has_ended(page.locator(".answer")), "Second answer.")
        page.reload()
        expect(page.locator(".question")).to_have_text("Hello")
        says(has_ended(page.locator(".answer")), "Second answer.")


class TestLostConnection:
    def test_a_reload_in_mid_answer_follows_it_and_can_stop_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        expect(ask(page, "Count to 600")).to_contain_text("300")  # by now the server can show half of it
        page.reload()
        answer = page.locator(".answer")
        expect(answer).to_contain_text("300")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        keep_picture(page, "reloaded-in-mid-answer")
        says(has_ended(answer), count(600))
        expect(ask(page, "Count to 5000")).to_contain_text("1 2 3")
        page.reload()
        expect(page.locator(".answer").last).to_contain_text("1 2 3")
        page.get_by_role("button", name="Stop").click()
        expect(has_ended(page.locator(".answer").last, "stopped")).to_contain_text("You stopped this answer.")
        page.reload()
        expect(has_ended(page.locator(".answer").last, "stopped")).to_contain_text("You stopped this answer.")

    def test_offline_and_back_in_mid_answer_misses_and_repeats_nothing(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.add_init_script(BREAKABLE)
        page.reload()
        answer = ask(page, "Count to 300")
        expect(answer).to_contain_text("1 2 3")
        page.context.set_offline(True)  # which Chromium's streams survive
        page.evaluate("cut()")
        expect(answer).to_contain_text("The connection was lost. Trying again.")
        with page.expect_request("**/stream*") as resumed:
            page.context.set_offline(False)
        assert int(resumed.value.headers["last-event-id"]) > 2
        says(has_ended(answer), count(300))
        expect(answer).not_to_contain_text("The connection was lost.")

    def test_a_connection_that_fell_silent_is_replaced(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        model_provider.responds_with("Still ", "here.", hold=True)
        page = visits.open(guarded, key=KEY)
        page.clock.install()
        answer = ask(page, "Hello")
        expect(answer).to_contain_text("Still")
        with page.expect_request("**/stream*"):
            page.clock.run_for(60_000)
        model_provider.release()
        says(has_ended(answer), "Still here.")

    def test_a_stream_that_stays_broken_is_a_failure_and_can_be_looked_for_again(
        self, visits: Visits, chat: str
    ) -> None:
        page = visits.open(chat)
        page.clock.install()
        body = 'data: {"type":"content","delta":"Half a"}\n\n'
        page.route("**/chat", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
        tries: list[str] = []

        def fail(route: Route) -> None:
            tries.append(route.request.headers["last-event-id"])
            route.abort()

        page.route("**/stream*", fail)
        answer = ask(page, "Hello")
        expect(answer).to_contain_text("Trying again.")
        for _ in range(40):
            page.clock.run_for(1000)
        expect(has_ended(answer, "failed").get_by_role("alert")).to_have_text("The answer broke off before its end.")
        expect(answer).to_contain_text("Half a")
        assert tries == ["1"] * 6
        page.unroute("**/stream*")
        answer.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("article").last).to_contain_text("There is no such conversation here")

    def test_a_second_tab_follows_the_answer_and_keeps_what_is_written_there(self, visits: Visits, chat: str) -> None:
        one, other = visits.open(chat), visits.open(chat)
        has_ended(ask(one, "Count to 3"))
        other.goto(address(one))
        expect(other.locator(".answer")).to_have_text(re.compile("1 2 3"))
        expect(ask(one, "Count to 500")).to_contain_text("1 2 3")
        answer = ask(other, "And what then?")
        expect(other.locator(".composer").get_by_role("alert")).to_have_text(
            "Another question is being answered in this conversation. Wait for its end, then send yours."
        )
        expect(other.locator(".question")).to_have_text(["Count to 3", "Count to 500"])
        expect(other.get_by_role("textbox", name="Your question")).to_have_value("And what then?")
        keep_picture(other, "busy")
        says(has_ended(answer), count(500))
        has_ended(ask(one, "Count to 4"))
        for page in (one, other):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(other.locator(".question")).to_have_text(["Count to 3", "Count to 500", "Count to 4"])
        expect(one.locator(".figures").last).to_contain_text("first word")

    def test_what_failed_is_shown_until_a_second_tab_has_an_answer(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        model_provider.rejects_with(503)
        page = visits.open(guarded, key=KEY)
        answer = has_ended(ask(page, "Hello"), "failed")
        with page.expect_response("**/conversations/*"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.evaluate("new Promise((resolve) => setTimeout(resolve))")
        has_ended(answer, "failed")
        model_provider.responds_with("Now it ", "runs.")
        other = visits.open(guarded, key=KEY)
        other.goto(address(page))
        other.get_by_role("button", name="Try again").click()
        has_ended(other.locator(".answer"))
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        says(has_ended(answer), "Now it runs.")

    def test_a_question_that_failed_is_shown_on_coming_back(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/chat", lambda route: route.fulfill(status=503, json={"error": {"code": "store_unavailable"}}))
        answer = has_ended(ask(page, "Hello"), "failed")
        with page.expect_response("**/conversations/*"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.evaluate("new Promise((resolve) => setTimeout(resolve))")
        expect(answer.get_by_role("alert")).to_contain_text("Something went wrong here.")
        expect(page.get_by_role("article")).to_have_count(1)

    def test_one_that_a_second_tab_has_deleted_is_not_gone_on_with(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        name = address(page).rpartition("#")[2]
        page.evaluate("name => fetch(`conversations/${name}`, { method: 'DELETE' })", name)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.get_by_role("article").last).to_contain_text("There is no such conversation here, or no longer.")
        says(page.get_by_role("article").first, "1 2 3")
        has_ended(ask(page, "Count to 4"))
        expect(page.locator(".question")).to_have_text(["Count to 4"])
        assert name not in address(page)


class TestList:
    def test_it_marks_opens_renames_and_deletes(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 7"))
        page.get_by_role("button", name="New conversation").click()
        expect(ask(page, "Count to 800")).to_contain_text("1 2 3")
        drawer = open_list(page)
        rows = drawer.get_by_role("listitem")
        link = rows.first.get_by_role("link")
        expect(link).to_have_attribute("aria-current", "page")
        expect(link).to_contain_text("answering")
        expect(rows.nth(1)).to_contain_text("Count to 7")
        keep_picture(page, "list")
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        expect(page.get_by_role("button", name="Conversations")).to_be_focused()
        assert page.locator(".answer").get_attribute("data-state") == "running", "Escape closed the list only"
        open_list(page)
        rows.nth(1).get_by_role("link").click()
        expect(drawer).to_be_hidden()
        says(has_ended(page.locator(".answer")), "1 2 3 4 5 6 7")

        open_list(page)
        rows.nth(1).get_by_role("button", name="Rename or delete: Count to 7").click()
        expect(drawer.get_by_role("textbox", name="Title")).to_be_focused()
        page.keyboard.press("Escape")
        expect(rows.nth(1).get_by_role("button")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.type("Seven")
        page.keyboard.press("Enter")
        expect(rows.nth(1).get_by_role("link")).to_contain_text("Seven")
        expect(page).to_have_title("Seven · Winterbourne")

        rows.nth(1).get_by_role("button").click()
        drawer.get_by_role("button", name="Delete", exact=True).click()
        expect(drawer).to_contain_text("Deleted.")
        expect(drawer.get_by_text("Seven")).to_have_count(0)
        expect(page).to_have_url(f"{chat}/")
        expect(page.locator(".answer")).to_have_count(0)

    def test_it_shows_older_ones_on_request_and_the_title_that_comes_later(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.clock.install()
        has_ended(ask(page, "Count to 3"))
        name = address(page).rpartition("#")[2]

        def serve(route: Route) -> None:
            is_first = "after=&" in f"{route.request.url}&"
            rows = [{"id": name, "title": "Three"}] if is_first else [{"id": "old", "title": "Long ago"}]
            dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
            page_of_rows = {"conversations": [row | dates for row in rows], "next": "more" if is_first else None}
            route.fulfill(json=page_of_rows)

        page.route("**/conversations?*", serve)
        page.clock.run_for(4000)
        expect(page).to_have_title("Three · Winterbourne")
        drawer = open_list(page)
        drawer.get_by_role("button", name="Show older").click()
        expect(drawer.get_by_role("link")).to_have_text(["ThreeJan 31, 2025", "Long agoJan 31, 2025"])
        expect(drawer.get_by_role("button", name="Show older")).to_be_hidden()

    def test_an_answer_that_ends_takes_no_older_ones_away_nor_what_is_written_there(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        model_provider.responds_with("It ", "ends.", hold=True)
        page = visits.open(guarded, key=KEY)
        answer = ask(page, "Hello")
        expect(answer).to_contain_text("It")
        dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
        named = [{"id": name, "title": name} | dates for name in ("new", "old", "older")]

        def serve(route: Route) -> None:
            is_first = "after=&" in f"{route.request.url}&"
            pages = {"conversations": named[:1] if is_first else named[1:], "next": "more" if is_first else None}
            route.fulfill(json=pages)

        page.route("**/conversations?*", serve)
        page.route("**/conversations/old", lambda route: route.fulfill(json=named[1] | sent_body(route.request)))
        drawer = open_list(page)
        drawer.get_by_role("button", name="Show older").click()
        drawer.get_by_role("button", name="Rename or delete: old", exact=True).click()
        page.keyboard.type("Mine")
        with page.expect_response("**/conversations?*"):
            model_provider.release()
        has_ended(answer)
        page.keyboard.press("Enter")
        expect(drawer.get_by_role("link").locator("b")).to_have_text(["new", "Mine", "older"])
        expect(drawer.get_by_role("button", name="Show older")).to_be_hidden()

    def test_one_without_a_title_is_called_untitled(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)

        def serve(route: Route) -> None:
            row = {"id": address(page).rpartition("#")[2], "title": ""}
            dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
            route.fulfill(json={"conversations": [row | dates], "next": None})

        page.route("**/conversations?*", serve)  # before the page looks for the title by itself
        has_ended(ask(page, "Count to 3"))
        drawer = open_list(page)
        expect(drawer.get_by_role("link").locator("b")).to_have_text("Untitled")
        expect(drawer.get_by_role("button", name="Rename or delete: Untitled")).to_be_visible()
        expect(page).to_have_title("Winterbourne")

    def test_it_forgets_titles_with_the_key(self, visits: Visits, guarded: str, model_provider: Provider) -> None:
        model_provider.responds_with("Yes.")
        page = visits.open(guarded, key=KEY)
        page.reload()
        has_ended(ask(page, "A secret of mine"))
        drawer = open_list(page)
        expect(drawer.get_by_role("link")).not_to_have_count(0)
        drawer.get_by_role("button", name="Forget key").click()
        open_list(page)
        page.get_by_role("button", name="Not now").click()
        expect(drawer.get_by_role("status")).not_to_be_empty()
        expect(drawer.get_by_role("link")).to_have_count(0)

    def test_what_was_asked_for_with_the_key_does_not_come_after_it(self, visits: Visits, guarded: str) -> None:
        page = visits.open(guarded, key=KEY)
        page.reload()
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/conversations?*", hold)
        drawer = open_list(page)
        drawer.get_by_role("button", name="Forget key").click()
        while not held:
            page.wait_for_timeout(20)
        row = {"id": "secret", "title": "Secret", "updated_at": "2025-01-31T12:00:00Z", "running": False}
        held[0].fulfill(json={"conversations": [row], "next": None})
        page.unroute("**/conversations?*")
        page.route("**/conversations?*", lambda route: route.fulfill(status=401, json={"error": {}}))
        open_list(page)
        page.get_by_role("button", name="Not now").click()
        expect(drawer.get_by_role("status")).not_to_be_empty()
        expect(drawer.get_by_role("link")).to_have_count(0)

    def test_the_last_older_ones_keep_the_place_of_who_uses_the_keyboard(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}

        def serve(route: Route) -> None:
            name, cursor = ("b", None) if route.request.url.endswith("after=more") else ("a", "more")
            route.fulfill(json={"conversations": [{"id": name, "title": name} | dates], "next": cursor})

        page.route("**/conversations?*", serve)
        drawer = open_list(page)
        drawer.get_by_role("button", name="Show older ones").press("Enter")
        expect(drawer.get_by_role("link", name="b")).to_be_focused()

    def test_who_uses_the_keyboard_keeps_the_place_when_it_changes(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        serve_list(page, "a", "b")
        page.route("**/conversations/b", lambda route: route.fulfill(json={"id": "b", "title": "B"}))
        drawer = open_list(page)
        drawer.get_by_role("button", name="Rename or delete: b").press("Enter")
        page.keyboard.type("B")
        page.keyboard.press("Enter")
        expect(drawer.get_by_role("button", name="Rename or delete: B", exact=True)).to_be_focused()
        page.route("**/conversations/*", lambda route: route.fulfill(status=204))
        for gone, next_one in (("a", drawer.get_by_role("link", name="B")), ("B", drawer.get_by_text("Close"))):
            drawer.get_by_role("button", name=f"Rename or delete: {gone}").press("Enter")
            drawer.get_by_role("button", name="Delete", exact=True).press("Enter")
            expect(next_one).to_be_focused()

    def test_what_became_of_it_is_told_in_sight(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.clock.install()
        serve_list(page, *map(str, range(30)))
        drawer = open_list(page)
        body = {"error": {"code": "conversation_busy", "message": "an answer is running here"}}
        page.route("**/conversations/1", lambda route: route.fulfill(status=409, json=body))
        delete(drawer, "1")
        expect(drawer.get_by_role("link")).to_have_count(29)
        expect(drawer.get_by_role("button", name="Undo")).to_be_in_viewport(ratio=1)
        page.clock.run_for(9000)
        expect(drawer.get_by_role("status")).to_contain_text("Another question is being answered")
        expect(drawer.get_by_role("status")).to_be_in_viewport(ratio=1)
        expect(drawer.get_by_role("link")).to_have_count(30)  # nothing is lost

    def test_a_deletion_can_be_undone_for_eight_seconds_and_is_sent_after_them(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        url = address(page)
        page.clock.install()
        deletions: list[str] = []

        def refuse_or_pass(route: Route) -> None:
            if route.request.method == "DELETE":
                deletions.append(route.request.url)
            route.fallback()

        page.route("**/conversations/*", refuse_or_pass)
        drawer = open_list(page)
        delete(drawer, "Count to 3", at=0)
        expect(page.locator(".answer")).to_have_count(0)
        keep_picture(page, "deleted")
        page.clock.run_for(7000)
        drawer.get_by_role("button", name="Undo").click()
        expect(drawer.get_by_role("link").first).to_be_focused()
        expect(page).to_have_url(url)
        says(page.locator(".answer"), "1 2 3")
        page.clock.run_for(9000)
        assert deletions == []
        delete(drawer, "Count to 3", at=0)
        with page.expect_response("**/conversations/*"):
            page.clock.run_for(9000)
        expect(drawer.get_by_role("status")).to_have_text("Deleted.")
        page.goto(url)
        expect(page.get_by_role("article")).to_contain_text("There is no such conversation here, or no longer.")

    def test_a_deletion_that_waits_is_sent_by_a_page_that_is_closed(self, visits: Visits, chat: str) -> None:
        page, other = visits.open(chat), visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        url = address(page)
        delete(open_list(page), "Count to 3", at=0)
        page.goto("about:blank")
        for _ in range(200):  # it is on its way
            if other.request.get(url.replace("#", "conversations/")).status == 404:
                break
            other.wait_for_timeout(50)
        other.goto(url)
        expect(other.get_by_role("article")).to_contain_text("There is no such conversation here, or no longer.")

    def test_who_types_before_the_list_is_there_searches_all_of_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/conversations?*", hold)
        drawer = open_list(page)
        drawer.get_by_role("searchbox", name="Search titles").fill("tea")
        expect(drawer.get_by_role("status")).to_have_text("0 found")
        dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
        for name, cursor in (("Trains", "more"), ("Tea", None)):
            while not held:
                page.wait_for_timeout(20)
            held.pop().fulfill(json={"conversations": [{"id": name, "title": name} | dates], "next": cursor})
        expect(drawer.locator("b")).to_have_text(["Tea"])

    def test_titles_are_found_in_all_of_it_whatever_their_accents(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        dates = {"updated_at": "2025-01-31T12:00:00Z", "running": False}
        pages = {"": ["Trains to Köln", "Tea"], "more": ["Old trains"], "last": ["Cologne"]}
        cursors = {"": "more", "more": "last", "last": None}

        def serve(route: Route) -> None:
            cursor = route.request.url.rpartition("after=")[2]
            rows = [{"id": name, "title": name} | dates for name in pages[cursor]]
            route.fulfill(json={"conversations": rows, "next": cursors[cursor]})

        page.route("**/conversations?*", serve)
        drawer = open_list(page)
        search = drawer.get_by_role("searchbox", name="Search titles")
        search.fill("TRAINS")
        expect(drawer.locator("b")).to_have_text(["Trains to Köln", "Old trains"])
        expect(drawer.get_by_role("status")).to_have_text("2 found")
        search.fill("koln")
        expect(drawer.locator("b")).to_have_text(["Trains to Köln"])
        search.press("Escape")
        expect(drawer.locator("b")).to_have_count(4)
        expect(drawer).to_be_visible()

    def test_they_stand_under_their_days(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, locale="en-GB", timezone_id="Europe/Berlin")
        page.clock.set_fixed_time("2026-03-30T10:00:00Z")  # a day after a change of the clocks
        times = ["03-30T00:30", "03-29T21:00", "03-28T23:30", "03-24T12:00", "03-01T12:00", "02-28T12:00"]
        rows = [{"id": at, "title": at, "updated_at": f"2026-{at}:00Z", "running": False} for at in times]
        page.route("**/conversations?*", lambda route: route.fulfill(json={"conversations": rows, "next": None}))
        drawer = open_list(page)
        days = [("Today", 1), ("Yesterday", 2), ("Previous 7 days", 1), ("March 2026", 1), ("February 2026", 1)]
        expect(drawer.get_by_role("heading", level=3)).to_have_text([day for day, _ in days])
        for day, count_ in days:
            expect(drawer.get_by_role("list", name=day).get_by_role("listitem")).to_have_count(count_)


def delete(drawer: Locator, title: str, at: int | None = None) -> None:
    edit = drawer.get_by_role("button", name=f"Rename or delete: {title}", exact=True)
    (edit if at is None else edit.nth(at)).click()
    drawer.get_by_role("button", name="Delete", exact=True).click()
