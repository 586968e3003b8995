"""Accessibility and layout of the page: keyboard, screen reader, contrast, light and dark, phones, motion.

Also with a chat's own title, texts, accent colour and logo.
"""

from typing import Any

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect

from tests import npm
from tests.browser_page import DESK, FIVE, KEY, Visits, ask, has_ended, keep_picture, open_tools, wear
from tests.fed_page import DONE, FedPage, content
from tests.provider import Provider
from winterbourne.chat.http.endpoints.page_options import PageOptions

pytestmark = [pytest.mark.slow, pytest.mark.clients]

PHONE = {"width": 360, "height": 740}
GROUNDS = ("--paper", "--raised", "--wash")
WIDE = """| a | table | with | more | columns | than | fit |
|---|---|---|---|---|---|---|
| 1000000 | 2000000 | 3000000 | 4000000 | 5000000 | 6000000 | 7000000 |

```
one line of code that is far wider than any phone, so that it has to scroll inside its own box and nowhere else
```
"""

LONG_TITLE = "The harbour master's desk of Whitby, Staithes and Runswick B"
FOOTER = "For crews alone. What it says may be wrong: [house rules](https://example.com/rules)."
ARABIC_TITLE = "\N{ARABIC LETTER MEEM}\N{ARABIC LETTER KAF}\N{ARABIC LETTER TEH}\N{ARABIC LETTER BEH}"  # "desk"


