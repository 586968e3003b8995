"""Conversations of a chat whose server keeps nothing for long: the browser keeps them and brings them along."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser_page import KEY, Visits, ask, has_ended, keep_picture, sent_body
from tests.end_to_end.asking_chat import asking_chat
from tests.local_server import local_server

pytestmark = [pytest.mark.slow, pytest.mark.clients]

FIVE_WORDS = "1 2 3 4 5"


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("forgetful")
    settings = ("STORE=memory", "SCRIPTED_WORDS_PER_SECOND=100", "MAX_BODY_BYTES=40000", "TOOL_CACHE_BYTES=1")
    flags = [flag for setting in settings for flag in ("--env", setting)]
    with local_server(folder, "--concurrency", "2", *flags) as server:
        yield server.url


def open_twin(page: Page, url: str) -> Page:
    """A second tab of the same browser."""
    twin = page.context.new_page()
    twin.goto(url)
    return twin


def test_the_whole_of_it_is_sent_and_kept_without_the_server(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    has_ended(ask(page, "Compare AAPL and MSFT"))
    with page.expect_request("**/chat") as sent:
        has_ended(ask(page, "Count to 5"))
    body = sent_body(sent.value)
    assert "store" not in body
    assert body["conversation_id"] in page.url
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
    calls = [part["id"] for part in body["messages"][1]["content"] if part["type"] == "tool_call"]
    assert [message["tool_call_id"] for message in body["messages"][2:4]] == calls
    before = page.locator(".prose").all_inner_texts()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator(".question")).to_have_text(["Compare AAPL and MSFT", "Count to 5"])
    assert page.locator(".prose").all_inner_texts() == before
    expect(page.locator(".tool[data-status=completed]")).to_have_count(2)
    expect(page).to_have_title("Compare AAPL and MSFT · Winterbourne")
    assert not [url for url in asked if "conversations" in url or "stream" in url]


def test_the_list_says_where_they_are_and_renames_and_deletes_them(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    for number in (3, 4):
        page.goto(forgetful)
        has_ended(ask(page, f"Count to {number}"))
    page.get_by_role("button", name="Conversations").click()
    drawer = page.get_by_role("dialog", name="Conversations")
    expect(drawer).to_contain_text("Kept in this browser only.")
    expect(drawer.locator("b")).to_have_text(["Count to 4", "Count to 3"])
    keep_picture(page, "kept-here")
    drawer.get_by_role("button", name="Rename or delete: Count to 3").click()
    page.keyboard.type("Three")
    page.keyboard.press("Enter")
    expect(drawer.locator("b")).to_have_text(["Count to 4", "Three"])
    drawer.get_by_role("link", name="Three").click()
    expect(page).to_have_title("Three · Winterbourne")
    has_ended(ask(page, "Count to 5"))
    page.get_by_role("button", name="Conversations").click()
    expect(drawer.locator("b")).to_have_text(["Three", "Count to 4"])
    page.clock.install()
    drawer.get_by_role("button", name="Rename or delete: Three").click()
    drawer.get_by_role("button", name="Delete", exact=True).click()
    page.clock.run_for(9000)
    expect(drawer.get_by_role("status")).to_have_text("Deleted.")
    page.reload()
    page.get_by_role("button", name="Conversations").click()
    expect(drawer.locator("b")).to_have_text(["Count to 4"])


def test_all_can_be_deleted_at_once_for_whoever_uses_the_browser_next(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    for number in (3, 4):
        page.goto(forgetful)
        has_ended(ask(page, f"Count to {number}"))
    answer = ask(page, "Count to 300")
    expect(answer).to_contain_text("1 2 3")
    page.get_by_role("button", name="Conversations").click()
    drawer = page.get_by_role("dialog", name="Conversations")
    page.once("dialog", lambda dialog: dialog.dismiss())
    drawer.get_by_role("button", name="Delete all").click()
    expect(drawer.locator("b")).to_have_count(2)
    drawer.get_by_role("button", name="Rename or delete: Count to 3").click()  # no reason to keep it
    page.once("dialog", lambda dialog: dialog.accept())
    drawer.get_by_role("button", name="Delete all").click()
    expect(drawer.get_by_role("status")).to_have_text("Deleted.")
    expect(drawer.locator("b")).to_have_count(0)
    expect(answer).to_have_count(0)
    page.goto(forgetful)
    page.get_by_role("button", name="Conversations").click()
    expect(drawer).to_contain_text("Nothing yet.")


def test_a_deletion_that_waits_is_done_when_the_page_is_closed(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    has_ended(ask(page, "Count to 3"))
    page.get_by_role("button", name="Conversations").click()
    drawer = page.get_by_role("dialog", name="Conversations")
    drawer.get_by_role("button", name="Rename or delete: Count to 3").click()
    drawer.get_by_role("button", name="Delete", exact=True).click()
    page.goto("about:blank")
    page.goto(forgetful)
    page.get_by_role("button", name="Conversations").click()
    expect(drawer).to_contain_text("Nothing yet.")


def test_who_forgets_the_key_is_asked_whether_they_shall_go_too(visits: Visits, tmp_path: Path) -> None:
    settings = ("STORE=memory", "AUTH=api_key", f"API_KEYS={json.dumps({'tests': KEY})}")
    with local_server(tmp_path, *[flag for setting in settings for flag in ("--env", setting)]) as server:
        page = visits.open(server.url, key=KEY)
        page.reload()
        has_ended(ask(page, "Count to 3"))
        page.get_by_role("button", name="Conversations").click()
        drawer = page.get_by_role("dialog", name="Conversations")
        expect(drawer.locator("b")).to_have_count(1)
        asked: list[str] = []

        def agree(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.accept()

        page.once("dialog", agree)
        drawer.get_by_role("button", name="Forget key").click()
        expect(page.locator(".answer")).to_have_count(0)
        assert len(asked) == 1
        assert page.evaluate("sessionStorage.getItem('winterbourne.key')") == ""
        page.get_by_role("button", name="Conversations").click()
        expect(drawer).to_contain_text("Nothing yet.")


def test_an_answer_goes_on_while_another_conversation_is_begun(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    expect(ask(page, "Count to 300")).to_contain_text("1 2 3")
    url = page.url
    page.get_by_role("button", name="New conversation").click()
    has_ended(ask(page, "Count to 3"))
    page.goto(url)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(has_ended(page.locator(".answer"))).to_contain_text("299 300")
    expect(page.locator(".question")).to_have_text("Count to 300")
    page.reload()
    expect(has_ended(page.locator(".answer"))).to_contain_text("299 300")


def test_what_had_come_before_a_reload_is_there_and_the_rest_can_be_asked_for(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    expect(ask(page, "Count to 300")).to_contain_text("200")
    page.route("**/stream*", lambda route: route.fulfill(status=204))  # another process does not know it
    page.reload()
    answer = has_ended(page.locator(".answer"), "stopped")
    expect(answer).to_contain_text(" 50 ")
    expect(answer).to_contain_text("This answer was not finished.")
    answer.get_by_role("button", name="Try again").click()
    expect(has_ended(page.locator(".answer"))).to_contain_text("299 300")
    expect(page.locator(".question")).to_have_count(1)


def test_a_second_tab_sees_what_the_first_receives_and_cannot_ask_meanwhile(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    has_ended(ask(page, "Count to 3"))
    other = open_twin(page, page.url)
    expect(other.locator(".answer")).to_contain_text("1 2 3")
    expect(ask(page, "Count to 400")).to_contain_text("1 2 3")
    expect(other.locator(".answer").last).to_contain_text(" 50 ")
    ask(other, "Count to 5")
    expect(other.locator(".composer").get_by_role("alert")).to_contain_text("Another question is being answered")
    expect(other.get_by_role("textbox", name="Your question")).to_have_value("Count to 5")
    has_ended(page.locator(".answer").last)
    expect(has_ended(other.locator(".answer").last)).to_contain_text("399 400")
    other.keyboard.press("Enter")
    expect(has_ended(other.locator(".answer").last)).to_have_text(re.compile(FIVE_WORDS))
    expect(page.locator(".question")).to_have_text(["Count to 3", "Count to 400", "Count to 5"])


def test_a_question_to_what_another_tab_has_changed_comes_back_with_that_reason(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    has_ended(ask(page, "Count to 3"))
    page.evaluate("""() => new Promise((resolve) => {
      indexedDB.open("winterbourne /").onsuccess = ({ target: { result } }) => {
        const transaction = result.transaction("summaries", "readwrite"), store = transaction.objectStore("summaries");
        store.get(location.hash.slice(1)).onsuccess = ({ target }) => (
          store.put({ ...target.result, updated_at: Date.now() + 1000 })
        );
        transaction.oncomplete = resolve;
      };
    })""")
    ask(page, "Count to 4")
    expect(page.get_by_role("alert")).to_contain_text("This conversation has gone on in another tab.")
    expect(page.get_by_role("textbox", name="Your question")).to_have_value("Count to 4")


def test_what_was_said_long_ago_makes_no_question_fail(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    for _ in range(3):
        has_ended(ask(page, "Say " + "b" * 14_000))
    with page.expect_request("**/chat") as sent:
        expect(has_ended(ask(page, "Count to 5"))).to_contain_text(FIVE_WORDS)
    messages = sent_body(sent.value)["messages"]
    assert messages[-1]["content"] == [{"type": "text", "text": "Count to 5"}]
    assert 3 <= len(messages) < 7
    page.reload()
    expect(page.locator(".question")).to_have_count(4)


def test_an_edited_question_replaces_what_followed_it(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    for number in (3, 4):
        has_ended(ask(page, f"Count to {number}"))
    page.locator(".question").first.hover()
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_role("textbox", name="Your question").fill("Count to 5")
    with page.expect_request("**/chat") as sent:
        page.keyboard.press("Enter")
    assert [message["role"] for message in sent_body(sent.value)["messages"]] == ["user"]
    expect(has_ended(page.locator(".answer"))).to_contain_text(FIVE_WORDS)
    page.reload()
    expect(page.locator(".question")).to_have_text(["Count to 5"])


def test_a_refused_question_is_not_kept(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    ask(page, "b" * 50_000)
    expect(page.locator(".composer").get_by_role("alert")).to_contain_text("Shorten it")
    expect(has_ended(ask(page, "Count to 5"))).to_contain_text(FIVE_WORDS)
    page.reload()
    expect(page.locator(".question")).to_have_text("Count to 5")


def test_a_browser_that_keeps_nothing_says_so_and_the_chat_goes_on(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    page.add_init_script("IDBFactory.prototype.open = () => { throw new Error('not here'); };")
    page.reload()
    expect(has_ended(ask(page, "Count to 5"))).to_contain_text(FIVE_WORDS)
    expect(page.locator(".composer").get_by_role("alert")).to_contain_text("This browser cannot keep conversations now")


def test_the_conversation_is_saved_as_markdown(visits: Visits, forgetful: str) -> None:
    page = visits.open(forgetful)
    expect(page.get_by_role("button", name="Save as Markdown")).to_be_hidden()
    has_ended(ask(page, "Count to 5"))
    has_ended(ask(page, "Compare AAPL and MSFT"))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as Markdown").click()
    assert saved.value.suggested_filename == "Count to 5.md"
    text = saved.value.path().read_text()
    assert text.startswith(
        "# Count to 5\n\n## Question\n\nCount to 5\n\n## Answer\n\n1 2 3 4 5\n\n## Question\n\nCompare"
    )
    assert text.count("## Answer") == 2


def test_a_decision_is_asked_for_also_after_a_reload_and_brings_the_conversation_along(
    visits: Visits, tmp_path: Path
) -> None:
    with asking_chat(tmp_path, "STORE=memory") as asking:
        page = visits.open(asking.url)
        has_ended(ask(page, "please pay 5"))
        page.reload()
        page.get_by_role("button", name="Approve").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("done pay 5")
        assert asking.runs == ["pay 5"]
        page.reload()
        expect(has_ended(page.locator(".answer"))).to_contain_text("done pay 5")
        has_ended(ask(page, "Count to 5"))
        assert asking.runs == []
