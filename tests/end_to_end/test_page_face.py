"""The page of a chat of one's own, in a real Chromium: what its `Chat` says is what its users see."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser_page import Visits, ask, has_ended, keep_picture, sent_body, wear
from tests.local_server import local_server
from winterbourne.chat.http.endpoints.page_options import PageOptions

pytestmark = pytest.mark.slow

APP = """
from pathlib import Path
from winterbourne.chat import Chat

chat = Chat(
    title="Harbour <desk> & more",
    greeting="Ahoy, sailor!\\n\\nTides, berths and fees.",
    suggestions=("When is high water in <b>Whitby</b> & around?", "Count to 3"),
    accent="#b3261e",
    footer="For crews alone: [house rules](https://example.com/rules?a=1&b=2).",
    styles={"--serif": "Courier New, monospace", "--paper": "light-dark(#ffffff, #101010)"},
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


@pytest.mark.parametrize(
    ("scheme", "accent", "paper"),
    [("light", "rgb(179, 38, 30)", "rgb(255, 255, 255)"), ("dark", "rgb(236, 94, 79)", "rgb(16, 16, 16)")],
)
def test_accent_and_styles_are_its_colours_and_fonts(
    visits: Visits, harbour: str, scheme: str, accent: str, paper: str
) -> None:
    page = visits.open(harbour, color_scheme=scheme)
    expect(page.get_by_role("button", name="Send")).to_have_css("background-color", accent)
    expect(page.locator("html")).to_have_css("background-color", paper)
    expect(page.get_by_role("heading", level=1)).to_have_css("font-family", '"Courier New", monospace')


def test_the_footer_is_at_the_end_with_its_link(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour, viewport={"width": 390, "height": 664})
    footer = page.get_by_role("contentinfo")
    expect(footer).to_have_text("For crews alone: house rules.")
    expect(footer).to_be_in_viewport()
    link = footer.get_by_role("link", name="house rules")
    expect(link).to_have_attribute("href", "https://example.com/rules?a=1&b=2")
    has_ended(ask(page, "Count to 300"))
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    composer, end = (each.bounding_box() for each in (page.get_by_role("form", name="Ask"), footer))
    assert composer
    assert end
    assert composer["y"] + composer["height"] <= end["y"] + 1
    keep_picture(page, "footer")


@pytest.mark.clients
def test_a_suggestion_of_a_tool_is_put_where_the_question_is_completed(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour)
    wear(page, PageOptions(suggestions=("Get the weather of a city",), are_filled=True))
    box = page.get_by_role("textbox", name="Your question")
    box.fill("A draft")
    page.get_by_role("button", name="Get the weather of a city").click()
    expect(box).to_be_focused()
    expect(box).to_have_value("Get the weather of a city: ")
    keep_picture(page, "suggestion-of-a-tool")
    page.keyboard.press("Control+Z")
    expect(box).to_have_value("A draft")
    page.get_by_role("button", name="Get the weather of a city").click()
    page.keyboard.type("Paris")
    page.keyboard.press("Enter")
    expect(page.locator(".question")).to_have_text("Get the weather of a city: Paris")


SIDES = """(node) => {
  const { paddingLeft, paddingRight, borderLeftWidth, borderRightWidth } = getComputedStyle(node);
  return { paddingLeft, paddingRight, borderLeftWidth, borderRightWidth };
}"""


@pytest.mark.clients
def test_the_page_is_laid_out_as_its_language_is_written(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour, modules=True, locale="en-GB")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.evaluate("import('/modules/strings.js').then(({ locale }) => locale)") == "en-GB"
    answer = has_ended(ask(page, "Count to 3"))
    page.evaluate("document.documentElement.dir = 'rtl'")
    stream, drawer = answer.evaluate(SIDES), page.locator("#conversations").evaluate(SIDES)
    assert (stream["paddingLeft"], drawer["borderRightWidth"]) == ("0px", "0px")
    assert "0px" not in {stream["paddingRight"], drawer["borderLeftWidth"]}


@pytest.mark.clients
def test_the_page_comes_compressed_and_is_not_sent_twice(visits: Visits, harbour: str) -> None:
    page = visits.open(harbour)
    with page.expect_response(f"{harbour}/") as found:
        page.reload()
    assert found.value.status in {200, 304}
    first = httpx.get(harbour, timeout=30, headers={"accept-encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    assert first.text.startswith("<!doctype html>")
    again = httpx.get(harbour, timeout=30, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
