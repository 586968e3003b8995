"""What the page does with a question that was refused, or did not arrive, and with what is written but not sent."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser_page import KEY, Visits, ask, has_ended, keep_picture, sent_body
from tests.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.clients]

JARGON = re.compile(r"[A-Z]{2,}_|header|json|setting|field|parameter|token|null|\d{3}\b", re.IGNORECASE)


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your question")


def reason(page: Page) -> Locator:
    return page.locator(".composer").get_by_role("alert")


def refuse(page: Page, status: int, code: str = "", **error: Any) -> None:
    body = {"error": {"code": code, "message": "MAX_BODY_BYTES: see x-api-key", **error}}
    page.route("**/chat", lambda route: route.fulfill(status=status, json=body))


def fail_within_stream(page: Page, code: str) -> None:
    start = 'data: {"type":"start","conversation_id":"c","message_id":"m","model":"any"}\n\n'
    error = f'data: {{"type":"error","code":"{code}","message":"look at OPENAI_API_KEY","request_id":"r-1"}}\n\n'
    page.route("**/chat", lambda route: route.fulfill(body=start + error, content_type="text/event-stream"))


def edit_first(page: Page, text: str) -> None:
    page.locator(".question").first.hover()
    page.get_by_role("button", name="Edit").first.click()
    composer(page).fill(text)
    page.keyboard.press("Enter")


class TestRefusals:
    def test_what_is_too_long_goes_back_and_the_next_question_is_answered(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        composer(page).evaluate("(node, text) => { node.value = text; }", "b" * 220_000)
        composer(page).press("Enter")
        expect(reason(page)).to_contain_text("Shorten it, ask in parts")
        expect(composer(page)).to_be_focused()
        assert len(composer(page).input_value()) == 220_000
        expect(page.locator(".question, .answer")).to_have_count(0)
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)
        expect(has_ended(ask(page, "Count to 3"))).to_contain_text("1 2 3")
        expect(reason(page)).to_be_empty()
        expect(has_ended(ask(page, "Count to 4"))).to_contain_text("1 2 3 4")
        expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4"])

    def test_the_same_question_comes_again_under_its_id_and_what_was_before_it_stays(
        self, visits: Visits, chat: str
    ) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        url = page.url
        refuse(page, 413, "message_too_long")
        with page.expect_request("**/chat") as first:
            ask(page, "Count to 4, please")
        expect(composer(page)).to_have_value("Count to 4, please")
        expect(page.locator(".question")).to_have_text(["Count to 3"])
        keep_picture(page, "refused")
        page.unroute("**/chat")
        page.reload()  # which loses nothing
        expect(page.locator(".question")).to_have_text(["Count to 3"])
        expect(composer(page)).to_have_value("Count to 4, please")
        assert page.url == url
        with page.expect_request("**/chat") as second:
            has_ended(ask(page, "Count to 4"))
        ids = [sent_body(request.value)["messages"][0]["id"] for request in (first, second)]
        assert ids[0] == ids[1]
        expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4"])

    def test_what_the_model_refuses_goes_back_also_after_a_reload_and_replaces_what_was_kept(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        page = visits.open(guarded, key=KEY)
        model_provider.responds_with("Good ", "morning.")
        has_ended(ask(page, "Good morning"))
        model_provider.rejects_with(400)
        ask(page, "Something else")
        expect(composer(page)).to_have_value("Something else")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.reload()
        expect(page.locator(".question")).to_have_text(["Good morning"])
        expect(composer(page)).to_have_value("Something else")
        other = page.context.new_page()  # of the same reader, without what was written here
        other.goto(guarded)
        other.evaluate("key => sessionStorage.setItem('winterbourne.key', key)", KEY)
        other.goto(page.url)
        expect(composer(other)).to_have_value("Something else")
        expect(reason(other)).to_contain_text("This cannot be answered as it is.")
        model_provider.responds_with("Better ", "so.")
        has_ended(ask(page, "Something better"))
        page.reload()
        expect(page.locator(".question")).to_have_text(["Good morning", "Something better"])

    @pytest.mark.parametrize(
        ("status", "code", "told"),
        [
            (400, "unsupported_media", "One of the files"),
            (413, "too_many_documents", "too many files"),
            (404, "model_not_found", "Choose another one."),
            (413, "", "Shorten it"),
            (422, "something_new", "This cannot be answered as it is."),
        ],
    )
    def test_the_reason_is_in_the_readers_words(
        self, visits: Visits, chat: str, status: int, code: str, told: str
    ) -> None:
        page = visits.open(chat)
        refuse(page, status, code)
        ask(page, "Hello")
        expect(reason(page)).to_contain_text(told)
        expect(composer(page)).to_have_value("Hello")
        assert not JARGON.search(reason(page).inner_text())

    def test_what_support_asks_for_is_told_of_what_is_not_the_readers_fault(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        refuse(page, 500, "internal_error", request_id="r-77")
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("alert")).to_have_text(
            "Something went wrong here. Try again in a moment. For support: r-77"
        )
        expect(answer.get_by_role("button", name="Try again")).to_be_visible()
        keep_picture(page, "failed-for-support")

    def test_every_error_of_a_page_is_a_plain_sentence(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        errors = page.evaluate("JSON.parse(document.getElementById('config').textContent).strings.errors")
        for name, text in errors.items():
            assert name == "reference" or (text.endswith(("?", ".")) and not JARGON.search(text)), text

    def test_an_answer_that_had_begun_stays_where_it_is(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        begun = (
            'data: {"type":"content","delta":"So far"}\n\ndata: {"type":"error","code":"context_length_exceeded"}\n\n'
        )
        page.route("**/chat", lambda route: route.fulfill(body=begun, content_type="text/event-stream"))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer).to_contain_text("So far")
        expect(answer).to_contain_text("This conversation has become too long")
        expect(answer.get_by_role("button", name="Try again")).to_have_count(0)

    @pytest.mark.parametrize("code", ["model_busy", "model_garbled", "answer_lost"])
    def test_what_may_pass_can_be_tried_again(self, visits: Visits, chat: str, code: str) -> None:
        page = visits.open(chat)
        fail_within_stream(page, code)
        answer = has_ended(ask(page, "Count to 3"), "failed")
        page.unroute("**/chat")
        answer.get_by_role("button", name="Try again").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("1 2 3")
        expect(page.locator(".question")).to_have_count(1)

    def test_a_refused_edit_brings_back_what_it_would_have_replaced(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        for number in (3, 4):
            has_ended(ask(page, f"Count to {number}"))
        refuse(page, 413, "message_too_long")
        edit_first(page, "Count to 5")
        expect(composer(page)).to_have_value("Count to 5")
        expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4"])
        expect(page.locator(".answer")).to_have_count(2)
        page.unroute("**/chat")
        composer(page).press("Enter")
        expect(page.locator(".question")).to_have_text(["Count to 5"])
        expect(has_ended(page.locator(".answer"))).to_contain_text("1 2 3 4 5")
        page.reload()
        expect(page.locator(".question")).to_have_text(["Count to 5"])

    def test_an_edit_that_comes_back_is_one_still_and_can_be_left(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        for number in (3, 4):
            has_ended(ask(page, f"Count to {number}"))
        refuse(page, 413, "message_too_long")
        edit_first(page, "Count to 5")
        expect(page.get_by_text("Editing an earlier question.")).to_be_visible()
        page.unroute("**/chat")
        page.get_by_role("button", name="Cancel").click()
        expect(composer(page)).to_have_value("")
        has_ended(ask(page, "Count to 6"))
        expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4", "Count to 6"])

    def test_what_is_written_in_place_of_a_question_that_came_back_is_another(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        ids = []
        refuse(page, 413, "message_too_long")
        for text in ("Count to 3", "Count to 4"):
            with page.expect_request("**/chat") as sent:
                ask(page, text)
            ids.append(sent_body(sent.value)["messages"][0]["id"])
            expect(composer(page)).to_have_value(text)
            page.keyboard.press("Control+a")
            page.keyboard.press("Delete")
        assert len(set(ids)) == 2

    def test_a_question_that_did_not_arrive_goes_with_the_next_one(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/chat", lambda route: route.abort())
        has_ended(ask(page, "My name is Ada"), "failed")
        page.unroute("**/chat")
        has_ended(ask(page, "Count to 3"))
        page.reload()
        expect(page.locator(".question")).to_have_text(["My name is Ada", "Count to 3"])
        expect(composer(page)).to_have_value("")

    def test_one_that_did_arrive_is_not_sent_again_with_the_next(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        expect(ask(page, "Count to 100")).to_contain_text("1 2")
        page.route("**/stream*", lambda route: route.abort())
        page.reload()
        has_ended(page.locator(".answer"), "failed")
        expect(composer(page)).to_have_value("")
        kept = page.url.replace("#", "conversations/")
        while page.request.get(kept).json()["running"]:
            page.wait_for_timeout(50)
        with page.expect_request("**/chat") as sent:
            ask(page, "Count to 3")
        [message] = sent_body(sent.value)["messages"]
        assert message["content"] == [{"type": "text", "text": "Count to 3"}]

    def test_one_that_gives_way_stays_in_its_conversation(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        url = page.url
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/conversations/*", hold)
        refuse(page, 409, "conversation_busy")
        ask(page, "Count to 4")
        while not held:
            page.wait_for_timeout(20)
        page.get_by_role("button", name="New conversation").click()
        expect(composer(page)).to_have_value("")
        page.unroute("**/conversations/*")
        page.goto(url)
        expect(composer(page)).to_have_value("Count to 4")

    def test_an_edit_that_does_not_arrive_loses_nothing(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        for number in (3, 4):
            has_ended(ask(page, f"Count to {number}"))
        page.route("**/chat", lambda route: route.abort())
        edit_first(page, "Count to 5")
        expect(composer(page)).to_have_value("Count to 5")
        expect(reason(page)).to_contain_text("The chat cannot be reached.")
        expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4"])


def test_what_could_not_be_loaded_comes_once_the_page_is_online(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    has_ended(ask(page, "Count to 3"))

    def fail(route: Route) -> None:
        route.abort()

    page.route("**/conversations/*", fail)
    page.reload()
    expect(page.get_by_role("article")).to_contain_text("The chat cannot be reached.")
    page.unroute("**/conversations/*")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator(".answer")).to_contain_text("1 2 3")
