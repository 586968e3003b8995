"""The order in which a screen reader reads the page and a keyboard goes through it, by the accessibility tree."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser_page import FIVE, Visits, ask, has_ended
from tests.end_to_end.asking_chat import AskingChat
from tests.fed_page import DONE, FedPage, call, content

pytestmark = [pytest.mark.slow, pytest.mark.clients]

EMPTY = """
- banner:
  - button "Conversations"
  - heading "Winterbourne" [level=1]
- main:
  - region "Ask, and it runs.":
    - heading "Ask, and it runs." [level=2]
    - paragraph
    - list "Suggestions":
      - listitem:
        - button "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"
- form "Ask":
  - textbox "Your question"
  - button "Send"
"""

ANSWERED = """
- banner:
  - button "Conversations"
  - heading "Winterbourne" [level=1]
  - button "New conversation"
  - status: Answer complete
- main:
  - log "Conversation":
    - heading "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD" [level=2]
    - button "Edit question"
    - article "Answer":
      - paragraph: Let me look that up.
      - button /get_stock_quote completed .* convert_currency completed/
      - paragraph: "Here is what I found:"
      - list
      - figure /5 tools at once/:
        - list:
          - listitem: /get_stock_quote AAPL/
      - button "Copy answer"
      - button "About this answer"
- form "Ask":
  - textbox "Your question"
  - button "Send"
"""

RUNNING = """
- banner:
  - status: /./
- main:
  - log "Conversation":
    - heading "Dig a well" [level=2]
    - article "Answer":
      - paragraph: Let me see.
      - button /get_weather completed dig running/
- form "Ask":
  - textbox "Your question"
  - button "Stop"
"""

OPENED = """
- article "Answer":
  - button /get_weather completed dig running/ [expanded]
  - list "Tools":
    - listitem "Tool get_weather, completed":
      - paragraph: Paris
    - listitem "Tool dig, running":
      - progressbar "Progress"
"""

ASKED = """
- log "Conversation":
  - heading "please pay 5" [level=2]
  - article "Answer":
    - list "Tools":
      - listitem "Tool pay, waiting for you":
        - form "Decide on pay":
          - paragraph: Pay 5 EUR?
          - textbox "Reason, if you like"
          - button "Deny"
          - button "Approve"
    - paragraph: It goes on once you have decided.
"""

LISTED = """
- dialog "Conversations":
  - heading "Conversations" [level=2]
  - button "Close"
  - list:
    - listitem:
      - link /Count to 3/
      - button /Rename.* Count to 3/
"""


class TestReading:
    def test_before_the_first_question(self, visits: Visits, chat: str) -> None:
        expect(visits.open(chat).locator("body")).to_match_aria_snapshot(EMPTY)

    def test_an_answer_with_its_tools(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, FIVE))
        expect(page.locator("body")).to_match_aria_snapshot(ANSWERED)

    def test_an_answer_that_runs(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        weather = [call("get_weather", "started", {"city": "Paris"}), call("get_weather", "completed", result={})]
        FedPage(page).ask("Dig a well", content("Let me see."), *weather, call("dig", "started"))
        expect(page.locator("body")).to_match_aria_snapshot(RUNNING)
        page.get_by_role("button", name="get_weather").click()
        expect(page.locator("main")).to_match_aria_snapshot(OPENED)

    def test_what_waits_for_a_decision(self, visits: Visits, asking: AskingChat) -> None:
        page = visits.open(asking.url)
        has_ended(ask(page, "please pay 5"))
        expect(page.locator("main")).to_match_aria_snapshot(ASKED)

    def test_the_kept_conversations(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "Count to 3"))
        page.get_by_role("button", name="Conversations").press("Enter")
        expect(page.locator("body")).to_match_aria_snapshot(LISTED)


class TestTab:
    @pytest.mark.parametrize("viewport", [{"width": 1120, "height": 900}, {"width": 320, "height": 256}])
    def test_it_goes_as_one_reads_and_to_all_that_can_be_pressed(
        self, visits: Visits, chat: str, viewport: Any
    ) -> None:
        page = visits.open(chat, viewport=viewport)
        FedPage(page).ask(
            "Hello", content("See [this](https://example.com).\n\n```\ncode\n```"), call("dig", "completed"), DONE
        )
        has_ended(page.locator(".answer"))
        page.get_by_role("button", name="Conversations").focus()
        _, *others = page.evaluate(PRESSABLE)
        assert len(others) > 7
        assert tabbed(page, len(others)) == others

    def test_a_dialog_gives_back_to_what_opened_it(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        opener = page.get_by_role("button", name="Conversations")
        opener.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        for _ in range(8):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.matches('body, dialog *')")
        page.keyboard.press("Escape")
        expect(opener).to_be_focused()


# All that can have the focus, in the order in which it is read.
PRESSABLE = """() => [...document.querySelectorAll("button, a, input, select, textarea, summary, [tabindex='0']")]
  .filter((node) => node.checkVisibility() && !node.closest("dialog, [popover]"))
  .map((node) => node.outerHTML)"""


def tabbed(page: Page, count: int) -> list[str]:
    reached = []
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.outerHTML"))
    return reached
