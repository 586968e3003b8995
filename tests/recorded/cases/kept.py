"""Conversations stored by an earlier release, and the requests to a later release that finds them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from tests.recorded.cases.ai_sdk import TOOLS
from tests.recorded.cases.native import IMAGES
from tests.recorded.cases.providers import anthropic_calls, anthropic_says, bedrock_calls, bedrock_says
from tests.recorded.cases.tokens import token
from tests.recorded.exchange import ALICE, Answer, Exchange, get, invoked, post
from tests.recorded.provider_responses import anthropic, calls, says, thinks

__all__ = ["LEFT", "SERVERS", "TTL_DAYS", "continued", "shown", "written"]

BOB: Final = "Bearer made-up-bob"
LEFT: Final = "left while it ran"
ODD: Final = "odd # / é %"
WAITING: Final = "waits for its page"
TTL_DAYS: Final = 36500

SERVERS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai": {"MODEL_PROVIDER": "openai", "AUTH": "none"},
    "bedrock": {"MODEL_PROVIDER": "bedrock", "AUTH": "jwt"},
    "iam": {"MODEL_PROVIDER": "anthropic", "AUTH": "iam"},
    "anthropic": {"MODEL_PROVIDER": "anthropic", "AUTH": "api_key"},
}
"""The servers that write to a store, one after the other: each vendor, and each authentication scheme."""

SUM: Final = ("toolu_sum", "calculate", '{"expression":"6*7"}')
SHOP: Final = ("toolu_shop", "unwilling", "{}")
ASK: Final = ("toolu_ask", "ask_user", '{"question":"Why?"}')
LONG: Final = "A question that goes on and on, so that it is too long for a title\nand is shown by its beginning alone"
HALF: Final = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 10}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It goes"}},
)
HELD: Final = Answer(body=anthropic(*HALF).body, held=anthropic({"type": "content_block_stop", "index": 0}).body)

Sent = Callable[[Exchange], Exchange]


@dataclass(frozen=True, kw_only=True)
class Visit:
    """The conversations that one caller stores through one server.

    Args:
        server: Of SERVERS.
        caller: Adds the caller's credentials to an exchange.
        names: The conversations.
        written: The requests that create them.
        reply: The provider's response when one is continued.
    """

    server: str
    caller: Sent
    names: tuple[str, ...]
    written: tuple[Exchange, ...]
    reply: Answer


def message_in(conversation: str, content: Any, *answers: Answer, message: str = "", **more: Any) -> Exchange:
    """A new message in a conversation."""
    said = {"role": "user", "content": content} | ({"id": message} if message else {})
    body = {"messages": [said], "conversation_id": conversation, "store": True}
    return post("/chat", body, *answers, **more)


def ui(conversation: str, messages: list[Any], *answers: Answer, **more: Any) -> Exchange:
    """The same as the AI SDK sends it."""
    return post("/api/chat", {"id": conversation, "messages": messages, "store": True, **more}, *answers)


def says_in_ui(text: str) -> dict[str, Any]:
    return {"id": f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}


def bearing(authorization: str) -> Sent:
    """Send with this authorization header, or without any if it is empty."""

    def sent(exchange: Exchange) -> Exchange:
        others = {name: value for name, value in exchange.headers.items() if name != "authorization"}
        return replace(exchange, headers=others | ({"authorization": authorization} if authorization else {}))

    return sent


def signed(exchange: Exchange) -> Exchange:
    """Invoke with the event of a function URL that authenticated the caller by an AWS signature (IAM)."""
    arn = "arn:aws:iam::123456789012:user/carol"
    return invoked(bearing("")(exchange), userId="AIDAMADEUP", userArn=arn)


ASKED: Final = {"type": "tool-ask_user", "toolCallId": "toolu_ask", "input": {"question": "Why?"}}
ANSWERED: Final = {**ASKED, "state": "output-available", "output": "Because."}

VISITS: Final = (
    Visit(
        server="openai",
        caller=bearing(""),
        names=("thought aloud",),
        written=(
            message_in("thought aloud", "Think", thinks("A ", "sum.", then="Let me see.")),
            message_in("thought aloud", "Work it out", calls(SUM), says("Forty-two.")),
        ),
        reply=says("So."),
    ),
    Visit(
        server="bedrock",
        caller=bearing(f"Bearer {token('valid')}"),
        names=("signed",),
        written=(message_in("signed", "Work it out", bedrock_calls(*SUM), bedrock_says("Forty-two.")),),
        reply=bedrock_says("So."),
    ),
    Visit(
        server="iam",
        caller=signed,
        names=("invoked",),
        written=(message_in("invoked", "Who am I?", anthropic_says("You are known.")),),
        reply=anthropic_says("So."),
    ),
    Visit(
        server="anthropic",
        caller=bearing(ALICE["authorization"]),
        names=("plain", "tools", "images", "broken off", "stopped", "rewound", "by the SDK", WAITING, "large", LEFT),
        written=(
            message_in("plain", "A plain question", anthropic_says("A plain ", "answer."), message="u1"),
            message_in("plain", "And another 😀", anthropic_says('With "quotes" \\ and é.')),
            message_in(
                "tools", "Work it out", anthropic_calls(SUM, SHOP, thinks=True), anthropic_says("42, and closed.")
            ),
            message_in("images", IMAGES, anthropic_says("Two pictures.")),
            message_in("broken off", "Tell me", anthropic(*HALF)),
            message_in(
                "stopped", "Go on", HELD, wait_for=b"It goes", meanwhile=(get("/chat/stopped/stop", method="POST"),)
            ),
            message_in("rewound", "One", anthropic_says("Once."), message="u1"),
            message_in("rewound", "Two", anthropic_calls(SUM), anthropic_says("Twice."), message="u2"),
            message_in("rewound", "Two!", anthropic_says("Twice again."), message="u2"),
            ui("by the SDK", [says_in_ui("One")], anthropic_calls(SUM, thinks=True), anthropic_says("Once.")),
            ui("by the SDK", [says_in_ui("Two")], anthropic_says("Twice.")),
            ui(WAITING, [says_in_ui("Why?")], anthropic_calls(SUM, ASK), tools=TOOLS),
            message_in("large", "é" * 176_000, anthropic_says("Long.")),
        ),
        reply=anthropic_says("So."),
    ),
    Visit(
        server="anthropic",
        caller=bearing(BOB),
        names=("plain", ODD),
        written=(
            message_in("plain", "His own question", anthropic_says("His own answer.")),
            message_in(ODD, LONG, anthropic_says("So.")),
        ),
        reply=anthropic_says("So."),
    ),
)


def written(server: str) -> tuple[Exchange, ...]:
    """All requests that store something through a server; the last server's last one is left running."""
    left = [message_in(LEFT, "Stay", HELD)] if server == list(SERVERS)[-1] else []
    return (*(visit.caller(exchange) for visit in _visits(server) for exchange in visit.written), *left)


def shown(server: str) -> Iterator[Exchange]:
    """The requests that list and show them to each caller."""
    for visit in _visits(server):
        for path in ("/conversations", *map(_path, visit.names)):
            yield visit.caller(get(path))


def continued(server: str) -> Iterator[Exchange]:
    """The requests that continue, show and delete each."""
    for visit in _visits(server):
        for name in visit.names:
            yield visit.caller(_more(name, visit.reply))
            yield visit.caller(get(_path(name)))
            yield visit.caller(get(_path(name), method="DELETE"))
        yield visit.caller(get("/conversations"))


def _visits(server: str) -> Iterator[Visit]:
    return (visit for visit in VISITS if visit.server == server)


def _more(name: str, reply: Answer) -> Exchange:
    if name == WAITING:
        answer = {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, ANSWERED]}
        return ui(name, [says_in_ui("Why?"), answer], reply, tools=TOOLS)
    return message_in(name, "And now?", reply)


def _path(name: str) -> str:
    return f"/conversations/{quote(name, safe='')}"
