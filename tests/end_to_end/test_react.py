"""The app of docs/how-to/react.md, as it stands there, with each version of the AI SDK in a real Chromium.

The connections of its page go through a proxy that breaks them. What the page shows in the end has to be what it shows
when nothing is broken. A reload and the list run with `ai` 7 in every run of the tests; the
rest, and versions 6 and 5, with the other clients.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests import npm
from tests.browser_page import FIVE, Visits
from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.doc_pages import blocks
from tests.local_server import local_server

pytestmark = [pytest.mark.slow, pytest.mark.clients]

APP, WITH_AI_5 = (block.text for block in blocks("docs/how-to/react.md") if block.language == "jsx")
COUNT: Final = "count to 150"
LONG_COUNT: Final = "count to 250"


def app_for(version: str) -> str:
    """The app as the page has it; for version 5 with the lines that are shown for that."""
    if version != "ai5":
        return APP
    changed, lines = re.subn(r"^  const .* = useChat\(.*\n", WITH_AI_5, APP, flags=re.MULTILINE)
    assert lines == 1
    return changed


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chat that is slow enough to be interrupted; no result is cached, so that its tools are slow every time."""
    flags = ("--concurrency", "6", "--env", "SCRIPTED_WORDS_PER_SECOND=60", "--env", "TOOL_CACHE_BYTES=1")
    with local_server(tmp_path_factory.mktemp("react"), *flags) as server:
        yield server.url


@pytest.fixture(scope="module", params=["ai", "ai6", "ai5"])
def version(request: pytest.FixtureRequest) -> str:
    """The package whose `useChat` it is: 7 with every run of the tests, 6 and 5 with the other clients."""
    return str(request.param)


@pytest.fixture(scope="module")
def site(chat: str, version: str) -> Iterator[CuttingProxy]:
    """The page and its chat, behind the proxy."""
    with cutting_proxy(chat) as proxy:
        proxy.serve_page(npm.run("bundle.mjs", version, given=app_for(version).replace("https://YOUR-URL", proxy.url)))
        yield proxy


@pytest.fixture
def page(visits: Visits, site: CuttingProxy) -> Page:
    """The page, once it knows that there is nothing to resume: asked sooner, it may follow its own answer as well."""
    page = visits.open(site.url)
    page.wait_for_function("performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/stream'))")
    return page


def ask(page: Page, question: str) -> None:
    page.get_by_role("textbox").fill(question)
    page.keyboard.press("Enter")


def counted(number: int) -> str:
    return " ".join(map(str, range(1, number + 1)))


def answer(page: Page) -> Locator:
    return page.get_by_role("article").last


def until(page: Page, text: str) -> None:
    """Returns as soon as the answer has this text: within a frame, where an assertion looks after up to a second."""
    script = "text => [...document.querySelectorAll('article')].at(-1)?.innerText.includes(text)"
    page.wait_for_function(script, arg=text)


def told(page: Page, ending: str = "") -> list[str]:
    """The text of each message, once an answer has come that ends so."""
    expect(answer(page)).to_contain_text(re.compile(re.escape(ending) + "$"))
    expect(page.get_by_role("button", name="Again")).to_be_visible()
    return page.get_by_role("article").all_inner_texts()


def expect_told(page: Page, messages: list[str]) -> None:
    """In the end the page shows these messages and no others, and is ready for the next question."""
    for _ in range(2):
        expect(page.get_by_role("article")).to_have_text(messages, use_inner_text=True)
        expect(page.get_by_role("button", name="Again")).to_be_visible()


