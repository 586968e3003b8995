"""Cases of AG-UI alone: the page's own tools, its context, reasoning in separate messages."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Case, Exchange, post
from tests.recorded.provider_responses import calls, says

__all__ = ["CASES"]

TOOL: Final = {
    "name": "paint",
    "description": "Paint the page.",
    "parameters": {"type": "object", "properties": {"colour": {"type": "string"}}},
}
USER: Final = {"id": "u1", "role": "user", "content": "Well?"}
ASKED: Final = {"id": "call_1", "type": "function", "function": {"name": "paint", "arguments": '{"colour":"red"}'}}
FAILED: Final = {"winterbourne": {"status": "failed", "durationMs": 3}}
IMAGES: Final = [
    {"type": "text", "text": "What is this?"},
    {"type": "image", "source": {"type": "data", "mimeType": "image/png", "value": "iVBORw0KGgo="}},
    {"type": "image", "source": {"type": "url", "value": "https://example.com/a.png"}},
    {"type": "binary", "mimeType": "image/png", "data": "iVBORw0KGgo="},
]
HISTORY: Final[list[dict[str, Any]]] = [
    {"id": "d1", "role": "developer", "content": "Answer in verse."},
    USER,
    {"id": "r1", "role": "reasoning", "content": "A colour.", "encryptedValue": '{"signature":"c2lnbmVk"}'},
    {"id": "a1", "role": "assistant", "content": "Let me see.", "toolCalls": [ASKED]},
    {"id": "t1", "role": "tool", "toolCallId": "call_1", "content": '{"error":"No paint."}', "metadata": FAILED},
    {"id": "x1", "role": "activity", "activityType": "plan", "content": {}},
    {"id": "u2", "role": "user", "content": "And now?"},
]


def run(messages: list[dict[str, Any]], *answers: Answer, **options: Any) -> Exchange:
    body = {"threadId": "thread-1", "runId": "run-1", "messages": messages, "state": {}, "forwardedProps": {}}
    return post("/agui", {**body, **options}, *(answers or (says("So."),)))


def case(name: str, *exchanges: Exchange) -> Case:
    return Case(group="ag_ui", name=name, exchanges=exchanges)


CASES: Final = [
    case("history", run(HISTORY)),
    case("images", run([{"id": "u1", "role": "user", "content": IMAGES}])),
    case("context", run([USER], context=[{"description": "The page", "value": "Orders"}])),
    case("ids_of_ours", post("/agui", {"messages": [USER]}, says("So."))),
    case(
        "tools_of_the_page",
        run([USER], calls(("call_1", "paint", '{"colour":"red"}')), tools=[TOOL]),
        run(
            [
                USER,
                {"id": "a1", "role": "assistant", "toolCalls": [ASKED]},
                {"id": "t1", "role": "tool", "toolCallId": "call_1", "content": "painted"},
            ],
            tools=[TOOL],
        ),
    ),
]
