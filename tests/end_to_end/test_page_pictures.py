"""Every state of the page at every look: a picture of each in tests/artifacts, and what holds for all of them.

The page runs as it is, over the chat function; only its answers come from the test, frame by frame, so that a state
lasts as long as its pictures take.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests import npm
from tests.browser_page import DESK, FIVE, Visits, ask, has_ended, keep_picture
from tests.end_to_end.asking_chat import AskingChat
from tests.end_to_end.test_page_looks import AXE, SMALL
from tests.fed_page import DONE, FedPage, call, content

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.timeout(300)]

PHONE: Final = {"width": 360, "height": 740}
STILL: Final = {"reduced_motion": "reduce"}

# The size of the window and what its reader prefers. At 200 and 400 % a desktop's window has that much less room.
LOOKS: Final[dict[str, tuple[dict[str, int], dict[str, Any]]]] = {
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
PLAIN: Final = {"color_scheme": "light", "forced_colors": "none", "reduced_motion": "no-preference"}

MARKDOWN: Final = """## Tides at Whitby

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

مرحبا بكم في الميناء. 満潮は六時十二分です。
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
    page.ask("When is high water?", content(MARKDOWN), DONE)
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


STATES: Final = (empty, waiting, writing, markdown, tools, answered, stopped, failed, listed)


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
    faults = []
    for look, (viewport, media) in LOOKS.items():
        page.set_viewport_size(viewport)
        page.emulate_media(**{**PLAIN, **media})
        page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
        keep_picture(page, f"{state}-{look}")
        if page.evaluate("document.documentElement.scrollWidth") > viewport["width"]:
            faults.append(f"{look}: wider than the window")
        faults += [f"{look}: small: {html}" for html in page.evaluate(SMALL)]
        if look in {"light", "dark", "phone", "400"}:
            page.emulate_media(**STILL)  # axe reads the colours of that moment
            faults += [f"{look}: axe: {finding}" for finding in page.evaluate(AXE)]
    if faults:
        pytest.fail("\n".join(faults))