@pytest.fixture(scope="module")
def undisturbed(browser: Browser, site: CuttingProxy) -> list[str]:
    """What the page shows in the end of a question with five tools, if nothing is broken."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.url)
        ask(page, FIVE)
        shown = told(page, "made up on this machine.")
    assert shown[0] == FIVE
    assert shown[1].count(": output-available") == 5
    return shown


def cut(page: Page, site: CuttingProxy, text: str) -> None:
    """Break the connection by which an answer comes, once it has this text."""
    until(page, text)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()  # what was loaded may have the text already
    assert site.cut() == 1


def come_back(page: Page, version: str) -> None:
    """What makes a page connect again: that somebody looks at it; with version 5, a click."""
    button = page.get_by_role("button", name="Reconnect")
    expect(button).to_be_visible()
    if version == "ai5":
        button.click()
    else:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


class TestALostConnection:
    def test_is_made_good_when_somebody_looks(
        self, page: Page, site: CuttingProxy, version: str, undisturbed: list[str]
    ) -> None:
        ask(page, FIVE)
        cut(page, site, "get_weather: ")
        come_back(page, version)
        expect_told(page, undisturbed)

    def test_is_made_good_when_the_network_is_back(self, page: Page, site: CuttingProxy, version: str) -> None:
        ask(page, COUNT)
        until(page, "20 21")
        page.context.set_offline(True)
        cut(page, site, "20 21")
        expect(page.get_by_role("button", name="Reconnect")).to_be_visible()
        page.context.set_offline(False)
        if version == "ai5":
            come_back(page, version)
        expect_told(page, [COUNT, counted(150)])

    def test_may_be_lost_again(self, page: Page, site: CuttingProxy, version: str) -> None:
        ask(page, LONG_COUNT)
        for number in ("20 21", "80 81", "140 141"):
            cut(page, site, number)
            come_back(page, version)
        expect_told(page, [LONG_COUNT, counted(250)])


class TestAReloadInMidAnswer:
    def test_loses_nothing(self, page: Page, undisturbed: list[str]) -> None:
        ask(page, FIVE)
        until(page, "Here is what I found")
        page.reload()
        expect_told(page, undisturbed)

    def test_shows_the_rest_while_it_is_written(self, page: Page) -> None:
        ask(page, LONG_COUNT)
        until(page, "20 21")
        page.reload()
        until(page, "60 61")
        assert "250" not in answer(page).inner_text()
        expect_told(page, [LONG_COUNT, counted(250)])

    def test_is_as_good_in_a_second_tab(self, page: Page) -> None:
        ask(page, COUNT)
        until(page, "20 21")
        second = page.context.new_page()
        second.goto(page.url)
        expect_told(second, [COUNT, counted(150)])
        expect_told(page, [COUNT, counted(150)])


def test_a_stopped_answer_is_not_resumed(page: Page, site: CuttingProxy) -> None:
    ask(page, COUNT)
    until(page, "20 21")
    page.get_by_role("button", name="Stop").click()
    stopped = told(page)
    assert stopped[0] == COUNT
    assert counted(150).startswith(stopped[1])
    with page.expect_response("**/stream") as response:
        page.reload()
    assert response.value.status == 204
    expect_told(page, stopped)


def test_a_stopped_answer_can_be_asked_for_again(page: Page) -> None:
    ask(page, COUNT)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Again").click()
    until(page, "149 150")
    expect_told(page, [COUNT, counted(150)])
    page.reload()
    expect_told(page, [COUNT, counted(150)])


def test_each_conversation_has_a_title_and_a_url(page: Page, site: CuttingProxy) -> None:
    ask(page, "12 * 7")
    first, url = told(page, "**84**."), page.url
    page.get_by_role("link", name="New").click()
    expect(page.get_by_role("article")).to_have_count(0)
    assert page.url != url
    ask(page, "15 % of 80")
    second = told(page, "**12.0**.")
    link = page.locator(f"a[href='#{urlsplit(url).fragment}']")
    expect(link).not_to_be_empty()
    link.click()
    expect_told(page, first)
    assert page.url == url
    page.go_back()
    expect_told(page, second)
    ask(page, "And 20 % of 80?")
    assert told(page, "**16.0**.")[:-1] == [*second, "And 20 % of 80?"]
    page.reload()
    title = httpx.get(f"{site.url}/api/chat/{urlsplit(url).fragment}", timeout=30).json()["title"]
    expect(link).to_have_text(title)
