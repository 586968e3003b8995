"""A chat page whose answers come from the test, frame by frame, so that a state of it lasts as long as it is wanted."""

import json
from typing import Any, Final

from playwright.sync_api import Page

from tests.browser_page import ask

__all__ = ["DONE", "FedPage", "call", "content"]

# Answers to questions come from `window.feed`, as frames.
FEED: Final = """() => {
  const real = window.fetch;
  window.feed = (...frames) => window.feeding.then((stream) => {
    for (const frame of frames) stream.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(frame)}\\n\\n`));
    if (["done", "error", "stopped"].includes(frames.at(-1)?.type)) stream.close();
  });
  let started;
  window.feeding = new Promise((resolve) => { started = resolve; });
  window.fetch = (resource, init) => {
    if (!(resource.url ?? resource).endsWith("/chat")) return real(resource, init);
    const body = new ReadableStream({ start: started });
    return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
  };
}"""


class FedPage:
    """A page whose answers the test gives."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def ask(self, question: str, *frames: dict[str, Any]) -> None:
        self.page.evaluate(FEED)
        ask(self.page, question)
        self.feed({"type": "start", "message_id": "m1"}, *frames)

    def feed(self, *frames: dict[str, Any]) -> None:
        self.page.evaluate("(frames) => window.feed(...frames)", list(frames))


def content(text: str) -> dict[str, Any]:
    return {"type": "content", "delta": text}


def call(name: str, status: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    told = {"arguments": json.dumps(arguments)} if arguments else {}
    return {"type": "tool_call", "id": name, "name": name, "status": status, **told, **more}


DONE: Final = {"type": "done", "usage": {"input": 1200, "output": 340}, "turns": 2}
