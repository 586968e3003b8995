"""The chat page in a real Chromium, over the whole path from the function URL to the provider."""

import hashlib
import itertools
import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser_page import FIVE, KEY, Visits, ask, has_ended, keep_picture, open_tools, sent_body
from tests.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.clients]


class TestAsking:
    def test_words_arrive_before_the_end(self, visits: Visits, chat: str) -> None:
        answer = ask(visits.open(chat), "Count to 250")
        expect(answer).to_contain_text("1 2 3 4 5")
        assert answer.get_attribute("data-state") == "running"
        assert "250" not in answer.inner_text()
        expect(has_ended(answer)).to_contain_text("249 250")

    def test_five_tools_are_shown_running_at_once_and_which_was_slow(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, FIVE)
        running = answer.locator(".chip[data-status=started]")
        expect(running.nth(1)).to_be_visible()
        expect(running.last.locator(".flow")).to_be_visible()
        keep_picture(page, "running")
        has_ended(answer)
        expect(answer.locator(".tool[data-status=completed]")).to_have_count(5)
        expect(answer.locator("figcaption")).to_contain_text("5 tools at once")
        bars = _bars(answer)
        assert len(bars) == 5
        assert any(left < before for (_, before), (left, _) in itertools.pairwise(bars)), "bars lie side by side"
        slowest = _bars(answer.locator(".slowest"))
        assert slowest[0][1] - slowest[0][0] == max(right - left for left, right in bars)
        keep_picture(page, "answered")

    def test_a_card_shows_the_arguments_and_the_result(self, visits: Visits, chat: str) -> None:
        answer = open_tools(has_ended(ask(visits.open(chat), "What is the weather in Paris?")))
        card = answer.get_by_role("listitem", name="Tool get_weather, completed")
        expect(card).to_contain_text("Paris")
        expect(card).to_contain_text("°C")
        card.get_by_text("Result").click()
        expect(card.get_by_label("Result")).to_contain_text('"temperature_c":')

    def test_a_tool_that_fails_says_why(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "What is the weather in Atlantisville?"))
        card = answer.locator(".tool[data-status=failed]")
        expect(card).to_contain_text("failed")
        assert card.locator(".tool-error").inner_text()

    def test_only_the_new_message_is_sent_and_what_was_said_before_is_known(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "What is the weather in Paris?"))
        with page.expect_request("**/chat") as sent:
            answer = ask(page, "And in Lima?")
        body = sent_body(sent.value)
        assert body["store"] is True
        assert body["retractions"] is True
        [message] = body["messages"]
        assert message.pop("id")
        assert message == {"role": "user", "content": [{"type": "text", "text": "And in Lima?"}]}
        expect(has_ended(answer).locator(".tool")).to_contain_text("Lima")

    def test_a_new_conversation_starts_without_history(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        with page.expect_request("**/chat") as first:
            has_ended(ask(page, "Hello"))
        page.get_by_role("button", name="New conversation").click()
        expect(page.get_by_role("heading", name="Ask, and it runs.")).to_be_visible()
        with page.expect_request("**/chat") as second:
            has_ended(ask(page, "Hello again"))
        assert len(sent_body(second.value)["messages"]) == 1
        assert sent_body(first.value)["conversation_id"] != sent_body(second.value)["conversation_id"]

    def test_a_suggestion_is_sent_with_one_click(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.get_by_role("button", name="What is 17.5 %").click()
        expect(has_ended(page.locator(".answer")).locator(".tool")).to_have_count(2)

    def test_reasoning_is_collapsed(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "Please think about it"))
        thoughts = answer.get_by_text("The script says what to answer.")
        expect(thoughts).to_be_hidden()
        answer.get_by_text("Thought for").click()
        expect(thoughts).to_be_visible()

    def test_every_request_has_the_hash_of_its_body_for_a_cdn_that_signs(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        with page.expect_request("**/chat") as sent:
            ask(page, "Zähle bis 3 \N{WATER WAVE}")
        body = sent.value.post_data_buffer
        assert body
        assert sent.value.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()


def _bars(rows: Locator) -> list[tuple[float, float]]:
    boxes = [bar.bounding_box() for bar in rows.locator(".bar").all()]
    return [(box["x"], box["x"] + box["width"]) for box in boxes if box]


RENDER_FRAMES = """
async (frames) => {
  const { Answer } = await import("/modules/answer.js");
  const answer = new Answer();
  document.getElementById("log").append(answer.node);
  for (const frame of frames) answer.handleFrame(frame);
}
"""


def call(status: str, name: str = "dig", **more: Any) -> dict[str, Any]:
    return {"type": "tool_call", "name": name, "status": status, "id": name, **more}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "delta": text}


def cited(title: str) -> dict[str, Any]:
    return {"type": "source", "id": title, "title": title}


def content(text: str) -> dict[str, Any]:
    return {"type": "content", "delta": text}


class TestSources:
    def test_an_answer_names_each_source_once_also_when_it_is_loaded_again(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/chat", _with_documents)
        answer = has_ended(ask(page, "What do these say?"))
        keep_picture(page, "sources")
        for _ in range(2):
            sources = answer.get_by_role("list", name="Sources").get_by_role("listitem")
            expect(sources).to_have_text(["Tide tables.pdf", "<b>Notes</b>.md"])
            link = sources.first.get_by_role("link")
            expect(link).to_have_attribute("href", "https://example.com/tides.pdf")
            expect(link).to_have_attribute("rel", "noopener noreferrer")
            expect(sources.last.get_by_role("link")).to_have_count(0)
            page.reload()
            answer = page.locator(".answer").last
        expect(page.locator(".question").last).to_contain_text("Tide tables.pdf")

    def test_an_answer_without_sources_shows_none(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "Hello"))
        expect(answer.locator(".sources")).to_be_hidden()


def _with_documents(route: Route) -> None:
    """Send documents along, one of them by its address."""
    body = sent_body(route.request)
    if not body.get("messages"):
        route.continue_()
        return
    notes = {"media_type": "text/markdown", "name": "<b>Notes</b>.md", "data": "IyBUaWRlcw=="}
    page = {"media_type": "application/pdf", "name": "Tide tables.pdf", "url": "https://example.com/tides.pdf"}
    [message] = body["messages"]
    documents = [{"type": "document", **document} for document in (page, notes, page)]
    body["messages"] = [{**message, "content": [*documents, *message["content"]]}]
    route.continue_(post_data=json.dumps(body))


class TestFrames:
    """Frames that the shipped tools and model never cause, and others may."""

    def test_what_is_taken_back_goes_and_what_earlier_turns_said_stays(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        start, turn, retract = {"type": "start", "message_id": "m"}, {"type": "turn"}, {"type": "retract"}
        first = [
            start,
            retract,
            thought("Idle. "),
            content("Lost."),
            retract,
            thought("Yes. "),
            content("Let me dig. "),
        ]
        second = [turn, thought("Hm."), content("Lost again."), cited("b"), retract, content("Gold.")]
        page.evaluate(RENDER_FRAMES, [*first, cited("a"), call("started"), call("completed"), *second])
        expect(page.locator(".answer .prose")).to_have_text(["Let me dig.", "Gold."])
        expect(page.locator(".sources li")).to_have_text(["a"])
        expect(page.locator(".thoughts p")).to_have_text("Yes. ")
        open_tools(page.locator(".answer"))
        expect(page.get_by_role("listitem", name="Tool dig, completed")).to_be_visible()
        page.evaluate(RENDER_FRAMES, [start, content("One. "), turn, content("Two."), retract, content("Three.")])
        expect(page.locator(".answer").last.locator(".prose")).to_have_text("One. Three.")

    def test_what_is_thought_after_it_was_taken_back_stands_before_what_is_said(
        self, visits: Visits, chat: str
    ) -> None:
        page = visits.open(chat, modules=True)
        frames = [{"type": "start", "message_id": "m"}, content("Lost."), {"type": "retract"}, thought("Hm.")]
        page.evaluate(RENDER_FRAMES, [*frames, content("Found.")])
        parts = page.locator(".answer .thoughts, .answer .prose")
        expect(parts).to_have_text(["Thought for a momentHm.", "Found."])

    def test_what_each_turn_thinks_is_a_paragraph(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        turn, retract = {"type": "turn"}, {"type": "retract"}
        frames = [{"type": "start", "message_id": "m"}, thought("One"), thought("."), call("started"), turn]
        page.evaluate(RENDER_FRAMES, [*frames, thought("Lost."), retract, thought("Two"), thought("."), content("So.")])
        expect(page.locator(".thoughts p")).to_have_text(["One.", "Two."])

    def test_a_queued_call_says_so(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        page.evaluate(RENDER_FRAMES, [call("queued")])
        open_tools(page.locator(".answer"))
        expect(page.get_by_role("listitem", name="Tool dig, waiting for a place")).to_be_attached()

    def test_progress_is_a_bar_if_a_tool_reports_a_fraction(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        progress = call("progress", data={"fraction": 0.4, "layer": "chalk"})
        page.evaluate(RENDER_FRAMES, [call("started", arguments='{"metres": 3}'), progress])
        open_tools(page.locator(".answer"))
        card = page.locator(".tool")
        expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
        expect(card).to_have_text("digrunning3layerchalk")

    @pytest.mark.parametrize(
        ("status", "shown"), [("failed", "failed"), ("timed_out", "timed out"), ("cancelled", "cancelled")]
    )
    def test_each_failed_status_has_its_label_and_reason(
        self, visits: Visits, chat: str, status: str, shown: str
    ) -> None:
        page = visits.open(chat, modules=True)
        page.evaluate(RENDER_FRAMES, [call("started"), call(status, duration_ms=5, error="hit flint")])
        if status == "cancelled":
            open_tools(page.locator(".answer"))
        expect(page.get_by_role("listitem", name=f"Tool dig, {shown}")).to_contain_text("hit flint")
        expect(page.get_by_role("progressbar")).to_have_count(0)

    def test_text_and_calls_stay_in_order(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        began = [content("I di"), call("started"), content("g.")]
        page.evaluate(RENDER_FRAMES, [*began, call("completed", duration_ms=5, result=[1]), content("Dug.")])
        expect(page.locator(".answer > div > *:visible")).to_have_text(["I dig.", re.compile("^dig"), "Dug."])

    def test_unknown_frames_of_later_versions_are_ignored(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, modules=True)
        page.evaluate(RENDER_FRAMES, [{"type": "weather_of_tomorrow"}, content("Still here.")])
        expect(page.locator(".answer")).to_contain_text("Still here.")


class TestStopping:
    @pytest.mark.parametrize("press", ["the button", "Escape"])
    def test_a_running_answer_stops_and_its_text_stays(self, visits: Visits, chat: str, press: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        with page.expect_response(re.compile(r"/chat/c_\w+/stop$")) as stop_response:
            if press == "Escape":
                page.keyboard.press("Escape")
            else:
                page.get_by_role("button", name="Stop").click()
        assert stop_response.value.ok
        expect(has_ended(answer, "stopped")).to_contain_text("You stopped this answer.")
        expect(answer).to_contain_text("1 2 3")
        expect(page.get_by_role("button", name="Send")).to_be_visible()

    def test_after_a_stop_the_conversation_continues(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        page.keyboard.press("Escape")
        has_ended(answer, "stopped")
        expect(has_ended(ask(page, "Count to 3"))).to_contain_text("1 2 3")

    def test_tools_that_had_not_ended_are_shown_as_cancelled(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, FIVE)
        expect(answer.locator(".chip[data-status=started]").nth(1)).to_be_visible()
        page.keyboard.press("Escape")
        has_ended(answer, "stopped")
        expect(answer.locator(".tool[data-status=started]")).to_have_count(0)

    def test_if_the_stop_request_fails_the_stream_is_aborted(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/stop", lambda route: route.abort())
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        page.keyboard.press("Escape")
        expect(has_ended(answer, "stopped")).to_contain_text("You stopped this answer.")


class TestTrouble:
    def test_an_error_says_what_failed_and_the_question_can_be_retried(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        page = visits.open(guarded, key=KEY)
        model_provider.rejects_with(503)
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("alert")).to_contain_text("The model is busy")
        keep_picture(page, "failed")
        model_provider.responds_with("Now it ", "runs.")
        answer.get_by_role("button", name="Try again").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("Now it runs.")
        expect(page.locator(".question")).to_have_count(1)

    def test_without_a_network_it_says_so(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.context.set_offline(True)
        answer = has_ended(ask(page, "Count to 3"), "failed")
        expect(answer.get_by_role("alert")).to_have_text("The chat cannot be reached. Is this device online?")
        page.context.set_offline(False)
        answer.get_by_role("button", name="Try again").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("1 2 3")

    def test_a_stream_without_a_terminal_event_is_a_failure(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        body = 'data: {"type":"content","delta":"Half a"}\n\n'
        page.route("**/chat", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer).to_contain_text("Half a")
        expect(answer.get_by_role("alert")).to_have_text("The answer broke off before its end.")

    def test_a_rate_limit_delays_the_retry_as_long_as_the_server_says(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        body = json.dumps({"error": {"code": "too_many_requests", "message": "12 requests a minute at most"}})
        headers = {"retry-after": "1"}
        page.route("**/chat", lambda route: route.fulfill(status=429, body=body, headers=headers))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("alert")).to_contain_text("You have asked as much as you may for now.")
        again = answer.get_by_role("button", name="Try again")
        expect(again).to_be_disabled()
        expect(again).to_be_enabled()

    def test_a_limit_of_the_day_says_when_it_ends(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, locale="en-GB", timezone_id="UTC")
        page.clock.set_fixed_time("2026-11-27T22:30:00Z")
        body = json.dumps({"error": {"code": "rate_limited", "message": "1 dollar a day at most"}})
        headers = {"retry-after": "5400"}
        page.route("**/chat", lambda route: route.fulfill(status=429, body=body, headers=headers))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("button", name="Try again from Saturday 00:00")).to_be_disabled()


class TestTheKey:
    def test_it_is_requested_if_the_server_requires_one_and_kept_for_the_session(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        model_provider.responds_with("Let in.")
        page = visits.open(guarded)
        ask(page, "Hello")
        dialog = page.get_by_role("dialog", name="This chat asks for a key")
        expect(dialog).to_be_visible()
        expect(dialog).not_to_contain_text("not known")
        keep_picture(page, "key")
        dialog.get_by_label("Key").fill("a wrong one")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("not known")
        dialog.get_by_label("Key").fill(KEY)
        page.keyboard.press("Enter")
        expect(has_ended(page.locator(".answer"))).to_contain_text("Let in.")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.reload()
        expect(has_ended(ask(page, "Hello"))).to_contain_text("Let in.")

    def test_it_is_sent_in_a_header_that_a_signing_cdn_does_not_replace(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        model_provider.responds_with("Let in.")
        page = visits.open(guarded, key=KEY)
        with page.expect_request("**/chat") as sent:
            has_ended(ask(page, "Hello"))
        assert sent.value.headers["x-api-key"] == KEY
        assert "authorization" not in sent.value.headers
        assert KEY not in sent.value.url

    def test_it_can_be_declined_and_forgotten(self, visits: Visits, guarded: str) -> None:
        page = visits.open(guarded, key=KEY)
        page.reload()
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="Forget key").click()
        answer = ask(page, "Hello")
        page.get_by_role("button", name="Not now").click()
        expect(has_ended(answer, "failed").get_by_role("button", name="Use another key")).to_be_visible()


SEND = """
async (init) => {
  const { signedFetch } = await import("/modules/signed_fetch.js");
  if (init.bytes) init.body = new Uint8Array(init.bytes);
  return (await signedFetch("echo", init)).status;
}
"""


class TestSignedFetch:
    """The helper that other frontends may copy."""

    @pytest.mark.parametrize(
        ("init", "body"),
        [
            ({"method": "POST", "body": "Grüße"}, "Grüße".encode()),
            ({"method": "post"}, b""),
            ({"method": "PUT", "bytes": [0, 255]}, b"\x00\xff"),
        ],
    )
    def test_sends_the_hash_of_the_body(self, visits: Visits, chat: str, init: dict[str, Any], body: bytes) -> None:
        headers = sent(visits.open(chat, modules=True), {**init, "headers": {"x-more": "kept"}})
        assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        assert headers["x-more"] == "kept"

    @pytest.mark.parametrize(("method", "body"), [("PATCH", '{"title":"Grüße"}'), ("DELETE", None)])
    def test_sends_the_hash_of_whatever_changes_something(
        self, visits: Visits, chat: str, method: str, body: str | None
    ) -> None:
        headers = sent(visits.open(chat, modules=True), {"method": method, "body": body})
        assert headers["x-amz-content-sha256"] == hashlib.sha256((body or "").encode()).hexdigest()

    def test_leaves_a_request_without_a_body_unchanged(self, visits: Visits, chat: str) -> None:
        assert "x-amz-content-sha256" not in sent(visits.open(chat, modules=True), {})


def sent(page: Page, init: dict[str, Any]) -> dict[str, str]:
    """The headers that signedFetch sends."""
    page.route("**/echo", lambda route: route.fulfill(body="heard"))
    with page.expect_request("**/echo") as request:
        assert page.evaluate(SEND, init) == 200
    return request.value.headers


class TestHowItIsServed:
    def test_it_has_a_content_security_policy_and_is_one_request(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.wait_for_load_state("networkidle")
        assert visits.requested_urls[0] == f"{chat}/"
        assert all(url.startswith("data:") for url in visits.requested_urls[1:]), "all that it takes is in it"
        again = page.request.get(f"{chat}/")
        assert "default-src 'none'" in again.headers["content-security-policy"]
        assert again.headers["cache-control"] == "no-cache"
        assert page.request.get(f"{chat}/", headers={"if-none-match": again.headers["etag"]}).status == 304

    def test_a_string_can_never_become_html(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        assert (
            page.evaluate("""() => {
          try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
        }""")
            == "TypeError"
        )
        visits.console_errors.clear()  # the browser logs the attempt
