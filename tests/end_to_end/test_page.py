"""Promises of the page, kept before a real Chromium, over the whole path from the function URL to the model."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from tests import needs
from tests.local_server import local_server
from tests.provider import Provider, provider

pytestmark = pytest.mark.slow

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
KEY = "a key of many letters"
FIVE = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"
DESK = {"width": 1120, "height": 900}
PHONE = {"width": 360, "height": 740}

MARKDOWN = """# Rivers

Some are **bold**, some *slow*, some `coded`. See [the map](https://example.com/map "Map") or https://example.com/.

## A table

| River | Length |
|:------|-------:|
| Itchen | 45 km |
| Test | 64 km |

- one
- two
  1. first
  2. second

> Quoted
> words

```python
length = "one line that is far wider than any phone, so that it has to scroll inside its own box and nowhere else"
```

---

The end."""

HOSTILE = """<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">

[a](javascript:window.hacked=3) [b](data:text/html,<script>window.hacked=4</script>) [c](vbscript:x) [d](//evil.test)
![picture](https://evil.test/pixel.png) <https://example.com/"onmouseover="window.hacked=5>

`<b>not bold</b>` **<i>not slanted</i>** <svg onload=window.hacked=6></svg>

| <th> |
|---|
| <script>window.hacked=7</script> |
"""


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scripted model at a pace at which one can see words come, with practice data for its tools."""
    folder = tmp_path_factory.mktemp("chat")
    with local_server(folder, "--env", "SCRIPTED_WORDS_PER_SECOND=100", "--concurrency", "3") as server:
        yield server.url


@pytest.fixture(scope="module")
def model() -> Iterator[Provider]:
    """The provider behind `guarded`."""
    with provider() as known:
        yield known


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, model: Provider) -> Iterator[str]:
    """A chat that asks for a key, with a provider that says what the test wants to see."""
    wanted = {
        "AUTH": "api_key",
        "API_KEYS": json.dumps({"tests": KEY}),
        "MODEL_PROVIDER": "openai",
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "unused",
        "MODEL_ID": "any",
    }
    flags = [flag for name, value in wanted.items() for flag in ("--env", f"{name}={value}")]
    with local_server(tmp_path_factory.mktemp("guarded"), "--concurrency", "3", *flags) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = needs.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visits:
    """Contexts of one test. What the page complains of, and what it asks of other hosts, is kept."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.strangers: list[str] = []

    def open(self, url: str, *, key: str = "", **options: Any) -> Page:
        context = self._browser.new_context(**{"viewport": DESK, **options})
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._see(request, url))
        page.goto(f"{url}/")
        if key:
            page.evaluate("key => sessionStorage.setItem('winterbourne.key', key)", key)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium itself notes each answer of 400 and above; tests that bring one about look for it on the page.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _see(self, request: Request, url: str) -> None:
        if not request.url.startswith((f"{url}/", "data:")):
            self.strangers.append(request.url)


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Visits that end without a complaint on the console and without a request to anyone else."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.complaints == []
    assert visits.strangers == []


def ask(page: Page, question: str) -> Locator:
    """Type a question, send it, give the answer to it."""
    page.get_by_role("textbox", name="Your question").fill(question)
    page.keyboard.press("Enter")
    return page.locator(".answer").last


def has_ended(answer: Locator, state: str = "done") -> Locator:
    expect(answer).to_have_attribute("data-state", state, timeout=15_000)
    return answer


def keep_picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"page-{name}.png", animations="disabled")


class TestAsking:
    def test_words_arrive_before_the_end(self, visits: Visits, chat: str) -> None:
        answer = ask(visits.open(chat), "Count to 150")
        expect(answer).to_contain_text("1 2 3 4 5")
        assert answer.get_attribute("data-state") == "running"
        assert "150" not in answer.inner_text()
        expect(has_ended(answer)).to_contain_text("149 150")

    def test_one_sees_that_five_tools_run_at_once_and_which_was_slow(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, FIVE)
        running = answer.locator(".tool[data-status=started]")
        page.wait_for_function("document.querySelectorAll('.tool[data-status=started]').length > 1")
        expect(running.first.get_by_role("progressbar")).to_be_visible()
        keep_picture(page, "running")
        has_ended(answer)
        expect(answer.locator(".tool[data-status=completed]")).to_have_count(5)
        expect(answer.locator("figcaption")).to_contain_text("5 tools at once")
        bars = _bars(answer)
        assert len(bars) == 5
        assert max(left for left, _ in bars) < min(right for _, right in bars), "some time belongs to all five"
        slowest = _bars(answer.locator(".slowest"))
        assert slowest[0][1] - slowest[0][0] == max(right - left for left, right in bars)
        keep_picture(page, "answered")

    def test_a_card_shows_what_was_asked_and_what_came_of_it(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "What is the weather in Paris?"))
        card = answer.get_by_role("listitem", name="Tool get_weather, completed")
        expect(card).to_contain_text("Paris")
        expect(card).to_contain_text("temperature c")
        card.get_by_text("Result").click()
        expect(card.get_by_label("Result")).to_contain_text('"temperature_c":')

    def test_a_tool_that_fails_says_why(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "What is the weather in Atlantisville?"))
        card = answer.locator(".tool[data-status=failed]")
        expect(card).to_contain_text("failed")
        assert card.locator(".tool-error").inner_text()

    def test_what_was_said_before_is_sent_along_with_its_tools(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "What is the weather in Paris?"))
        with page.expect_request("**/chat") as sent:
            answer = ask(page, "And in Lima?")
        roles = [message["role"] for message in sent.value.post_data_json["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]
        expect(has_ended(answer).locator(".tool")).to_contain_text("Lima")

    def test_a_new_conversation_knows_nothing_of_the_old_one(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        with page.expect_request("**/chat") as first:
            has_ended(ask(page, "Hello"))
        page.get_by_role("button", name="New conversation").click()
        expect(page.get_by_role("heading", name="Ask, and it runs.")).to_be_visible()
        with page.expect_request("**/chat") as second:
            has_ended(ask(page, "Hello again"))
        assert len(second.value.post_data_json["messages"]) == 1
        assert first.value.post_data_json["conversation_id"] != second.value.post_data_json["conversation_id"]

    def test_a_suggestion_is_asked_by_one_press(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.get_by_role("button", name="What is 17.5 %").click()
        expect(has_ended(page.locator(".answer")).locator(".tool")).to_have_count(2)

    def test_thoughts_are_folded_away(self, visits: Visits, chat: str) -> None:
        answer = has_ended(ask(visits.open(chat), "Please think about it"))
        thoughts = answer.get_by_text("The script says what to answer.")
        expect(thoughts).to_be_hidden()
        answer.get_by_text("Thinking").click()
        expect(thoughts).to_be_visible()

    def test_every_request_names_the_hash_of_its_body_for_a_cdn_that_signs(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        with page.expect_request("**/chat") as sent:
            ask(page, "Zähle bis 3 \N{WATER WAVE}")
        body = sent.value.post_data_buffer
        assert body
        assert sent.value.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()


def _bars(rows: Locator) -> list[tuple[float, float]]:
    boxes = [bar.bounding_box() for bar in rows.locator(".bar").all()]
    return [(box["x"], box["x"] + box["width"]) for box in boxes if box]


class TestStopping:
    @pytest.mark.parametrize("press", ["the button", "Escape"])
    def test_a_running_answer_stops_and_what_was_said_stays(self, visits: Visits, chat: str, press: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        with page.expect_response(re.compile(r"/chat/c_\w+/stop$")) as heard:
            if press == "Escape":
                page.keyboard.press("Escape")
            else:
                page.get_by_role("button", name="Stop").click()
        assert heard.value.ok
        expect(has_ended(answer, "stopped")).to_contain_text("You stopped this answer.")
        expect(answer).to_contain_text("1 2 3")
        expect(page.get_by_role("button", name="Send")).to_be_visible()

    def test_after_a_stop_the_conversation_goes_on(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        page.keyboard.press("Escape")
        has_ended(answer, "stopped")
        expect(has_ended(ask(page, "Count to 3"))).to_contain_text("1 2 3")

    def test_tools_that_had_not_ended_are_shown_as_cancelled(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        answer = ask(page, FIVE)
        page.wait_for_function("document.querySelectorAll('.tool[data-status=started]').length > 1")
        page.keyboard.press("Escape")
        has_ended(answer, "stopped")
        expect(answer.locator(".tool[data-status=started]")).to_have_count(0)

    def test_a_server_that_does_not_hear_the_stop_is_cut_off(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.route("**/stop", lambda route: route.abort())
        answer = ask(page, "Count to 5000")
        expect(answer).to_contain_text("1 2 3")
        page.keyboard.press("Escape")
        expect(has_ended(answer, "stopped")).to_contain_text("You stopped this answer.")


class TestTrouble:
    def test_an_error_says_what_broke_and_the_same_can_be_asked_again(
        self, visits: Visits, guarded: str, model: Provider
    ) -> None:
        page = visits.open(guarded, key=KEY)
        model.refuses(400)
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("alert")).not_to_be_empty()
        keep_picture(page, "failed")
        model.says("Now it ", "runs.")
        answer.get_by_role("button", name="Try again").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("Now it runs.")
        expect(page.locator(".question")).to_have_count(1)

    def test_without_a_network_it_says_so(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        page.context.set_offline(True)
        answer = has_ended(ask(page, "Count to 3"), "failed")
        expect(answer.get_by_role("alert")).to_have_text("The server cannot be reached.")
        page.context.set_offline(False)
        answer.get_by_role("button", name="Try again").click()
        expect(has_ended(page.locator(".answer"))).to_contain_text("1 2 3")

    def test_a_stream_without_its_last_frame_is_a_failure(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        said = 'data: {"type":"content","delta":"Half a"}\n\n'
        page.route("**/chat", lambda route: route.fulfill(body=said, content_type="text/event-stream"))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer).to_contain_text("Half a")
        expect(answer.get_by_role("alert")).to_have_text("The stream broke off before its end.")

    def test_a_limit_holds_the_retry_back_for_as_long_as_the_server_says(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        body = json.dumps({"error": {"code": "too_many_requests", "message": "12 requests a minute at most"}})
        headers = {"retry-after": "1"}
        page.route("**/chat", lambda route: route.fulfill(status=429, body=body, headers=headers))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("alert")).to_have_text("12 requests a minute at most")
        again = answer.get_by_role("button", name="Try again")
        expect(again).to_be_disabled()
        expect(again).to_be_enabled()


class TestTheKey:
    def test_it_is_asked_for_when_the_server_wants_one_and_kept_for_the_session(
        self, visits: Visits, guarded: str, model: Provider
    ) -> None:
        model.says("Let in.")
        page = visits.open(guarded)
        ask(page, "Hello")
        dialog = page.get_by_role("dialog", name="This stream asks for a key")
        expect(dialog).to_be_visible()
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

    def test_it_is_sent_in_the_header_that_a_signing_cdn_leaves_alone(
        self, visits: Visits, guarded: str, model: Provider
    ) -> None:
        model.says("Let in.")
        page = visits.open(guarded, key=KEY)
        with page.expect_request("**/chat") as sent:
            has_ended(ask(page, "Hello"))
        assert sent.value.headers["x-api-key"] == KEY
        assert "authorization" not in sent.value.headers
        assert KEY not in sent.value.url

    def test_it_can_be_refused_and_forgotten(self, visits: Visits, guarded: str) -> None:
        page = visits.open(guarded, key=KEY)
        page.reload()
        page.get_by_role("button", name="Forget key").click()
        answer = ask(page, "Hello")
        page.get_by_role("button", name="Not now").click()
        expect(has_ended(answer, "failed").get_by_role("button", name="Use another key")).to_be_visible()


class TestMarkdown:
    def test_the_useful_part_is_drawn(self, visits: Visits, guarded: str, model: Provider) -> None:
        model.says(*re.findall(r"\s*\S+", MARKDOWN))
        page = visits.open(guarded, key=KEY)
        answer = has_ended(ask(page, "Tell me of rivers"))
        expect(answer.get_by_role("heading", name="Rivers")).to_be_visible()
        expect(answer.locator("strong")).to_have_text("bold")
        expect(answer.locator("em")).to_have_text("slow")
        expect(answer.locator("p > code")).to_have_text("coded")
        expect(answer.get_by_role("table").get_by_role("row")).to_have_text(["RiverLength", "Itchen45 km", "Test64 km"])
        expect(answer.locator("ul.tools + *, ul > li > ol > li")).to_have_text(["first", "second"])
        expect(answer.locator("blockquote")).to_have_text("Quoted words")
        expect(answer.locator("pre code")).to_contain_text("length =")
        links = answer.get_by_role("link")
        assert [link.get_attribute("href") for link in links.all()] == [
            "https://example.com/map",
            "https://example.com/",
        ]
        assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer"}
        keep_picture(page, "markdown")

    def test_it_is_drawn_while_it_is_still_coming(self, visits: Visits, guarded: str, model: Provider) -> None:
        model.says("Some **bo", "ld** words\n\n```py\na = 1\n", "b = 2\n```\n", hold=True)
        page = visits.open(guarded, key=KEY)
        answer = ask(page, "Hello")
        expect(answer.locator("strong")).to_have_text("bold")
        expect(answer.locator("pre")).to_have_text(re.compile("a = 1"))
        expect(answer).to_have_attribute("aria-busy", "true")
        code = answer.locator("pre").element_handle()
        model.go_on()
        has_ended(answer)
        assert code.inner_text() == "a = 1\nb = 2", "the node that was there is the one that grew"

    def test_what_an_enemy_writes_stays_text(self, visits: Visits, guarded: str, model: Provider) -> None:
        model.says(HOSTILE)
        page = visits.open(guarded, key=KEY)
        answer = has_ended(ask(page, "Hello"))
        body = answer.locator(".prose")
        assert body.locator("script, img, svg:not(.icon), iframe, i, b").count() == 0
        expect(body).to_contain_text("<script>window.hacked = 1</script>")
        expect(body).to_contain_text("javascript:window.hacked=3")
        hrefs = [link.get_attribute("href") or "" for link in body.locator("a").all()]
        assert all(href.startswith("https://") for href in hrefs)
        assert page.evaluate("window.hacked") is None

    def test_code_and_answers_can_be_copied(self, visits: Visits, guarded: str, model: Provider) -> None:
        model.says("Say:\n\n```\na\n  b\n```")
        page = visits.open(guarded, key=KEY, permissions=["clipboard-read", "clipboard-write"])
        answer = has_ended(ask(page, "Hello"))
        answer.locator(".code").get_by_role("button", name="Copy").click()
        expect(answer.locator(".code button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "a\n  b"
        answer.get_by_role("button", name="Copy answer").click()
        expect(answer.locator("footer button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "Say:\n\n```\na\n  b\n```"


Pieces = st.lists(
    st.sampled_from(
        [
            *"ab 1\n\n#>-*_`|[]()!~\\<:\t",
            "\n\n",
            "**",
            "```",
            "\n- ",
            "\n1. ",
            "\n  ",
            "|-|\n",
            "](https://a.b/)",
            "http://x.y",
        ]
    ),
    max_size=40,
)

DRAW = """
async ([pieces, base]) => {
  const { MarkdownView } = await import(`${base}/web/any/markdown_view.js`);
  window.requestAnimationFrame = (draw) => (draw(), 0); // each piece is drawn as it comes
  const [grown, whole] = [new MarkdownView(), new MarkdownView()];
  for (const piece of pieces) grown.append(piece);
  whole.append(pieces.join(""));
  grown.end();
  whole.end();
  const nodes = [...whole.node.querySelectorAll("*")];
  return {
    same: grown.node.isEqualNode(whole.node),
    tags: nodes.map((node) => node.localName),
    links: nodes.filter((node) => node.localName === "a").map((node) => node.href),
    attributes: nodes.flatMap((node) => node.getAttributeNames()),
  };
}
"""

EVENTS = """
async ([pieces, base]) => {
  const { EventParser } = await import(`${base}/web/any/chat.js`);
  const parser = new EventParser();
  return pieces.flatMap((piece) => [...parser.push(piece)]);
}
"""


class TestAnyText:
    """Properties of the page's own parsers, tried in the browser that runs them."""

    @pytest.fixture(scope="class")
    def run(self, browser: Browser, chat: str) -> Iterator[Callable[[str, list[str]], Any]]:
        page = browser.new_page()
        page.goto(f"{chat}/")
        yield lambda script, pieces: page.evaluate(script, [pieces, chat])
        page.close()

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(pieces=Pieces)
    def test_text_in_pieces_is_drawn_like_the_whole(
        self, run: Callable[[str, list[str]], Any], pieces: list[str]
    ) -> None:
        assert run(DRAW, pieces)["same"]

    @settings(max_examples=150, deadline=None)
    @given(text=st.text() | Pieces.map("".join))
    def test_only_known_nodes_are_made_and_links_lead_to_the_web(
        self, run: Callable[[str, list[str]], Any], text: str
    ) -> None:
        drawn = run(DRAW, [text.encode("utf-8", "replace").decode()])
        assert set(drawn["tags"]) <= set(
            "p h3 h4 h5 h6 ul ol li blockquote hr div pre code table thead tbody tr th td strong em a br"
            " button svg path span".split()
        )
        assert not [name for name in drawn["attributes"] if name.startswith("on") or name in {"style", "src", "id"}]
        assert all(re.match(r"https?://", link) for link in drawn["links"])

    @settings(max_examples=100, deadline=None)
    @given(
        data=st.lists(
            st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), max_size=5
        ),
        newline=st.sampled_from(["\n", "\r\n", "\r"]),
        cuts=st.lists(st.integers(0, 400), max_size=8),
    )
    def test_events_are_heard_however_the_stream_is_cut(
        self, run: Callable[[str, list[str]], Any], data: list[str], newline: str, cuts: list[int]
    ) -> None:
        text = "".join(f": beat{newline}{newline}data: {one}{newline}{newline}" for one in data) + ": end\n"
        edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        pieces = [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]
        assert run(EVENTS, pieces) == data


class TestKeyboardAndScreenReader:
    def test_enter_sends_and_shift_enter_begins_a_line(self, visits: Visits, chat: str) -> None:
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

    def test_nothing_is_sent_without_words_nor_while_an_answer_runs(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        ask(page, "   ")
        expect(page.locator(".answer")).to_have_count(0)
        ask(page, "Count to 100")
        ask(page, "Wait for it")
        expect(page.locator(".answer")).to_have_count(1)
        expect(page.get_by_role("textbox", name="Your question")).to_have_value("Wait for it")

    def test_everything_can_be_reached_with_the_tab_key(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, "What is the weather in Paris?"))
        page.locator("body").click(position={"x": 2, "y": 200})
        reached = []
        for _ in range(6):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText"))
        assert {"New conversation", "Result", "Copy answer", "Send"} <= set(reached)

    def test_the_conversation_is_a_log_that_is_busy_while_words_come(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        log = page.get_by_role("log", name="Conversation")
        answer = ask(page, "Count to 100")
        expect(page.get_by_role("status")).to_have_text("Answering")
        busy = log.get_by_role("article", name="Answer")
        expect(busy).to_have_attribute("aria-busy", "true")
        has_ended(answer)
        expect(busy).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("status")).to_have_text("Answer complete")

    def test_every_control_has_a_name_and_every_picture_is_silent(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        has_ended(ask(page, FIVE))
        assert (
            page.evaluate("""[...document.querySelectorAll("button, textarea, input, [tabindex]")].filter(
            (node) => !(node.ariaLabel || node.labels?.length || node.innerText || node.textContent.trim())
        ).map((node) => node.outerHTML)""")
            == []
        )
        assert page.locator("svg:not([aria-hidden=true])").count() == 0
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate("new Set([...document.querySelectorAll('[id]')].map(({ id }) => id)).size") == (
            page.locator("[id]").count()
        )


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_can_be_read_by_day_and_by_night(self, visits: Visits, chat: str, scheme: str) -> None:
        page = visits.open(chat, color_scheme=scheme)
        has_ended(ask(page, FIVE))
        keep_picture(page, scheme)
        paper = _colour(page, "--paper")
        assert (_luminance(paper) < 0.1) == (scheme == "dark")
        for ground in ("--paper", "--raised", "--wash"):
            for ink in ("--ink", "--soft", "--water", "--rust"):
                assert _contrast(_colour(page, ink), _colour(page, ground)) >= 4.5, (scheme, ink, ground)
        for ground in ("--paper", "--raised"):
            assert _contrast(_colour(page, "--bright"), _colour(page, ground)) >= 2.5, "bars and focus rings"

    def test_it_fits_a_phone(self, visits: Visits, guarded: str, chat: str, model: Provider) -> None:
        model.says(MARKDOWN)
        page = visits.open(guarded, key=KEY, viewport=PHONE, has_touch=True)
        has_ended(ask(page, "a_question_of_one_word_that_is_wider_than_any_phone_could_ever_be_" * 2))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        page = visits.open(chat, viewport=PHONE, has_touch=True)
        keep_picture(page, "phone-empty")
        answer = has_ended(ask(page, FIVE))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        expect(answer.locator(".slowest .bar")).to_be_visible()
        keep_picture(page, "phone")

    def test_the_newest_words_stay_in_view_unless_one_scrolls_away(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, viewport={"width": 500, "height": 400})
        answer = ask(page, "Count to 300")
        page.wait_for_function("scrollY > 100")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(100)
        assert page.evaluate("scrollY") == 0
        has_ended(answer)
        assert page.evaluate("scrollY") == 0

    def test_who_wants_no_motion_gets_none(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat, reduced_motion="reduce")
        expect(ask(page, "Count to 100")).to_contain_text("1 2 3")
        assert page.evaluate("document.getAnimations().length") == 0

    def test_water_runs_in_the_river_only_while_an_answer_does(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        river = page.locator("html")
        expect(river).to_have_attribute("data-running", "false")
        answer = ask(page, "Count to 50")
        expect(river).to_have_attribute("data-running", "true")
        has_ended(answer)
        expect(river).to_have_attribute("data-running", "false")


def _colour(page: Page, name: str) -> tuple[int, int, int]:
    red, green, blue, *_ = page.evaluate(
        """(name) => {
          const probe = document.body.appendChild(document.createElement("i"));
          probe.style.color = `var(${name})`;
          const colour = getComputedStyle(probe).color;
          probe.remove();
          return colour.match(/[\\d.]+/g).map(Number);
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


class TestHowItIsServed:
    def test_the_browser_is_told_the_rules_and_asks_for_each_file_once(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        answer = page.goto(f"{chat}/")
        assert answer
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-cache"
        page.wait_for_load_state("networkidle")
        assert len(asked) == len(set(asked))

    def test_a_string_can_never_become_html(self, visits: Visits, chat: str) -> None:
        page = visits.open(chat)
        assert (
            page.evaluate("""() => {
          try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
        }""")
            == "TypeError"
        )
        visits.complaints.clear()  # the browser tells of the attempt
