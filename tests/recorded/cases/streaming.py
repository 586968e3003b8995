"""Streaming without buffering: the provider sends a piece only after the client has received the previous one."""

from collections.abc import Mapping
from typing import Any, Final

from tests.recorded.cases.formats import FORMATS, FORMATS_WITH_TOOL_EVENTS, question
from tests.recorded.cases.openai import TOOL
from tests.recorded.cases.providers import anthropic_says, bedrock_says
from tests.recorded.exchange import Answer, Case, Piece, post
from tests.recorded.provider_responses import anthropic, bedrock, chunk, stream

__all__ = ["CASES"]

FORMATS_WITH_ARGUMENT_DELTAS: Final = ("ai_sdk", "ag_ui")
RESULT: Final = {"native": b'"completed"', "ai_sdk": b"tool-output-available", "ag_ui": b"TOOL_CALL_RESULT"}
BEGIN: Final = anthropic({"type": "message_start", "message": {"usage": {"input_tokens": 10}}}).body
TEXT: Final = {"type": "text", "text": ""}
THINKING: Final = {"type": "thinking", "thinking": "", "signature": ""}
EXACT: Final = {"type": "tool_use", "id": "toolu_1", "name": "exact", "input": {}}


def opened(number: int, block: Mapping[str, Any]) -> bytes:
    return anthropic({"type": "content_block_start", "index": number, "content_block": block}).body


def delta(number: int, **said: str) -> bytes:
    kind = next(name for name in said)
    kinds = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}
    told = {"type": kinds.get(kind, "signature_delta"), **said}
    return anthropic({"type": "content_block_delta", "index": number, "delta": told}).body


def closed(number: int) -> bytes:
    return anthropic({"type": "content_block_stop", "index": number}).body


def ended(reason: str) -> Piece:
    end = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 12}}
    return Piece(anthropic(end, {"type": "message_stop"}).body)


def piece_maker(form: str, *of: str) -> Any:
    """Makes pieces that the client receives only in these formats, or in all that stream."""
    forms = of or tuple(name for name in FORMATS if name != "openai_whole")
    return lambda body, means: Piece(body, means if form in forms else b"")


def text(form: str) -> tuple[Answer, ...]:
    piece = piece_maker(form)
    first = piece(BEGIN + opened(0, TEXT) + delta(0, text="One "), b"One")
    others = piece(delta(0, text="two "), b"two"), piece(delta(0, text="three."), b"three")
    return (Answer(pieces=(first, *others, Piece(closed(0)), ended("end_turn"))),)


def reasoning(form: str) -> tuple[Answer, ...]:
    piece = piece_maker(form)
    answer = closed(0) + opened(1, TEXT) + delta(1, text="Four.")
    pieces = (
        piece(BEGIN + opened(0, THINKING) + delta(0, thinking="Let me "), b"Let me"),
        piece(delta(0, thinking="think."), b"think."),
        piece(delta(0, signature="c2lnbmVk") + answer, b"Four."),
        piece(delta(1, text=" Or five."), b"five"),
        ended("end_turn"),
    )
    return (Answer(pieces=pieces),)


def arguments(form: str) -> tuple[Answer, ...]:
    """The last piece of the arguments starts the tool."""
    argument = piece_maker(form, *FORMATS_WITH_ARGUMENT_DELTAS)
    pieces = (
        piece_maker(form)(BEGIN + opened(0, TEXT) + delta(0, text="Let me see."), b"see"),
        argument(closed(0) + opened(1, EXACT), b"exact"),
        argument(delta(1, partial_json='{"word":"alpha'), b"alpha"),
        argument(delta(1, partial_json=" beta "), b"beta"),
        piece_maker(form, *FORMATS_WITH_TOOL_EVENTS)(delta(1, partial_json='gamma"}'), RESULT.get(form, b"")),
        Piece(closed(1)),
        ended("tool_use"),
    )
    return Answer(pieces=pieces), anthropic_says("Done.")


def while_it_talks(form: str) -> tuple[Answer, ...]:
    """The tool has ended when the model continues its turn."""
    tool = closed(0) + opened(1, EXACT) + delta(1, partial_json='{"word":"tarn"}') + closed(1)
    pieces = (
        piece_maker(form)(BEGIN + opened(0, TEXT) + delta(0, text="Before."), b"Before"),
        piece_maker(form, *FORMATS_WITH_TOOL_EVENTS)(tool, RESULT.get(form, b"")),
        piece_maker(form)(opened(2, TEXT) + delta(2, text=" After."), b"After"),
        Piece(closed(2)),
        ended("tool_use"),
    )
    return Answer(pieces=pieces), anthropic_says("Done.")


SCENES: Final = {
    "text_in_deltas": text,
    "reasoning_in_deltas": reasoning,
    "arguments_in_deltas": arguments,
    "tool_that_ends_while_the_model_talks": while_it_talks,
}


def fragment(**said: Any) -> bytes:
    return chunk({"tool_calls": [{"index": 0, **said}]})


OWN_TOOL: Final = (
    Piece(chunk({"content": "Let me see."}), b"see"),
    Piece(fragment(id="call_1", type="function", function={"name": "look_up", "arguments": ""}), b"look_up"),
    Piece(fragment(function={"arguments": '{"word":"alpha'}), b"alpha"),
    Piece(fragment(function={"arguments": " beta"}), b"beta"),
    Piece(fragment(function={"arguments": '"}'}) + stream(finish="tool_calls").body),
)
DELTAS: Final = {
    "openai": (*(chunk({"content": word}) for word in ("One ", "zwei é😀 ", "three.")), stream().body),
    "anthropic": (
        BEGIN + opened(0, TEXT) + delta(0, text="One "),
        delta(0, text="zwei é😀 "),
        delta(0, text="three."),
        closed(0) + ended("end_turn").body,
    ),
}


def halves(*deltas: bytes) -> tuple[Piece, ...]:
    """The second delta comes in two halves, split within a character of four bytes."""
    first, second, third, rest = deltas
    at = second.index("😀".encode()) + 2
    return (
        Piece(first, b"One"),
        Piece(second[:at]),
        Piece(second[at:], b"zwei"),
        Piece(third, b"three"),
        Piece(rest),
    )


def frames(body: bytes) -> list[bytes]:
    """The messages of a binary event stream, each of which begins with its length."""
    found = []
    while body:
        length = int.from_bytes(body[:4], "big")
        found.append(body[:length])
        body = body[length:]
    return found


def of_bedrock() -> tuple[bytes, ...]:
    start, one, two, three, *rest = frames(bedrock_says("One ", "zwei é😀 ", "three.").body)
    return start + one, two, three, b"".join(rest)


def vendor(name: str, pieces: tuple[Piece, ...]) -> Case:
    answer = Answer(pieces=pieces, headers=bedrock().headers if name == "bedrock" else Answer().headers)
    return Case(
        group=name,
        name="deltas_cut_in_half",
        server=f"{name}_at_once",
        exchanges=(question("native", "Well?", answer),),
    )


CASES: Final = [
    *(
        Case(group=form, name=name, server="anthropic_at_once", exchanges=(question(form, "Well?", *scene(form)),))
        for form in FORMATS
        for name, scene in SCENES.items()
    ),
    *(vendor(name, halves(*deltas)) for name, deltas in DELTAS.items()),
    vendor("bedrock", halves(*of_bedrock())),
    Case(
        group="openai",
        name="arguments_for_the_caller_in_deltas",
        server="openai_at_once",
        exchanges=(
            post(
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": "Well?"}], "tools": [TOOL], "stream": True},
                Answer(pieces=OWN_TOOL),
            ),
        ),
    ),
]
