"""Markdown rendering of the page: while it streams, for any input, and never as anything but text."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect

from tests.browser_page import KEY, Visits, ask, has_ended, keep_picture, serve_module
from tests.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.clients]

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


class TestMarkdown:
    def test_the_supported_subset_is_rendered(self, visits: Visits, guarded: str, model_provider: Provider) -> None:
        model_provider.responds_with(*re.findall(r"\s*\S+", MARKDOWN))
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

    def test_it_is_rendered_while_it_streams(self, visits: Visits, guarded: str, model_provider: Provider) -> None:
        model_provider.responds_with("Some **bo", "ld** words\n\n```py\na = 1\n", "b = 2\n```\n", hold=True)
        page = visits.open(guarded, key=KEY)
        answer = ask(page, "Hello")
        expect(answer.locator("strong")).to_have_text("bold")
        expect(answer.locator("pre")).to_have_text(re.compile("a = 1"))
        expect(answer).to_have_attribute("aria-busy", "true")
        code = answer.locator("pre").element_handle()
        model_provider.release()
        has_ended(answer)
        assert code.inner_text() == "a = 1\nb = 2", "the node that was there is the one that grew"

    def test_hostile_markup_stays_text(self, visits: Visits, guarded: str, model_provider: Provider) -> None:
        model_provider.responds_with(HOSTILE)
        page = visits.open(guarded, key=KEY)
        answer = has_ended(ask(page, "Hello"))
        body = answer.locator(".prose")
        assert body.locator("script, img, svg:not(.icon), iframe, i, b").count() == 0
        expect(body).to_contain_text("<script>window.hacked = 1</script>")
        expect(body).to_contain_text("javascript:window.hacked=3")
        hrefs = [link.get_attribute("href") or "" for link in body.locator("a").all()]
        assert all(href.startswith("https://") for href in hrefs)
        assert page.evaluate("window.hacked") is None

    def test_code_and_answers_can_be_copied(self, visits: Visits, guarded: str, model_provider: Provider) -> None:
        model_provider.responds_with("Say:\n\n```\na\n  b\n```")
        page = visits.open(guarded, key=KEY, permissions=["clipboard-read", "clipboard-write"])
        answer = has_ended(ask(page, "Hello"))
        answer.locator(".code").get_by_role("button", name="Copy").click()
        expect(answer.locator(".code button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "a\n  b"
        answer.get_by_role("button", name="Copy answer").click()
        expect(answer.locator(".answer-foot button").first).to_have_text("Copied")
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
  const { MarkdownView } = await import(`${base}/modules/markdown_view.js`);
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

NODES = {
    *(
        "p",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "blockquote",
        "hr",
        "div",
        "pre",
        "code",
        "strong",
        "em",
        "a",
        "br",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "button", "svg", "path", "span"),
}

FRAMES = """
async ([pieces, base]) => {
  const { readFrames } = await import(`${base}/modules/chat.js`);
  const stream = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
  const frames = [];
  for await (const frame of readFrames(stream)) frames.push(frame);
  return frames;
}
"""


@pytest.fixture(scope="module")
def evaluate(browser: Browser, chat: str) -> Iterator[Callable[[str, list[str]], Any]]:
    """Run a script within the page."""
    page = browser.new_page(bypass_csp=True)
    page.route("**/modules/*", serve_module)
    page.goto(f"{chat}/")
    yield lambda script, pieces: page.evaluate(script, [pieces, chat])
    page.close()


class TestAnyText:
    """Properties of the page's own parsers, tested in the browser."""

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(pieces=Pieces)
    @example(pieces=["a", "\n  ", "|-|\n", "|-|\n", "a", "\n\n"])
    def test_text_in_pieces_is_rendered_like_the_whole(
        self, evaluate: Callable[[str, list[str]], Any], pieces: list[str]
    ) -> None:
        assert evaluate(DRAW, pieces)["same"]

    @settings(max_examples=150, deadline=None)
    @given(text=st.text() | Pieces.map("".join))
    def test_only_known_nodes_are_created_and_links_lead_to_the_web(
        self, evaluate: Callable[[str, list[str]], Any], text: str
    ) -> None:
        drawn = evaluate(DRAW, [text.encode("utf-8", "replace").decode()])
        assert set(drawn["tags"]) <= NODES
        assert not [name for name in drawn["attributes"] if name.startswith("on") or name in {"style", "src", "id"}]
        assert all(re.match(r"https?://", link) for link in drawn["links"])

    @settings(max_examples=100, deadline=None)
    @given(
        data=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
        first=st.integers(0, 999),
        cuts=st.lists(st.integers(0, 400), max_size=8),
    )
    def test_frames_are_read_however_the_stream_is_split(
        self, evaluate: Callable[[str, list[str]], Any], data: list[str], first: int, cuts: list[int]
    ) -> None:
        numbers = [first and first + at for at in range(len(data))]
        frames = [
            (f"id: {number}\n" if number else "") + f"data: {json.dumps(one, ensure_ascii=False)}\n\n"
            for number, one in zip(numbers, data, strict=True)
        ]
        text = "retry: 1000\n\n" + "".join(f": beat\n\n{frame}" for frame in frames) + ": end\n"
        edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
        assert evaluate(FRAMES, pieces) == [list(frame) for frame in zip(numbers, data, strict=True)]
