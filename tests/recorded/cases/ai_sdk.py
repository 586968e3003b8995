"""Cases of the AI SDK's format alone: the frontend's own tools, message parts, continued answers."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Case, Exchange, post
from tests.recorded.provider_responses import calls, says

__all__ = ["CASES"]

TOOLS: Final = {
    "ask_user": {
        "description": "Ask the user.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
    }
}
USER: Final = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Well?"}]}
THOUGHT: Final = {
    "type": "reasoning",
    "text": "A sum.",
    "state": "done",
    "providerMetadata": {"winterbourne": {"signature": "c2lnbmVk"}},
}


def tool(state: str, name: str = "calculate", **more: Any) -> dict[str, Any]:
    call = {"type": "dynamic-tool", "toolName": name, "toolCallId": f"call_{state}", "state": state}
    return {**call, "input": {"expression": "6*7"}, **more}


ANSWER: Final = {
    "id": "a1",
    "role": "assistant",
    "parts": [
        {"type": "step-start"},
        THOUGHT,
        {"type": "text", "text": "Let me see.", "state": "done"},
        tool("output-available", output={"result": 42}),
        tool("output-error", errorText="It broke."),
        tool("output-denied"),
        tool("input-available"),
        {"type": "step-start"},
        {"type": "source-url", "sourceId": "s", "url": "https://example.com/"},
        {"type": "text", "text": "Forty-two.", "state": "done"},
    ],
}
FILES: Final = [
    {"type": "text", "text": "What is this?"},
    {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="},
    {"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"},
    {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,QSBub3RlLg=="},
]
CALLED: Final = {
    "type": "tool-ask_user",
    "toolCallId": "call_1",
    "state": "output-available",
    "input": {"question": "Why?"},
    "output": "Because.",
}


def chat(messages: list[dict[str, Any]], *answers: Answer, **options: Any) -> Exchange:
    return post("/api/chat", {"messages": messages, **options}, *(answers or (says("So."),)))


def case(name: str, *exchanges: Exchange) -> Case:
    return Case(group="ai_sdk", name=name, exchanges=exchanges)


CASES: Final = [
    case("history", chat([USER, ANSWER, {**USER, "id": "u2"}])),
    case("files", chat([{"id": "u1", "role": "user", "parts": FILES}])),
    case("options", chat([USER], id="mine", system="Be kind.", temperature=0.5, maxTokens=50, model="large")),
    case(
        "tools_of_the_frontend",
        chat([USER], calls(("call_1", "ask_user", '{"question":"Why?"}')), tools=TOOLS),
        chat([USER, {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, CALLED]}], tools=TOOLS),
    ),
    case(
        "tools_of_both_sides",
        chat(
            [USER],
            calls(("call_1", "ask_user", '{"question":"Why?"}'), ("call_2", "calculate", '{"expression":"2"}')),
            tools=TOOLS,
        ),
    ),
]
