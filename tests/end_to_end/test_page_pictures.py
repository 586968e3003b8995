"""Every state of the page at every look: a picture of each in tests/artifacts, and what holds for all of them.

The page runs as it is, over the chat function; only its answers come from the test, frame by frame, so that a state
lasts as long as its pictures take.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests import npm
from tests.browser_page import DESK, FIVE, Visits, ask, has_ended, keep_picture
from tests.end_to_end.asking_chat import AskingChat
from tests.end_to_end.test_page_looks import AXE, SMALL
from tests.fed_page import DONE, FedPage, call, content

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.timeout(300)]

PHONE: Final[ViewportSize] = {"width": 360, "height": 740}
STILL: Final[dict[str, Any]] = {"reduced_motion": "reduce"}

# The size of the window and what its reader prefers. At 200 and 400 % a desktop's window has that much less room.
LOOKS: Final[dict[str, tuple[ViewportSize, dict[str, Any]]]] = {
    "light": (DESK, {}),
    "dark": (DESK, {"color_scheme": "dark"}),
    "phone": (PHONE, {}),
    "phone-dark": (PHONE, {"color_scheme": "dark"}),
    "landscape": ({"width": 740, "height": 360}, {}),
    "200": ({"width": 640, "height": 512}, {}),
    "400": ({"width": 320, "height": 256}, {}),
    "forced": (DESK, {"forced_colors": "active", "color_scheme": "dark"}),
    "still": (DESK, STILL),
}
PLAIN: Final[dict[str, Any]] = {"color_scheme": "light", "forced_colors": "none", "reduced_motion": "no-preference"}

MARKDOWN: Final = """# Tides at Whitby

