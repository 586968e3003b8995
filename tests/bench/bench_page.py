"""What the chat page has to do for each frame while an answer of 6,000 words streams in, in a real Chromium.

Ten words come with each frame, six hundred a second: no model is that fast. A frame's work is what is drawn, style and
layout, which the browser is made to do at once; painting is not in it. It should not grow with the answer, which has
paragraphs, lists, tables, code and notes. Beside it is what a page has to do that draws the whole answer with each
frame, at its end. Of each frame the least of several rounds counts, as a busy machine only ever adds, and four times
that, as on the processor of an older phone.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from playwright.sync_api import Route, sync_playwright

from tests import requirements
from tests.bench.figure import Figure
from tests.browser_page import FLAGS, serve_module
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import StaticFiles

FRAME_MS: Final = 1000 / 60
SLOWER: Final = 4
ROUNDS: Final = 5
WORDS, WORDS_PER_FRAME = 6000, 10
URL: Final = "https://page.test/"
# With these its clock is finer.
ISOLATED: Final = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}

SECTION: Final = """## Reach {number}

The **Itchen** rises near the village of *Hinton* and runs for some `45 km` to the sea, past [mills](https://a.b/{number})
and meadows that were once flooded each winter[^{number}]. Its water comes from chalk, so it stays clear and cool all
year, and trout, otters and kingfishers live along it; ~~salmon~~ a few salmon still come back each autumn to spawn.

- The upper reach is narrow and shallow, and it is **dry** in some summers.
- The middle reach turns mills:
  1. one that ground corn until it was closed,
  2. one that makes paper for bank notes.

| Place | Flow | Depth |
|:------|-----:|------:|
| Hinton | 0.3 m | 12 cm |
| Alresford | 1.2 m | 40 cm |
| Winchester | 4.9 m | 95 cm |

```python
def flow(depth: float, width: float, speed: float) -> float:
    return depth * width * speed  # in cubic metres a second
```

> Who has stood on its bridges at dusk does not forget it.

[^{number}]: As the survey of its banks says.

"""

STREAM: Final = """
async ([text, wordsPerFrame]) => {
  const { MarkdownView } = await import("/modules/markdown_view.js");
  window.requestAnimationFrame = (draw) => (draw(), 0); // the time of the draw is taken here
  const words = text.match(/\\s*\\S+/g), log = document.getElementById("log");
  const timed = (work) => {
    const began = performance.now();
    work();
    document.documentElement.getBoundingClientRect();
    return performance.now() - began;
  };
  const shown = () => {
    const view = new MarkdownView(), answer = document.createElement("article");
    answer.className = "answer";
    answer.append(view.node);
    log.replaceChildren(answer);
    return view;
  };
  const view = shown(), frames = [];
  for (let at = 0; at < words.length; at += wordsPerFrame) {
    const piece = words.slice(at, at + wordsPerFrame).join("");
    frames.push(timed(() => view.append(piece)));
    await new Promise((resolve) => setTimeout(resolve)); // another task, as another frame is
  }
  return [...frames, timed(() => shown().append(text))];
}
"""


def figures() -> Iterable[Figure]:
    """The worst frames, and how the last ones compare to the first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=requirements.chromium(), args=list(FLAGS))
        page = browser.new_page()
        page.route("**/*", _serve)
        page.goto(URL)
        text = _text()
        rounds = [page.evaluate(STREAM, [text, WORDS_PER_FRAME]) for _ in range(ROUNDS)]
        browser.close()
    *frames, whole = (SLOWER * min(times) for times in zip(*rounds, strict=True))
    last = statistics.median(frames[-len(frames) // 10 :])
    yield from (_late(frames), _growing(frames, last), _beside_whole(last, whole))


def _serve(route: Route) -> None:
    if "/modules/" in route.request.url:
        serve_module(route)
    elif route.request.url == URL:
        page = StaticFiles(PageOptions()).find("/")
        assert page is not None
        route.fulfill(body=page.body, content_type="text/html", headers=ISOLATED)
    else:
        route.fulfill(status=404)


def _text() -> str:
    words = len(SECTION.split())
    return "".join(SECTION.format(number=number) for number in range(WORDS // words + 1))


def _late(frames: Sequence[float]) -> Figure:
    share = sum(ms > FRAME_MS for ms in frames) / len(frames)
    return Figure(
        name="6,000 words streaming in: frames that take over 16.7 ms",
        ours=f"{share:.1%} of {len(frames)}, median {statistics.median(frames):.1f} ms",
        bar="≤ 1%",
        met=share <= 0.01,
    )


def _growing(frames: Sequence[float], last: float) -> Figure:
    tenth = len(frames) // 10
    early = statistics.median(frames[tenth : 2 * tenth])
    return Figure(
        name="6,000 words streaming in: a frame in the last tenth",
        ours=f"{last:.1f} ms",
        beside=f"in the second tenth {early:.1f} ms",
        ratio=last / early,
        bar="≤ 2",
        met=last / early <= 2,
    )


def _beside_whole(last: float, whole: float) -> Figure:
    return Figure(
        name="6,000 words streaming in: a frame at the end",
        ours=f"{last:.1f} ms",
        beside=f"the whole answer drawn anew {whole:.0f} ms",
        ratio=last / whole,
    )
