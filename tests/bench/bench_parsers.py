"""Stream parsers on their own: the cost per token in each format, and the import time of each provider."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench.figure import Figure, environment, paired
from tests.bench.models.provider import TOKENS, WORDS, token
from tests.transcripts import event_stream_message
from winterbourne.chat.providers.anthropic import AnthropicParser
from winterbourne.chat.providers.bedrock import BedrockParser
from winterbourne.chat.providers.openai import OpenAIParser
from winterbourne.chat.providers.openai_responses import ResponsesParser
from winterbourne.chat.providers.stream_parser import StreamParser

ENGINE = Path(__file__).parents[2] / "layers" / "winterbourne" / "python"
READ_BYTES = 1460  # one packet, some six tokens
SDKS = ("openai==3.54.0", "anthropic==2.12.0", "boto3==1.43.108")


def figures() -> Iterable[Figure]:
    """Per token for each format, then the imports."""
    for name, parser, stream in (
        ("OpenAI", OpenAIParser, _openai()),
        ("Anthropic", AnthropicParser, _anthropic()),
        ("Bedrock", BedrockParser, _bedrock()),
    ):
        yield _parsing(name, parser, stream)
    yield _responses_beside_chat()
    for provider, sdk in (("openai", "openai"), ("anthropic", "anthropic"), ("bedrock", "boto3")):
        yield _importing(provider, sdk)


def _parsing(name: str, parser: Callable[[], StreamParser[Any]], stream: bytes) -> Figure:
    events = [part.partition(b"data: ")[2] for part in stream.split(b"\n\n") if b"data: {" in part]

    def bare() -> None:
        for event in events:
            orjson.loads(event)

    parsing, loading, ratio = paired(_feeding(parser, stream), bare)
    return Figure(
        name=f"{name}'s bytes to events, per token",
        ours=f"{parsing / TOKENS * 1e6:.2f} µs",
        beside=f"orjson.loads alone {loading / TOKENS * 1e6:.2f} µs" if events else "",
        ratio=ratio if events else None,
    )


def _feeding(parser: Callable[[], StreamParser[Any]], stream: bytes) -> Callable[[], None]:
    """Parses the stream, a packet at a time."""
    reads = [stream[at : at + READ_BYTES] for at in range(0, len(stream), READ_BYTES)]

    def feed_all() -> None:
        feed = parser().feed
        for read in reads:
            feed(read)

    return feed_all


def _responses_beside_chat() -> Figure:
    """OpenAI's newer API beside its older one; both have the same tokens."""
    new, old, ratio = paired(_feeding(ResponsesParser, _responses()), _feeding(OpenAIParser, _openai()), rounds=15)
    return Figure(
        name="Responses' bytes to events, per token",
        ours=f"{new / TOKENS * 1e6:.2f} µs",
        beside=f"Chat Completions {old / TOKENS * 1e6:.2f} µs",
        ratio=ratio,
        bar="at most 1.20 of Chat Completions",
        met=ratio <= 1.2,
    )


def _responses() -> bytes:
    where = {"item_id": "msg_67ccd3acc8d48190a77525dc6de64b4104becb25c45c1d41", "output_index": 1, "content_index": 0}
    kind = "response.output_text.delta"
    events = (
        {"type": kind, **where, "delta": text, "logprobs": [], "obfuscation": "aB3xY9kQw2Lm", "sequence_number": at}
        for at, text in enumerate(_words())
    )
    return "".join(f"event: {kind}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def _openai() -> bytes:
    chunks = b"".join(token(WORDS[number % len(WORDS)]) for number in range(TOKENS)).split(b"\r\n")
    return b"".join(chunks[1::2])


def _anthropic() -> bytes:
    delta = {"type": "content_block_delta", "index": 0}
    events = (json.dumps({**delta, "delta": {"type": "text_delta", "text": text}}) for text in _words())
    return "".join(f"event: content_block_delta\ndata: {event}\n\n" for event in events).encode()


def _bedrock() -> bytes:
    deltas = ({"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcdefgh"} for text in _words())
    return b"".join(event_stream_message("contentBlockDelta", delta) for delta in deltas)


def _words() -> Iterator[str]:
    return (WORDS[number % len(WORDS)] for number in range(TOKENS))


def _importing(provider: str, sdk: str) -> Figure:
    ours, theirs = (
        statistics.median([_start_s(python, code) for _ in range(6)][1:])  # the first one compiles
        for python, code in (
            (Path(sys.executable), f"import winterbourne.chat.providers.{provider}"),
            (environment("sdks", SDKS), _first_client(sdk)),
        )
    )
    return Figure(
        name=f"start of Python with the provider {provider}",
        ours=f"{ours * 1e3:.0f} ms",
        beside=f"with {sdk} {theirs * 1e3:.0f} ms",
        ratio=ours / theirs,
    )


def _first_client(sdk: str) -> str:
    """boto3 does most of its work when it makes a client."""
    return "import boto3; boto3.client('bedrock-runtime', 'us-east-1')" if sdk == "boto3" else f"import {sdk}"


def _start_s(python: Path, code: str) -> float:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, env={**environ, "PYTHONPATH": str(ENGINE)})
    return time.perf_counter() - begun
