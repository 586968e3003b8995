"""Estimates token usage where the provider reports none, and before a request is sent. Pure.

The estimate keeps the token limit and the spending alarm effective: some servers report no usage, or a part of it, and
a caller who stops each answer just before its end would otherwise never be charged.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Source,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["TOKENS_PER_IMAGE", "complete_usage", "estimate_input", "estimate_tokens"]

TOKENS_PER_IMAGE: Final = 1000
"""For each image, whatever its size: providers scale large ones down to about this."""

CHARS_PER_DOCUMENT_TOKEN: Final = 20
"""Of a document's base64: a PDF of 50 KB has some 3,000 tokens, text about as many as 5 characters of base64."""

MIN_TOKENS_PER_DOCUMENT: Final = 1000

TOKENS_PER_MESSAGE: Final = 4
"""A role and two delimiters, for the system prompt too."""

UNITS_PER_TOKEN: Final = 20

# First byte, last byte, units: what a character adds, by the first byte of its UTF-8. Fitted to the tokenizers of
# OpenAI and Anthropic over prose, code and JSON, and to the examples in the providers' documentation; where they differ
# (CJK: 0.6 to 1.2 tokens per character), nearer to the newer ones.
_UNITS: Final = """
    00 7F  12  punctuation, and what is not named below
    09 09   1  tab
    0A 0A   7  newline
    20 20   2  space: part of the word that follows
    22 22   5  quotation marks merge with what is beside them
    30 39  12  digits
    41 5A   8  upper case
    61 7A   5  lower case
    C2 DF  20  Latin letters with accents
    CE CF  11  Greek
    D0 D4   8  Cyrillic
    D6 D7  11  Hebrew
    D8 DB  10  Arabic
    E0 E0  11  Indic scripts, Thai
    E1 E2  20  Vietnamese letters, typographic signs
    E3 E3  17  kana
    E4 E9  14  CJK ideographs
    EA ED  14  Hangul
    EE EF  18  full-width forms
    F0 F4  40  emoji
"""


def _units_by_byte() -> bytes:
    table = bytearray(256)  # the other bytes of a character add nothing
    for first, last, units, *_ in (line.split() for line in _UNITS.strip().splitlines()):
        for byte in range(int(first, 16), int(last, 16) + 1):
            table[byte] = int(units)
    return bytes(table)


_UNITS_BY_BYTE: Final = _units_by_byte()


def estimate_tokens(text: str) -> int:
    """The tokens of a text, rounded up: within a quarter of what the providers' documentation gives for its examples.

    Text without words (base64, long identifiers) has up to twice as many.
    """
    return math.ceil(sum(text.encode("utf-8", "replace").translate(_UNITS_BY_BYTE)) / UNITS_PER_TOKEN)


def estimate_input(request: ModelRequest) -> int:
    """The tokens of what is sent to a provider; tools count as three quarters of their JSON, as OpenAI shortens it."""
    texts = "".join((request.system, *(text for message in request.messages for text in _texts(message))))
    tools = msgspec.json.encode(request.tools).decode() if request.tools else ""
    overhead = TOKENS_PER_MESSAGE * (len(request.messages) + bool(request.system))
    users = (message for message in request.messages if isinstance(message, UserMessage))
    files = sum(_file_tokens(part) for message in users for part in message.parts)
    return estimate_tokens(texts) + estimate_tokens(tools) * 3 // 4 + overhead + files


def complete_usage(reported: Usage, request: ModelRequest, output: Iterable[str]) -> Usage:
    """The usage that the provider reported, with an estimate of what it left out: all of it, or the input or output.

    Args:
        reported: Zeros for what was not reported.
        request: What was sent to the provider.
        output: What has been received: text, reasoning and tool call arguments.
    """
    return msgspec.structs.replace(
        reported,
        input=reported.input or estimate_input(request),
        output=reported.output or estimate_tokens("".join(output)),
    )


def _file_tokens(part: UserPart) -> int:
    if isinstance(part, Document):
        return max(len(part.data) // CHARS_PER_DOCUMENT_TOKEN, MIN_TOKENS_PER_DOCUMENT)
    return TOKENS_PER_IMAGE if isinstance(part, Image) else 0


def _texts(message: Message) -> Iterator[str]:
    match message:
        case UserMessage(parts) | AssistantMessage(parts):
            for part in parts:
                if isinstance(part, ToolCall):
                    yield from (part.name, part.arguments)
                elif not isinstance(part, Image | Document | Source):
                    yield part.text
        case ToolMessage(content=text):
            yield text
        case _:
            yield message.text