High water is at **06:12**, and *low* water at ~~12:20~~ 12:26, as the [almanac](https://example.com) says.

| Day | High | Metres |
|:---|:---:|---:|
| Friday | 06:12 | 5.1 |
| Saturday | 06:58<br>19:20 | 5.34 |

- [x] Moor at the fish quay
- [ ] Ask for the key
  1. at the office
  2. or by radio

> The bar is not to be crossed at low water.

```python
def depth(hours: float) -> float:
    return 2.6 + 2.5 * math.cos(hours * math.tau / 12.4)  # a line that is wider than what there is room for
```

It costs $5 to $6, and the swell is \\\\( h = \\\\frac{a}{2} \\\\).

---

مرحبا بكم في الميناء.

満潮は六時十二分です。
"""


def empty(page: FedPage) -> None:
    expect(page.page.locator("#hero")).to_be_visible()


def waiting(page: FedPage) -> None:
    page.ask("When is high water?")
    expect(page.page.locator(".answer")).to_be_visible()


def writing(page: FedPage) -> None:
    page.ask("When is high water?", content(MARKDOWN[:400]))
    expect(page.page.locator(".prose table")).to_be_visible()


def markdown(page: FedPage) -> None:
    page.ask("When is high water?", content(f"#{MARKDOWN}\n\n#### Sources"), DONE)
    has_ended(page.page.locator(".answer"))


def tools(page: FedPage) -> None:
    dig = [call("dig", "started", {"metres": 3}), call("dig", "progress", data={"fraction": 0.4, "layer": "chalk"})]
    weather = {"temperature_c": 8.7, "conditions": "overcast", "wind_km_h": 22}
    page.ask(
        "Dig a well where it is dry",
        content("Let me look."),
        call("get_weather", "started", {"city": "Paris"}),
        call("get_weather", "completed", duration_ms=340, result=weather),
        *dig,
        call("survey", "queued", {"field": "north"}),
        call("ask_neighbour", "started"),
        call("ask_neighbour", "failed", duration_ms=1200, error="Nobody was at home."),
        call("read_map", "started", {"sheet": "OS 94"}),
        call("read_map", "timed_out", duration_ms=30000, error="It took longer than 30 s."),
    )
    expect(page.page.locator(".tool").last).to_be_attached()


def answered(page: FedPage) -> None:
    has_ended(ask(page.page, FIVE))


def stopped(page: FedPage) -> None:
    page.ask("When is high water?", content("High water is at"), {"type": "stopped", "reason": "user"})
    has_ended(page.page.locator(".answer"), "stopped")


def failed(page: FedPage) -> None:
    refused = {"type": "error", "code": "provider", "message": "No answer."}
    page.ask("When is high water?", content("High water"), refused)
    has_ended(page.page.locator(".answer"), "failed")


def listed(page: FedPage) -> None:
    has_ended(ask(page.page, "Count to 3"))
    page.page.get_by_role("button", name="Conversations").click()
    expect(page.page.get_by_role("dialog").get_by_role("link").first).to_be_visible()


def thought(page: FedPage) -> None:
    tides = {"type": "source", "id": "t", "title": "Tide tables", "url": "https://example.com/t", "cited_text": "06:12"}
    notes = {"type": "source", "id": "n", "title": "The harbour master's notes of the week before last, in full"}
    reasoning = {"type": "reasoning", "delta": "The question is about Whitby.\n\nSo the tables of the east coast."}
    page.ask(
        "When is high water?",
        reasoning,
        content("At **06:12**"),
        tides,
        content(", he says"),
        notes,
        content("."),
        DONE,
    )
    answer = has_ended(page.page.locator(".answer"))
    answer.get_by_text("Thought for").click()
    answer.get_by_role("button", name="Source 1").click()
    expect(answer.locator(":popover-open")).to_be_visible()


def opened(page: FedPage) -> None:
    answered(page)
    page.page.get_by_role("button", name="get_stock_quote").click()
    page.page.get_by_role("button", name="About this answer").click()
    expect(page.page.locator(":popover-open")).to_be_visible()


def attached(page: FedPage) -> None:
    picture = str(Path(__file__).parents[2] / "docs" / "page.png")
    box = page.page.get_by_role("textbox", name="Your question")
    page.page.locator("#files").set_input_files([picture, str(Path(__file__).parents[2] / "LICENSE")])
    box.fill("What do these have in common?")
    expect(page.page.get_by_role("list", name="Files").get_by_role("listitem").first).to_be_visible()


def edited(page: FedPage) -> None:
    page.ask("When is high water? " * 40, content("At 06:12."), DONE)
    has_ended(page.page.locator(".answer"))
    page.page.locator(".question").hover()
    page.page.get_by_role("button", name="Edit").first.click()
    expect(page.page.get_by_text("Editing an earlier question")).to_be_visible()


def refused(page: FedPage) -> None:
    has_ended(ask(page.page, "Count to 3"))
    error = json.dumps({"error": {"code": "message_too_long", "message": "too long"}})
    page.page.route("**/chat", lambda route: route.fulfill(status=413, body=error, content_type="application/json"))
    ask(page.page, "Count to 4, please")
    expect(page.page.locator("#notice")).not_to_be_empty()


def renamed(page: FedPage) -> None:
    listed(page)
    drawer = page.page.get_by_role("dialog")
    drawer.get_by_role("button", name="Rename or delete").first.click()
    expect(drawer.get_by_role("textbox", name="Title")).to_be_visible()


def deleted(page: FedPage) -> None:
    page.page.evaluate(UNDONE_FOR_EVER)
    renamed(page)
    page.page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.page.get_by_role("button", name="Undo")).to_be_visible()
    page.page.evaluate("window.setTimeout = later; null")


# The time to undo a deletion does not end while its pictures are taken.
UNDONE_FOR_EVER: Final = """
window.later = window.setTimeout;
window.setTimeout = (done, ms, ...more) => ms === 8000 ? 0 : later(done, ms, ...more);
null; // a function would be called
"""

STATES: Final = (
    *(empty, waiting, thought, writing, markdown, tools, answered, opened, stopped, failed),
    *(attached, edited, refused, listed, renamed, deleted),
)


@pytest.fixture(scope="module")
def axe() -> str:
    return (npm.clients() / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_each_state_at_each_look(visits: Visits, chat: str, axe: str, state: Callable[[FedPage], None]) -> None:
    page = visits.open(chat)
    state(FedPage(page))
    check(page, axe, state.__name__)


def test_what_waits_for_a_decision_at_each_look(visits: Visits, asking: AskingChat, axe: str) -> None:
    page = visits.open(asking.url)
    has_ended(ask(page, "please pay 5 and send_note 2"))
    expect(page.locator(".answer form").first).to_be_visible()
    check(page, axe, "asked")


def test_the_key_is_asked_for_at_each_look(visits: Visits, guarded: str, axe: str) -> None:
    page = visits.open(guarded)
    ask(page, "Hello")
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, axe, "key")


def check(page: Page, axe: str, state: str) -> None:
    """At each look: nothing is wider than the page, all that is pressed is large enough; axe has no findings."""
    page.evaluate(axe)
    faults: dict[str, list[str]] = {}
    for look, (viewport, media) in LOOKS.items():
        page.set_viewport_size(viewport)
        page.emulate_media(**{**PLAIN, **media})
        page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
        keep_picture(page, f"{state}-{look}")
        for fault in _faults(page, viewport["width"], with_axe=look in {"light", "dark", "phone", "400"}):
            faults.setdefault(fault, []).append(look)
    if faults:
        pytest.fail("\n".join(f"{fault}: {', '.join(looks)}" for fault, looks in faults.items()))


def _faults(page: Page, width: int, *, with_axe: bool) -> Iterator[str]:
    if page.evaluate("document.documentElement.scrollWidth") > width:
        yield "wider than the window"
    yield from (f"small: {html}" for html in page.evaluate(SMALL))
    if with_axe:
        page.emulate_media(**STILL)  # axe reads the colours of that moment
        yield from (f"axe: {finding}" for finding in page.evaluate(AXE))
