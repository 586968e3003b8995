"""Conversations that were kept by an earlier release, and what is asked of a later one that finds them."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from tests.recorded.answers import anthropic
from tests.recorded.cases.native import IMAGES
from tests.recorded.cases.providers import anthropic_calls, anthropic_says
from tests.recorded.exchange import ALICE, Answer, Exchange, get, post

__all__ = ["CONVERSATIONS", "LARGE", "LEFT", "continued", "shown", "written"]

BOB: Final = {"authorization": "Bearer made-up-bob"}
LEFT: Final = "left while it ran"
LARGE: Final = "large"
ODD: Final = "odd # / é %"

CONVERSATIONS: Final = (
    *((ALICE, name) for name in ("plain", "tools", "images", "broken off", "stopped", LEFT)),
    *((BOB, name) for name in ("plain", ODD)),
)
"""Who has which."""

SUM: Final = ("toolu_sum", "calculate", '{"expression":"6*7"}')
SHOP: Final = ("toolu_shop", "unwilling", "{}")
LONG: Final = "A question that goes on and on, so that it is too long for a title\nand is shown by its beginning alone"
HALF: Final = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 10}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It goes"}},
)
HELD: Final = Answer(body=anthropic(*HALF).body, held=anthropic({"type": "content_block_stop", "index": 0}).body)


def tell(
    conversation: str, content: Any, *answers: Answer, headers: Any = ALICE, message: str = "", **more: Any
) -> Exchange:
    """Something new in a conversation."""
    said = {"role": "user", "content": content} | ({"id": message} if message else {})
    body = {"messages": [said], "conversation_id": conversation, "store": True}
    return post("/chat", body, *answers, headers=headers, **more)


def written(*, large: bool) -> tuple[Exchange, ...]:
    """All the conversations, the one that is left while it runs at the end."""
    stop = get("/chat/stopped/stop", method="POST")
    return (
        tell("plain", "A plain question", anthropic_says("A plain ", "answer."), message="u1"),
        tell("plain", "And another 😀", anthropic_says('With "quotes" \\ and é.')),
        tell("tools", "Work it out", anthropic_calls(SUM, SHOP, thinks=True), anthropic_says("42, and closed.")),
        tell("images", IMAGES, anthropic_says("Two pictures.")),
        tell("broken off", "Tell me", anthropic(*HALF)),
        tell("stopped", "Go on", HELD, wait_for=b"It goes", meanwhile=(stop,)),
        tell("plain", "His own question", anthropic_says("His own answer."), headers=BOB),
        tell(ODD, LONG, anthropic_says("So."), headers=BOB),
        *((tell(LARGE, "é" * 176_000, anthropic_says("Long.")),) if large else ()),
        tell(LEFT, "Stay", HELD),
    )


def shown() -> Iterator[Exchange]:
    """What each caller sees of them."""
    for headers in (ALICE, BOB):
        yield get("/conversations", headers=headers)
    for headers, name in CONVERSATIONS:
        yield get(_path(name), headers=headers)


def continued(*, large: bool) -> Iterator[Exchange]:
    """Each goes on where it ended, and can be deleted."""
    for headers, name in (*CONVERSATIONS, *(((ALICE, LARGE),) if large else ())):
        yield tell(name, "And now?", anthropic_says("So."), headers=headers)
        yield get(_path(name), headers=headers)
        yield get(_path(name), headers=headers, method="DELETE")
    for headers in (ALICE, BOB):
        yield get("/conversations", headers=headers)


def _path(name: str) -> str:
    return f"/conversations/{quote(name, safe='')}"
