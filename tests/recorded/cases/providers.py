"""Cases of Anthropic and Bedrock: signed and redacted reasoning, tools, images, refusals of the model."""

from collections.abc import Mapping
from typing import Any, Final

from tests.recorded.cases.formats import FORMATS, question
from tests.recorded.cases.native import HISTORY, IMAGES
from tests.recorded.exchange import Answer, Case, Exchange, post
from tests.recorded.provider_responses import anthropic, bedrock, document, says

__all__ = ["CASES", "THINKS", "anthropic_calls", "anthropic_says"]

Event = Mapping[str, Any]
SUM: Final = ("toolu_sum", "calculate", '{"expression":"6*7"}')


def _message(*events: Event, stop: str) -> Answer:
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "usage": usage}}
    end = {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 12}}
    return anthropic(start, *events, end, {"type": "message_stop"})


def _block(number: int, block: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": number, "content_block": block},
        *({"type": "content_block_delta", "index": number, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": number},
    ]


def _text(number: int, *pieces: str) -> list[Event]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return _block(number, {"type": "text", "text": ""}, *deltas)


def _use(number: int, call_id: str, name: str, arguments: str) -> list[Event]:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return _block(number, block, {"type": "input_json_delta", "partial_json": arguments})


THINKS: Final = [
    *_block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "A "},
        {"type": "thinking_delta", "thinking": "sum."},
        {"type": "signature_delta", "signature": "c2lnbmVk"},
    ),
    *_block(1, {"type": "redacted_thinking", "data": "b3BhcXVl"}),
]


def anthropic_says(*pieces: str, stop: str = "end_turn") -> Answer:
    """Anthropic sends a text in these pieces."""
    return _message(*_text(0, *pieces), stop=stop)


def anthropic_calls(*calls: tuple[str, str, str], thinks: bool = False) -> Answer:
    """Anthropic calls tools, with or without reasoning before them."""
    thoughts = THINKS if thinks else []
    return _message(*thoughts, *(e for n, call in enumerate(calls, 2) for e in _use(n, *call)), stop="tool_use")


def _converse(*events: tuple[str, Event], stop: str) -> Answer:
    usage = {"inputTokens": 10, "outputTokens": 12, "totalTokens": 22, "cacheReadInputTokens": 5}
    end = ("messageStop", {"stopReason": stop})
    return bedrock(("messageStart", {"role": "assistant"}), *events, end, ("metadata", {"usage": usage}))


def _delta(number: int, delta: Event) -> tuple[str, Event]:
    return "contentBlockDelta", {"contentBlockIndex": number, "delta": delta}


def _end(number: int) -> tuple[str, Event]:
    return "contentBlockStop", {"contentBlockIndex": number}


def bedrock_says(*pieces: str, stop: str = "end_turn") -> Answer:
    """Bedrock sends a text in these pieces."""
    return _converse(*(_delta(0, {"text": piece}) for piece in pieces), _end(0), stop=stop)


def bedrock_calls(call_id: str, name: str, arguments: str) -> Answer:
    """Bedrock sends reasoning, and calls a tool."""
    use = {"start": {"toolUse": {"toolUseId": call_id, "name": name}}, "contentBlockIndex": 2}
    return _converse(
        _delta(0, {"reasoningContent": {"text": "A sum."}}),
        _delta(0, {"reasoningContent": {"signature": "c2lnbmVk"}}),
        _end(0),
        _delta(1, {"reasoningContent": {"redactedContent": "b3BhcXVl"}}),
        _end(1),
        ("contentBlockStart", use),
        _delta(2, {"toolUse": {"input": arguments}}),
        _end(2),
        stop="tool_use",
    )


def _in_every_format(server: str, name: str, *answers: Answer) -> Case:
    """One question in every format."""
    return Case(
        group=server, name=name, server=server, exchanges=tuple(question(f, "Well?", *answers) for f in FORMATS)
    )


def _native(server: str, name: str, messages: object, *answers: Answer, **options: Any) -> Case:
    exchange: Exchange = post("/chat", {"messages": messages, **options}, *answers)
    return Case(group=server, name=name, server=server, exchanges=(exchange,))


USER: Final = [{"role": "user", "content": "Well?"}]
PICTURE: Final = [{"role": "user", "content": IMAGES[:2]}]
CUT: Final = anthropic({"type": "message_start", "message": {"usage": {"input_tokens": 10}}}, *_text(0, "Half of it"))
OVERLOADED: Final = anthropic({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
DENIED: Final = {"type": "error", "error": {"type": "permission_error", "message": "not for made-up"}}

CASES: Final = [
    *(
        Case(
            group=server,
            name="tools_as_it_is_told",
            server=server,
            exchanges=(question("native", "Well?", answer, shows_tools=True),),
        )
        for server, answer in (
            ("openai", says("So.")),
            ("anthropic", anthropic_says("So.")),
            ("bedrock", bedrock_says("So.")),
        )
    ),
    _in_every_format(
        "anthropic", "reasoning_and_a_tool", anthropic_calls(SUM, thinks=True), anthropic_says("Forty-", "two.")
    ),
    _in_every_format("anthropic", "refusal", anthropic_says("I would", stop="refusal")),
    _native("anthropic", "history", HISTORY, anthropic_says("So.")),
    _native("anthropic", "images", [{"role": "user", "content": IMAGES}], anthropic_says("So.")),
    _native("anthropic", "max_tokens", USER, anthropic_says("As long", stop="max_tokens"), max_tokens=50),
    _native("anthropic", "pause", USER, anthropic_says("Wait. ", stop="pause_turn"), anthropic_says("So.")),
    _native("anthropic", "stream_without_an_end", USER, CUT),
    _native("anthropic", "overloaded_first", USER, OVERLOADED, anthropic_says("So.")),
    _native("anthropic", "provider_refuses", USER, document(403, DENIED)),
    _native("anthropic", "tool_choice_none", USER, anthropic_says("So."), tool_choice="none"),
    _in_every_format("bedrock", "reasoning_and_a_tool", bedrock_calls(*SUM), bedrock_says("Forty-", "two.")),
    _native("bedrock", "history", HISTORY, bedrock_says("So.")),
    _native("bedrock", "images", PICTURE, bedrock_says("So.")),
    _native("bedrock", "image_by_its_url", [{"role": "user", "content": IMAGES}]),
    _native("bedrock", "guardrail", USER, bedrock_says("I would", stop="guardrail_intervened")),
    _native("bedrock", "tool_choice_none", USER, bedrock_says("So."), tool_choice="none"),
    _native(
        "bedrock",
        "error_in_the_stream",
        USER,
        bedrock(_delta(0, {"text": "Half"}), ("!modelStreamErrorException", {"message": "The model broke."})),
    ),
]
