"""What is written in the chat page and not sent: it survives a reload, in each conversation, with its files."""

import re

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser_page import Visits, ask, has_ended, sent_body

pytestmark = [pytest.mark.slow, pytest.mark.clients]

PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + b"0" * 2000
KEPT_FILES = """() => Object.keys(sessionStorage).filter((key) => key.startsWith("winterbourne.file.")).length"""


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your question")


def attached(page: Page) -> Locator:
    return page.get_by_role("form", name="Ask").get_by_role("list", name="Files").get_by_role("listitem")


def document(name: str, content: bytes = PDF) -> FilePayload:
    return {"name": name, "mimeType": "application/pdf", "buffer": content}


def attach(page: Page, *files: FilePayload) -> None:
    count = attached(page).count()
    page.locator("#files").set_input_files(list(files))
    expect(attached(page)).to_have_count(count + len(files))


def test_what_is_written_survives_a_reload_in_each_conversation(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    composer(page).fill("Not yet sent")
    page.reload()
    expect(composer(page)).to_have_value("Not yet sent")
    has_ended(ask(page, "Count to 3"))
    first = page.url
    expect(composer(page)).to_have_value("")
    composer(page).fill("For the first one")
    page.get_by_role("button", name="New conversation").click()
    expect(composer(page)).to_have_value("")
    composer(page).fill("For a new one")
    page.go_back()
    expect(page).to_have_url(first)
    expect(composer(page)).to_have_value("For the first one")
    page.reload()
    expect(composer(page)).to_have_value("For the first one")
    page.get_by_role("button", name="New conversation").click()
    expect(composer(page)).to_have_value("For a new one")


def test_a_question_that_did_not_arrive_is_there_after_a_reload(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.route("**/chat", lambda route: route.abort())
    has_ended(ask(page, "Count to 3"), "failed")
    page.unroute("**/chat")
    page.goto(chat)
    page.go_back()
    page.reload()
    expect(composer(page)).to_have_value("Count to 3")
    page.goto("about:blank")


def test_one_that_did_arrive_comes_back_as_an_edit_of_it(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.route("**/chat", lambda route: route.abort())
    with page.expect_request("**/chat") as sent:
        has_ended(ask(page, "Count to 3"), "failed")
    body = sent_body(sent.value)
    body["messages"].append({"role": "user", "id": "u_next", "content": [{"type": "text", "text": "Count to 4"}]})
    page.request.post(f"{chat}/chat", data=body)  # it went along with the next one
    page.reload()
    expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 4"])
    expect(composer(page)).to_have_value("Count to 3")
    expect(page.get_by_text("Editing an earlier question.")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(composer(page)).to_have_value("")


def test_one_that_was_stopped_before_it_arrived_is_there_after_a_reload(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.route("**/chat", lambda _: None)  # no answer comes
    page.route("**/stop", lambda route: route.abort())
    answer = ask(page, "Count to 3")
    page.get_by_role("button", name="Stop").click()
    has_ended(answer, "stopped")
    page.reload()
    expect(composer(page)).to_have_value("Count to 3")


def test_what_was_written_elsewhere_is_not_sent_when_a_file_has_been_read(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    has_ended(ask(page, "Count to 3"))
    composer(page).fill("For another time")
    page.get_by_role("button", name="New conversation").click()
    page.evaluate("""() => {
      const read = File.prototype.arrayBuffer;
      File.prototype.arrayBuffer = async function () {
        await new Promise((resolve) => { window.goOn = resolve; });
        return read.call(this);
      };
    }""")
    page.locator("#files").set_input_files([document("tides.pdf")])
    page.wait_for_function("() => window.goOn")
    ask(page, "Read this")
    page.go_back()
    expect(composer(page)).to_have_value("For another time")
    page.evaluate("goOn()")
    page.wait_for_timeout(200)
    expect(composer(page)).to_have_value("For another time")
    expect(attached(page)).to_have_count(0)
    expect(page.locator(".question")).to_have_text(["Count to 3"])


def test_one_that_was_tried_again_is_no_draft(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.route("**/chat", lambda route: route.abort())
    answer = has_ended(ask(page, "Count to 3"), "failed")
    page.unroute("**/chat")
    answer.get_by_role("button", name="Try again").click()
    has_ended(page.locator(".answer"))
    page.reload()
    expect(page.locator(".question")).to_have_text("Count to 3")
    expect(composer(page)).to_have_value("")


def test_files_survive_a_reload_in_each_conversation_and_are_sent(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    attach(page, document("tides.pdf"), document("gates.pdf", PDF + b"1"))
    composer(page).fill("Read these")
    page.reload()
    expect(attached(page)).to_have_text([re.compile("^tides.pdf"), re.compile("^gates.pdf")])
    with page.expect_request("**/chat") as sent:
        page.keyboard.press("Enter")
    [message] = sent_body(sent.value)["messages"]
    names = [part.get("name") for part in message["content"]]
    assert names == ["tides.pdf", "gates.pdf", None]
    assert len({part["data"] for part in message["content"][:2]}) == 2
    has_ended(page.locator(".answer"))
    assert page.evaluate(KEPT_FILES) == 0, "what is sent needs no place any more"
    attach(page, document("tides.pdf"))
    page.get_by_role("button", name="New conversation").click()
    expect(attached(page)).to_have_count(0)
    page.go_back()
    expect(attached(page)).to_have_count(1)


def test_a_file_that_is_taken_out_again_is_not_kept(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    attach(page, document("tides.pdf"), document("gates.pdf"))
    assert page.evaluate(KEPT_FILES) == 2
    page.get_by_role("button", name="Remove tides.pdf").click()
    expect(attached(page)).to_have_count(1)
    assert page.evaluate(KEPT_FILES) == 1
    page.reload()
    expect(attached(page)).to_have_text([re.compile("^gates.pdf")])
    page.get_by_role("button", name="Remove gates.pdf").click()
    assert page.evaluate(KEPT_FILES) == 0


def test_files_that_there_is_no_room_for_are_missed_and_not_the_words(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.evaluate("sessionStorage.setItem('of another page', 'x'.repeat(5_230_000))")
    attach(page, document("tides.pdf", PDF * 200))
    composer(page).fill("Read this")
    page.reload()
    expect(composer(page)).to_have_value("Read this")
    expect(attached(page)).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_text("There was no room to keep all files. Please add those again.")


def test_a_file_of_a_question_that_did_not_arrive_is_there_after_a_reload(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    page.route("**/chat", lambda route: route.abort())
    attach(page, document("tides.pdf"))
    has_ended(ask(page, "Read this"), "failed")
    attach(page, document("gates.pdf"))
    page.unroute("**/chat")
    page.reload()
    expect(composer(page)).to_have_value("Read this")
    expect(attached(page)).to_have_text([re.compile("^tides.pdf"), re.compile("^gates.pdf")])


def test_an_edit_survives_a_reload_with_what_was_set_aside(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    attach(page, document("tides.pdf"))
    has_ended(ask(page, "Read this"))
    composer(page).fill("Half a thou")
    attach(page, document("gates.pdf", PDF + b"1"))
    page.get_by_role("button", name="Edit question").click()
    composer(page).fill("Read this again")
    for _ in range(2):
        page.reload()
        expect(page.get_by_text("Editing an earlier question.")).to_be_visible()
        expect(composer(page)).to_have_value("Read this again")
        expect(attached(page)).to_have_text([re.compile("^tides.pdf")])
        expect(page.locator(".question")).to_contain_text("Read this")
    page.get_by_role("button", name="Cancel").click()
    expect(composer(page)).to_have_value("Half a thou")
    expect(attached(page)).to_have_text([re.compile("^gates.pdf")])
    page.reload()
    expect(composer(page)).to_have_value("Half a thou")
    expect(attached(page)).to_have_text([re.compile("^gates.pdf")])
    expect(page.get_by_text("Editing an earlier question.")).to_be_hidden()


def test_an_edit_that_survived_replaces_the_question(visits: Visits, chat: str) -> None:
    page = visits.open(chat)
    has_ended(ask(page, "Count to 3"))
    page.get_by_role("button", name="Edit question").click()
    composer(page).fill("Count to 4")
    page.reload()
    expect(page.locator(".question")).to_have_text(["Count to 3"])
    expect(composer(page)).to_have_value("Count to 4")
    composer(page).press("Enter")
    expect(page.locator(".question")).to_have_text(["Count to 4"])
    expect(has_ended(page.locator(".answer"))).to_contain_text("1 2 3 4")
    page.reload()
    expect(page.locator(".question")).to_have_text(["Count to 4"])
    expect(composer(page)).to_have_value("")
