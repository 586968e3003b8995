"""Cases of the native format alone: its options, its history, and the endpoints beside the chat."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Case, Exchange, get, post
from tests.recorded.provider_responses import calls, says

__all__ = ["CASES", "PNG"]

PNG: Final = "iVBORw0KGgo="
USER: Final = {"role": "user", "content": "Well?"}

HISTORY: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "Answer in verse."},
    {"role": "user", "content": "Six times seven?", "id": "u1"},
    {
        "role": "assistant",
        "id": "a1",
        "content": [
            {"type": "reasoning", "text": "A sum.", "signature": "c2lnbmVk"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_call", "id": "call_sum", "name": "calculate", "arguments": '{"expression":"6*7"}'},
            {"type": "tool_call", "id": "call_lost", "name": "current_time", "arguments": ""},
        ],
    },
    {"role": "tool", "tool_call_id": "call_sum", "name": "calculate", "content": '{"result":42}'},
    {"role": "assistant", "id": "a2", "content": "Forty-two.", "incomplete": True},
    {"role": "user", "content": "And now?", "id": "u2"},
]

IMAGES: Final = [
    {"type": "text", "text": "What is this?"},
    {"type": "image", "media_type": "image/png", "data": PNG},
    {"type": "image", "media_type": "", "url": "https://example.com/a.png"},
]


def chat(messages: list[dict[str, Any]], *answers: Answer, **options: Any) -> Exchange:
    return post("/chat", {"messages": messages, **options}, *(answers or (says("So."),)))


def case(name: str, *exchanges: Exchange) -> Case:
    return Case(group="native", name=name, exchanges=exchanges)


CASES: Final = [
    case("history", chat(HISTORY)),
    case("images", chat([{"role": "user", "content": IMAGES}])),
    case(
        "options",
        chat([USER], system="Be kind.", temperature=0.5, max_tokens=50, model="large", conversation_id="mine"),
    ),
    case("tool_choice_none", chat([USER], says("I may not."), tool_choice="none")),
    case(
        "tool_called_though_none_may_be",
        chat([USER], calls(("call_1", "calculate", '{"expression":"1"}')), says("I may not."), tool_choice="none"),
    ),
    case(
        "tool_choice_named",
        chat([USER], calls(("call_1", "calculate", '{"expression":"1"}')), says("One."), tool_choice="calculate"),
    ),
    Case(
        group="endpoints",
        name="open_to_all",
        exchanges=(
            get("/", headers={}, shows_body=False),
            get("/", headers={}, method="HEAD"),
            get("/healthz", headers={}),
            get("/readyz", headers={}),
            get("/web/none/app.js", headers={}, shows_body=False),
        ),
    ),
    Case(
        group="endpoints",
        name="of_a_caller",
        exchanges=(
            get("/v1/models"),
            get("/api/chat/mine/stream"),
            get("/conversations/none"),
            get("/conversations/none", method="DELETE"),
            get("/chat/none/stop", method="POST"),
            get("/conversations?limit=0"),
            get("/conversations?after=elsewhere"),
        ),
    ),
]