class TestKeyboardAndScreenReader:
    def test_enter_sends_and_shift_enter_starts_a_new_line(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        box = page.get_by_role("textbox", name="Your question")
        expect(box).to_be_focused()
        page.keyboard.type("Count")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("to 3")
        expect(box).to_have_value("Count\nto 3")
        page.keyboard.press("Enter")
        expect(page.locator(".question")).to_have_text("Count\nto 3")
        expect(box).to_have_value("")
        expect(box).to_be_focused()

    def test_enter_that_ends_ime_composition_sends_nothing(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.get_by_role("textbox", name="Your question").fill("Nihongo")
        page.evaluate("""document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true })
        )""")
        expect(page.locator(".answer")).to_have_count(0)

    def test_nothing_is_sent_without_text_or_while_an_answer_runs(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        ask(page, "   ")
        expect(page.locator(".answer")).to_have_count(0)
        ask(page, "Count to 100")
        ask(page, "Wait for it")
        expect(page.locator(".answer")).to_have_count(1)
        expect(page.get_by_role("textbox", name="Your question")).to_have_value("Wait for it")

    def test_everything_can_be_reached_with_the_tab_key(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        open_tools(has_ended(ask(page, "What is the weather in Paris?")))
        page.locator("body").click(position={"x": 2, "y": 200})
        reached = []
        for _ in range(14):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText"))
        assert {"Conversations", "New conversation", "Result", "Copy answer", "Send"} <= set(reached)

    def test_the_conversation_is_a_log_that_is_busy_while_text_arrives(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        log = page.get_by_role("log", name="Conversation")
        answer = ask(page, "Count to 100")
        expect(page.get_by_role("status")).to_have_text("Answering")
        busy = log.get_by_role("article", name="Answer")
        expect(busy).to_have_attribute("aria-busy", "true")
        has_ended(answer)
        expect(busy).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("status")).to_have_text("Answer complete")


AXE = """
async () => {
  const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  // A link to a conversation that is out of view is taken for one that skips to a part of this page.
  const { violations } = await axe.run(document, { runOnly, rules: { "skip-link": { enabled: false } } });
  return violations.map(({ id, help, nodes }) => [id, help, ...nodes.map(({ html }) => html)]);
}
"""


@pytest.fixture(scope="module")
def axe() -> str:
    return (npm.clients() / "node_modules" / "axe-core" / "axe.min.js").read_text()


class TestAxe:
    """The rules that axe-core checks: WCAG 2.2 A and AA, and good practice beside them."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_finds_nothing_at_any_stage(
        self, visits: Visits, guarded: str, model_provider: Provider, axe: str, scheme: str
    ) -> None:
        model_provider.responds_with(WIDE)
        page = visits.open(guarded, color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(axe)
        assert page.evaluate(AXE) == []
        ask(page, "Hello")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate(AXE) == []
        page.get_by_role("textbox", name="Key").fill(KEY)
        page.keyboard.press("Enter")
        has_ended(page.locator(".answer"))
        assert page.evaluate(AXE) == []
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="Rename or delete").first.click()
        page.get_by_role("button", name="Delete", exact=True).click()
        assert page.evaluate(AXE) == []
        keep_picture(page, f"list-{scheme}")
        page.get_by_role("button", name="Close").click()
        model_provider.rejects_with(503)
        has_ended(ask(page, "Hello again"), "failed")
        assert page.evaluate(AXE) == []

    def test_it_finds_nothing_about_tools(self, visits: Visits, chat: str, axe: str) -> None:
        # axe reads the colours of that moment, and a card that is still fading in does not have its final ones.
        page = visits.open(chat, reduced_motion="reduce")
        page.evaluate(axe)
        answer = ask(page, FIVE)
        expect(answer.locator(".chip[data-status=started]").nth(1)).to_be_visible()
        assert page.evaluate(AXE) == []
        open_tools(has_ended(answer))
        assert page.evaluate(AXE) == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_finds_nothing_about_the_face_of_a_chat(
        self, visits: Visits, chat: str, axe: str, wide_logo: str, scheme: str
    ) -> None:
        page = visits.open(chat, color_scheme=scheme, reduced_motion="reduce")
        face = PageOptions(title=LONG_TITLE, greeting="Ahoy!\n\nTides and berths.", accent="#ff0", logo=wide_logo)
        wear(page, msgspec.structs.replace(face, suggestions=("What is the weather in Paris?",), footer=FOOTER))
        page.evaluate(axe)
        assert page.evaluate(AXE) == []
        page.get_by_role("button", name="Paris").click()
        has_ended(page.locator(".answer"))
        assert page.evaluate(AXE) == []


@pytest.fixture(scope="module")
def wide_logo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("logo") / "wide.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 40"><rect width="400" height="40"/></svg>'
    )
    return str(path)


class TestFirstPaint:
    def test_it_takes_nothing_but_the_page_itself(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/*", lambda route: route.fallback() if route.request.is_navigation_request() else route.abort())
        page.reload()
        expect(page.get_by_role("heading", name="Ask, and it runs.")).to_be_visible()
        page.wait_for_load_state("networkidle")
        painted = "performance.getEntriesByName('first-contentful-paint').length"
        assert page.evaluate(painted) == 1
        assert page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)") == []
        assert page.evaluate("document.fonts.size") == 0
        assert visits.requested_urls == [f"{chat}/"] * 2


class TestHead:
    @pytest.mark.parametrize("viewport", [DESK, PHONE])
    def test_it_is_56_pixels_high(self, visits: Visits, chat: str, viewport: Any) -> None:
        page = visits.open(chat, viewport=viewport)
        assert height(page.locator("header")) == 56
        wear(page, PageOptions(title=LONG_TITLE))
        assert height(page.locator("header")) == 56

    def test_on_a_phone_it_hides_while_the_reader_reads_on(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE)
        read_long_answer(page)
        page.evaluate("scrollTo(0, 0)")
        head = page.get_by_role("heading", level=1)
        expect(head).to_be_in_viewport()
        page.mouse.wheel(0, 300)
        expect(head).not_to_be_in_viewport()
        expect(page.locator(".river")).to_be_in_viewport(ratio=0.01)
        page.mouse.wheel(0, -60)
        expect(head).to_be_in_viewport()
        page.mouse.wheel(0, 300)
        expect(head).not_to_be_in_viewport()
        page.get_by_role("button", name="Conversations").focus()
        expect(head).to_be_in_viewport()

    def test_elsewhere_it_stays(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        read_long_answer(page)
        page.evaluate("scrollTo(0, 0)")
        page.mouse.wheel(0, 300)
        expect(page.locator("html")).to_have_attribute("data-reading", "true")
        expect(page.get_by_role("heading", level=1)).to_be_in_viewport()

    def test_an_answer_that_moves_the_page_does_not_hide_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE)
        read_long_answer(page)
        assert page.evaluate("scrollY") > 1000
        expect(page.get_by_role("heading", level=1)).to_be_in_viewport()

    def test_at_400_percent_it_and_the_composer_leave_room_to_read(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport={"width": 320, "height": 256})
        has_ended(ask(page, FIVE))
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        page.evaluate("scrollTo(0, 0)")
        page.mouse.wheel(0, 100)
        expect(page.get_by_role("heading", level=1)).not_to_be_in_viewport()
        room = page.locator(".composer-box").bounding_box()
        assert room
        assert room["y"] - 16 > 256 / 2


def read_long_answer(page: Page) -> None:
    """Show an answer of several screens; its end is in view."""
    FedPage(page).ask("Hello", content("Many words. " * 600), DONE)
    shows_end(has_ended(page.locator(".answer")).page)


def height(part: Locator) -> float:
    box = part.bounding_box()
    assert box
    return box["height"]


class TestScrolling:
    def test_the_newest_text_stays_in_view_unless_the_reader_scrolls_up(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport={"width": 500, "height": 400})
        answer = ask(page, "Count to 600")
        while page.evaluate("scrollY") < 100:
            page.wait_for_timeout(20)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(100)
        assert page.evaluate("scrollY") == 0
        has_ended(answer)
        assert page.evaluate("scrollY") == 0

    def test_it_stays_when_much_comes_at_once_and_when_a_phone_is_turned(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE)
        read_long_answer(page)
        # The event of the page's own scrolling comes when more has already been added.
        page.evaluate("""() => {
          document.getElementById("log").append("Much more. ".repeat(500));
          dispatchEvent(new Event("scroll"));
        }""")
        shows_end(page)
        page.set_viewport_size({"width": PHONE["height"], "height": PHONE["width"]})
        shows_end(page)

    @pytest.mark.parametrize(("width", "height"), [(320, 568), (320, 256), (640, 320)])
    def test_before_the_first_question_it_begins_at_its_top_and_stays_there(
        self, visits: Visits, chat: str, width: int, height: int
    ) -> None:
        page = visits.open(chat, viewport={"width": width, "height": height})
        expect(page.get_by_role("textbox", name="Your question")).to_be_focused()
        page.keyboard.type("Count to 3")
        page.set_viewport_size({"width": height, "height": width})
        page.keyboard.type("00")
        assert page.evaluate("scrollY") == 0

    def test_what_is_written_does_not_move_what_is_read(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE)
        read_long_answer(page)
        page.evaluate("scrollTo(0, 40)")
        page.keyboard.type("A long question, on several lines. " * 4)
        assert page.evaluate("scrollY") == 40

    def test_a_reader_who_has_scrolled_up_gets_back_to_the_newest_with_one_press(
        self, visits: Visits, chat: str
    ) -> None:
        page = visits.open(chat, viewport=PHONE)
        to_end = page.get_by_role("button", name="To the newest")
        read_long_answer(page)
        expect(to_end).to_be_hidden()
        page.mouse.move(100, 300)
        page.mouse.wheel(0, -900)
        expect(to_end).to_be_visible()
        to_end.press("Enter")
        shows_end(page)
        expect(to_end).to_be_hidden()
        expect(page.get_by_role("textbox", name="Your question")).to_be_focused()


def shows_end(page: Page) -> None:
    """Wait until the end is in view, for 5 s at most."""
    for _ in range(100):
        if page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2"):
            return
        page.wait_for_timeout(50)
    pytest.fail("the end is not in view")


class TestFocus:
    def test_it_is_not_lost_when_what_was_pressed_is_gone(
        self, visits: Visits, chat: str, guarded: str, model_provider: Provider
    ) -> None:
        page = visits.open(chat)
        box = page.get_by_role("textbox", name="Your question")
        page.get_by_role("button", name="What is 17.5 %").press("Enter")
        expect(box).to_be_focused()
        has_ended(page.locator(".answer"))
        page.get_by_role("button", name="New conversation").press("Enter")
        expect(box).to_be_focused()
        page.keyboard.type("Count to 300")
        page.get_by_role("button", name="Send").click()
        expect(box).to_be_focused()
        page.get_by_role("button", name="Stop").press("Enter")
        has_ended(page.locator(".answer").last, "stopped")
        expect(box).to_be_focused()
        page = visits.open(guarded, key=KEY)
        model_provider.rejects_with(503)
        has_ended(ask(page, "Hello"), "failed")
        model_provider.responds_with("Now it runs.")
        page.get_by_role("button", name="Try again").press("Enter")
        expect(page.get_by_role("textbox", name="Your question")).to_be_focused()

    def test_it_is_never_on_what_the_head_or_the_composer_covers(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE)
        has_ended(ask(page, FIVE))
        box = page.get_by_role("textbox", name="Your question")
        for key, steps in (("Shift+Tab", 12), ("Tab", 10)):
            for _ in range(steps):
                page.keyboard.press(key)
                assert page.evaluate(IS_SEEN), page.evaluate("document.activeElement.outerHTML")
        expect(box).not_to_be_focused()


# The middle of the focused element is what lies there. Beyond the last one, the browser itself has the focus.
IS_SEEN = """() => {
  if (document.activeElement === document.body) return true;
  const { left, right, top, bottom } = document.activeElement.getBoundingClientRect();
  const found = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  return document.activeElement.contains(found);
}"""


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_has_enough_contrast_in_light_and_dark(self, visits: Visits, chat: str, scheme: str) -> None:
        page = visits.open(chat, color_scheme=scheme)
        has_ended(ask(page, FIVE))
        keep_picture(page, scheme)
        assert (_luminance(_colour(page, "--paper")) < 0.1) == (scheme == "dark")
        assert _poor_contrasts(page) == {}

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize(
        "accent", ["#ff0", "#000", "#fff", "#000080", "#f00", "#0f0", "#00f", "#808080", "#7c1d6b"]
    )
    def test_any_accent_colour_has_enough_contrast_in_light_and_dark(
        self, visits: Visits, chat: str, accent: str, scheme: str
    ) -> None:
        page = visits.open(chat, color_scheme=scheme)
        before = [_colour(page, name) for name in ("--water", "--bright", "--wash")]
        wear(page, PageOptions(accent=accent))
        after = [_colour(page, name) for name in ("--water", "--bright", "--wash")]
        assert all(one != other for one, other in zip(before, after, strict=True))
        assert _poor_contrasts(page) == {}

    def test_an_accent_colour_that_can_be_read_stays_as_it_is(self, visits: Visits, chat: str) -> None:
        for scheme, accent, colour in (("light", "#a0281e", (160, 40, 30)), ("dark", "#ffb3a8", (255, 179, 168))):
            page = visits.open(chat, color_scheme=scheme)
            wear(page, PageOptions(accent=accent))
            assert _colour(page, "--water") == colour

    def test_a_long_title_beside_a_wide_logo_fits_a_phone(self, visits: Visits, chat: str, wide_logo: str) -> None:
        page = visits.open(chat, viewport=PHONE, has_touch=True)
        wear(page, PageOptions(title=LONG_TITLE, logo=wide_logo, suggestions=(LONG_TITLE * 3,)))
        page.evaluate("for (const button of document.querySelectorAll('.head button')) button.hidden = false")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        boxes = [page.locator(name).bounding_box() for name in (".logo", "h1", "#new", ".river")]
        logo, title, button, river = (box for box in boxes if box)
        assert 0 < logo["x"] < logo["x"] + logo["width"] < title["x"]
        assert title["x"] + title["width"] < button["x"]
        assert title["height"] <= 60, "two lines"
        assert button["height"] < 40, "one line"
        assert max(box["y"] + box["height"] for box in (logo, title, button)) <= river["y"] + 5, "its bed is lower"
        keep_picture(page, "phone-long-title")

    def test_a_right_to_left_title_has_its_logo_to_the_right(self, visits: Visits, chat: str, wide_logo: str) -> None:
        page = visits.open(chat)
        wear(page, PageOptions(title=ARABIC_TITLE, greeting=f"{ARABIC_TITLE}?", logo=wide_logo, suggestions=("Hello",)))
        logo, title = (page.locator(name).bounding_box() for name in (".logo", "h1"))
        assert logo
        assert title
        assert logo["x"] > title["x"] > DESK["width"] / 2
        directions = "(names) => names.map((name) => getComputedStyle(document.querySelector(name)).direction)"
        assert page.evaluate(directions, ["h1", "#hero-title", ".suggestion", "main"]) == ["rtl", "rtl", "ltr", "ltr"]

    def test_right_to_left_words_begin_at_the_right_beside_others_that_do_not(
        self, visits: Visits, guarded: str, model_provider: Provider
    ) -> None:
        starts_right = """(node) => {
          const [words, box] = [document.createRange(), node.getBoundingClientRect()];
          words.selectNodeContents(node);
          const { left, right } = words.getBoundingClientRect();
          return box.right - right < left - box.left;
        }"""
        model_provider.responds_with("שלום!\n\nHello.\n\n- שלום!")
        page = visits.open(guarded, key=KEY)
        answer = has_ended(ask(page, "שלום!"))
        assert page.locator(".question").evaluate(starts_right)
        blocks = answer.locator(".prose p").all()
        assert [block.evaluate(starts_right) for block in blocks] == [True, False, True]
        page.get_by_role("button", name="Conversations").click()
        title = page.get_by_role("dialog").get_by_role("link").locator("b").first
        expect(title).to_have_text("שלום!")
        assert title.evaluate(starts_right)

    def test_it_fits_a_phone(self, visits: Visits, guarded: str, chat: str, model_provider: Provider) -> None:
        model_provider.responds_with(WIDE)
        page = visits.open(guarded, key=KEY, viewport=PHONE, has_touch=True)
        has_ended(ask(page, "a_question_of_one_word_that_is_wider_than_any_phone_could_ever_be_" * 2))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        page = visits.open(chat, viewport=PHONE, has_touch=True)
        keep_picture(page, "phone-empty")
        answer = has_ended(ask(page, FIVE))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        expect(answer.locator(".slowest .bar")).to_be_visible()
        keep_picture(page, "phone")
        page.get_by_role("button", name="Conversations").click()
        edit = page.get_by_role("button", name="Rename or delete: Compare AAPL").first
        expect(edit).to_be_visible()
        keep_picture(page, "phone-list")
        box, button = page.get_by_role("dialog").bounding_box(), edit.bounding_box()
        assert box
        assert button
        assert box["x"] == 0 < button["x"] + button["width"] <= box["width"] < PHONE["width"]
        assert min(button["width"], button["height"]) >= 24
        edit.click()
        keep_picture(page, "phone-list-edit")

    def test_reduced_motion_is_respected(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, reduced_motion="reduce")
        expect(ask(page, "Count to 100")).to_contain_text("1 2 3")
        assert page.evaluate("document.getAnimations().length") == 0

    def test_where_nothing_moves_the_river_says_that_an_answer_comes(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 200")
        status = page.get_by_role("status")
        assert height(status) == 1, "the river flows"
        page.emulate_media(reduced_motion="reduce")
        expect(status).to_have_text("Answering")
        assert height(status) == 16
        expect(page.locator(".river-water")).to_have_css("opacity", "1")
        keep_picture(page, "still")
        has_ended(answer)
        assert height(status) == 1

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_forced_colours_draw_all_that_is_not_text_too(self, visits: Visits, chat: str, scheme: str) -> None:
        page = visits.open(chat, forced_colors="active", color_scheme=scheme)
        has_ended(ask(page, FIVE))
        drawn = {".bar": "background-color", ".composer-box": "border-top-color", ".river-bed": "stroke"}
        for name, css in drawn.items():
            assert _contrast(_colour(page, style(page, name, css)), _colour(page, "Canvas")) > 3, name
        assert "gradient" in style(page, ".answer[data-state=done]", "background-image", "::before")
        page.get_by_role("button", name="Send").focus()
        assert (
            page.get_by_role("button", name="Send").evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
        )
        assert style(page, "#send", "background-color") != style(page, "#send", "color")
        keep_picture(page, f"forced-{scheme}")

    def test_what_is_pressed_is_24_pixels_wide_and_high(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport=PHONE, has_touch=True)
        assert page.evaluate(SMALL) == []
        has_ended(ask(page, FIVE))
        assert page.evaluate(SMALL) == []
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="Rename or delete").first.click()
        assert page.evaluate(SMALL) == []

    def test_water_runs_in_the_river_only_while_an_answer_does(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        river = page.locator("html")
        expect(river).to_have_attribute("data-running", "false")
        answer = ask(page, "Count to 50")
        expect(river).to_have_attribute("data-running", "true")
        has_ended(answer)
        expect(river).to_have_attribute("data-running", "false")


# Links within text are as high as it is.
SMALL = """() => [...document.querySelectorAll("button, summary, input, select, textarea, a:not(p a, li a)")]
  .filter((node) => node.checkVisibility())
  .map((node) => [(node.closest("label") ?? node).getBoundingClientRect(), node.outerHTML])
  .filter(([{ width, height }]) => Math.min(width, height) < 24)
  .map(([, html]) => html)"""


def style(page: Page, name: str, css: str, part: str = "") -> str:
    got = "([name, css, part]) => getComputedStyle(document.querySelector(name), part)[css]"
    return str(page.evaluate(got, [name, css, part or None]))


def _poor_contrasts(page: Page) -> dict[tuple[str, str], float]:
    """Pairs of a colour and its background that do not have the contrast they need."""
    needed = {(ink, ground): 4.5 for ink in ("--ink", "--soft", "--water", "--rust") for ground in GROUNDS}
    # Bars, focus rings and the borders of what is written into.
    needed |= {(line, ground): 3 for line in ("--bright", "--bed") for ground in ("--paper", "--raised")}
    found = {pair: _contrast(_colour(page, pair[0]), _colour(page, pair[1])) for pair in needed}
    return {pair: contrast for pair, contrast in found.items() if contrast < needed[pair]}


def _colour(page: Page, name: str) -> tuple[int, int, int]:
    red, green, blue, *_ = page.evaluate(
        """(name) => {
          const probe = document.body.appendChild(document.createElement("i"));
          probe.style.color = name.startsWith("--") ? `var(${name})` : name;
          const canvas = document.createElement("canvas").getContext("2d");
          canvas.fillStyle = getComputedStyle(probe).color;
          probe.remove();
          canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data];
        }""",
        name,
    )
    return red, green, blue


def _luminance(colour: tuple[int, int, int]) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)
