"""The page of a chat of one's own, in a real Chromium: what its `Chat` says is what its users see."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser_page import Visits, has_ended, keep_picture, sent_body
from tests.local_server import local_server

pytestmark = pytest.mark.slow

APP = """
from pathlib import Path
from winterbourne.chat import Chat

chat = Chat(
    title="Harbour <desk> & more",
    greeting="Ahoy, sailor!\\n\\nTides, berths and fees.",
    suggestions=("When is high water in <b>Whitby</b> & around?", "Count to 3"),
    accent="#b3261e",
    logo=Path(__file__).with_name("crest.svg"),
)
handler = chat.handler
"""
CREST = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><circle cx="20" cy="20" r="20"/></svg>"""


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a chat that has nothing of the demo's."""
    root = tmp_path_factory.mktemp("harbour")
    folder = root / "functions" / "chat"
    folder.mkdir(parents=True)
    for name, text in (("__init__.py", ""), ("app.py", APP), ("crest.svg", CREST)):
        (folder / name).write_text(text)
    with local_server(root, "--task-root", str(folder.parent), "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
        yield server.url


def test_title_greeting_and_logo_are_shown(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour)
    expect(page).to_have_title("Harbour <desk> & more")
    expect(page.get_by_role("heading", level=1)).to_have_text("Harbour <desk> & more")
    expect(page.get_by_role("heading", name="Ahoy, sailor!")).to_be_visible()
    expect(page.get_by_text("Tides, berths and fees.", exact=True)).to_be_visible()
    logo = page.locator("header img")
    expect(logo).to_be_visible()
    assert logo.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 40
    icon = page.locator("link[rel=icon]").evaluate("({ href }) => href")
    assert icon == logo.evaluate("({ src }) => src")
    assert httpx.get(icon, timeout=30).headers["content-type"] == "image/svg+xml"
    keep_picture(page, "face")


def test_a_suggestion_sends_its_text(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour)
    suggestions = page.get_by_role("list", name="Suggestions").get_by_role("button")
    expect(suggestions).to_have_text(["When is high water in <b>Whitby</b> & around?", "Count to 3"])
    with page.expect_request("**/chat") as sent:
        suggestions.first.click()
    [message] = sent_body(sent.value)["messages"]
    assert message["content"] == [{"type": "text", "text": "When is high water in <b>Whitby</b> & around?"}]
    has_ended(page.locator(".answer"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_accent_colour_is_that_of_the_send_button(visits: Visits, harbour: str, scheme: str) -> None:
    page = visits.open(harbour, color_scheme=scheme)
    hue = "(button) => getComputedStyle(button).backgroundColor.match(/^oklch[(]\\S+ \\S+ ([0-9.]+)[)]$/)[1]"
    assert 20 < float(page.get_by_role("button", name="Send").evaluate(hue)) < 35, "red"
