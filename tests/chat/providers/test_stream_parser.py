"""Stream parsers: each transcript gives the same events wherever its bytes are split."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import transcripts
from winterbourne.chat.core.events import ModelEvent, TextDelta, ToolArgumentsDelta
from winterbourne.chat.errors import ModelBusy, ModelGarbled
from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES
from winterbourne.chat.providers.anthropic import AnthropicParser
from winterbourne.chat.providers.bedrock import BedrockParser
from winterbourne.chat.providers.openai import OpenAIParser
from winterbourne.chat.providers.openai_responses import ResponsesParser
from winterbourne.chat.providers.stream_parser import StreamParser

PARSERS: dict[str, Callable[[], StreamParser[Any]]] = {
    "openai": OpenAIParser,
    "openai_responses": ResponsesParser,
    "anthropic": AnthropicParser,
    "bedrock": BedrockParser,
}
ALL = [(provider, name) for provider in PARSERS for name in transcripts.names(provider)]

every_transcript = pytest.mark.parametrize(("provider", "name"), ALL, ids=[f"{p}-{n}" for p, n in ALL])


def parse(provider: str, pieces: Sequence[bytes]) -> list[str]:
    parser = PARSERS[provider]()
    events: list[ModelEvent] = []
    for piece in pieces:
        events += parser.feed(piece)
        if parser.failure or parser.ended:
            break
    else:
        events += parser.close()
    return transcripts.format_events(events, parser.failure)


@every_transcript
def test_a_transcript_gives_its_expected_events(provider: str, name: str) -> None:
    assert parse(provider, [transcripts.wire(provider, name)]) == transcripts.expected(provider, name)


@every_transcript
def test_a_transcript_split_at_any_byte_gives_the_same_events(provider: str, name: str) -> None:
    data, expected = transcripts.wire(provider, name), transcripts.expected(provider, name)
    for at in range(1, len(data)):
        assert parse(provider, [data[:at], data[at:]]) == expected, at


@every_transcript
def test_a_transcript_fed_byte_by_byte_gives_the_same_events(provider: str, name: str) -> None:
    data = transcripts.wire(provider, name)
    assert parse(provider, [data[at : at + 1] for at in range(len(data))]) == transcripts.expected(provider, name)


@every_transcript
def test_one_read_never_gives_adjacent_deltas_that_could_be_merged(provider: str, name: str) -> None:
    events = PARSERS[provider]().feed(transcripts.wire(provider, name))
    for before, after in itertools.pairwise(events):
        assert not (isinstance(before, TextDelta) and isinstance(after, TextDelta))
        assert not (
            isinstance(before, ToolArgumentsDelta) and isinstance(after, ToolArgumentsDelta) and before.id == after.id
        )


@pytest.mark.parametrize("provider", PARSERS)
@given(data=st.binary(max_size=300))
@settings(max_examples=60)
def test_random_bytes_are_a_failure_and_never_an_exception(provider: str, data: bytes) -> None:
    parser = PARSERS[provider]()
    parser.feed(data)
    if not parser.failure and not parser.ended:
        parser.close()
    assert parser.failure or parser.ended


@given(case=st.sampled_from(ALL), noise=st.binary(min_size=1, max_size=8), where=st.floats(0, 1))
@settings(max_examples=300)
def test_a_damaged_transcript_ends_or_fails(case: tuple[str, str], noise: bytes, where: float) -> None:
    provider, name = case
    data = transcripts.wire(provider, name)
    at = int(len(data) * where)
    parser = PARSERS[provider]()
    parser.feed(data[:at] + noise + data[at + len(noise) :])
    if not parser.failure and not parser.ended:
        parser.close()
    assert parser.failure or parser.ended


@pytest.mark.parametrize("depth", [300, 5_000, 200_000])
@pytest.mark.parametrize(
    ("provider", "frame"),
    [
        (
            "openai",
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":%s}}]}}]}',
        ),
        ("openai", '{"choices":[],"error":%s}'),
        ("anthropic", '{"type":"error","error":%s}'),
        ("openai_responses", '{"type":"response.failed","response":{"error":%s}}'),
        (
            "anthropic",
            '{"type":"content_block_start","content_block":{"type":"tool_use","id":"a","name":"f","input":%s}}',
        ),
    ],
)
def test_deep_nesting_gives_events_or_fails(provider: str, frame: str, depth: int) -> None:
    parser = PARSERS[provider]()
    events = parser.feed(b"data: " + (frame % ('{"x":' * depth + "1" + "}" * depth)).encode() + b"\n\n")
    assert parser.failure or events


@pytest.mark.parametrize("depth", [300, 900, 5_000])
def test_deep_nesting_in_a_cut_event_is_a_failure(depth: int) -> None:
    parser = PARSERS["openai"]()
    parser.feed(b'data: {"choices":[],"error":' + b'{"x":' * depth + b"1" + b"}" * depth + b"}")
    parser.close()
    assert parser.failure


@pytest.mark.parametrize("damaged", ["NaN", '"\\ud83d"'])
@pytest.mark.parametrize(
    ("provider", "frame"), [("openai", '{"choices":[],"error":%s}'), ("anthropic", '{"type":"error","error":%s}')]
)
def test_an_error_in_damaged_json_is_a_failure(provider: str, frame: str, damaged: str) -> None:
    parser = PARSERS[provider]()
    error = '{"message":"overloaded","at":%s}' % damaged  # noqa: UP031 - braces
    assert parser.feed(f"data: {frame % error}\n\n".encode()) == []
    assert isinstance(parser.failure, ModelBusy)


@pytest.mark.parametrize("provider", ["openai", "openai_responses", "anthropic"])
def test_an_endless_event_is_a_failure(provider: str) -> None:
    parser = PARSERS[provider]()
    parser.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
    assert isinstance(parser.failure, ModelGarbled)
