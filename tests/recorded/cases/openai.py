"""Cases of OpenAI's format alone: the caller's own tools, streamed and not, and options that are ignored."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Case, Exchange, post
from tests.recorded.provider_responses import calls, says

__all__ = ["CASES"]

TOOL: Final = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
USER: Final = {"role": "user", "content": "Well?"}
ASKED: Final = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word":"tarn"}'}}
LOOKS_UP: Final = ("call_1", "look_up", '{"word":"tarn"}')
HISTORY: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": [{"type": "text", "text": "Answer in verse."}]},
    USER,
    {"role": "assistant", "content": "Let me see.", "reasoning_content": "A word.", "tool_calls": [ASKED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "a small lake"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]},
    {"role": "user", "content": "And now?"},
]
IMAGES: Final = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
]


def complete(messages: list[dict[str, Any]], *answers: Answer, **options: Any) -> Exchange:
    return post("/v1/chat/completions", {"messages": messages, **options}, *(answers or (says("So."),)))


def case(name: str, *exchanges: Exchange) -> Case:
    return Case(group="openai", name=name, exchanges=exchanges)


CASES: Final = [
    case("history", complete(HISTORY)),
    case("images", complete([{"role": "user", "content": IMAGES}])),
    case("options", complete([USER], model="large", temperature=0.5, max_completion_tokens=50, user="u")),
    case("without_usage", complete([USER], stream=True)),
    case(
        "tools_of_the_caller",
        complete([USER], calls(LOOKS_UP, text="Let me see."), tools=[TOOL], stream=True),
        complete([USER], calls(LOOKS_UP, text="Let me see."), tools=[TOOL]),
        complete([USER, *HISTORY[2:4]], tools=[TOOL]),
    ),
    case("tool_choice_none", complete([USER], tools=[TOOL], tool_choice="none")),
    case("tool_choice_required", complete([USER], calls(LOOKS_UP), tools=[TOOL], tool_choice="required")),
    case(
        "tool_choice_named",
        complete(
            [USER],
            calls(LOOKS_UP),
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "look_up"}},
        ),
    ),
    case(
        "options_that_are_refused",
        complete([USER], n=2),
        complete([USER], response_format={"type": "json_object"}),
        complete([USER], tool_choice={"type": "function", "function": {"name": "divine"}}),
        complete([USER], max_tokens=100_000),
        complete([USER], model="enormous"),
    ),
]
