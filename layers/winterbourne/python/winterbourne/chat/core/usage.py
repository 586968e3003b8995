"""Estimates the token usage of a model turn that ended before the provider reported it. Pure.

The estimate counts the characters sent to the model and the characters it produced. It keeps the token limit effective:
without it, a caller who stops each answer just before its end would never be charged.
"""

from typing import Final

import msgspec

from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.request_checks import count_chars, images_of

__all__ = ["CHARS_PER_TOKEN", "TOKENS_PER_IMAGE", "estimate_usage"]

CHARS_PER_TOKEN: Final = 4
"""The providers' own rule of thumb, for English; other languages and code have fewer characters per token."""

TOKENS_PER_IMAGE: Final = 1000
"""For each image, whatever its size: providers scale large ones down to about this."""


def estimate_usage(request: ModelRequest, output_chars: int) -> Usage:
    """Estimate the tokens of a request and of the output received so far.

    Args:
        request: What was sent to the provider; its tools count as the JSON they are sent as.
        output_chars: Characters of text, reasoning and tool call arguments.
    """
    tool_chars = len(msgspec.json.encode(request.tools)) if request.tools else 0
    input_chars = len(request.system) + tool_chars + sum(map(count_chars, request.messages))
    image_tokens = len(images_of(request.messages)) * TOKENS_PER_IMAGE
    return Usage(input_chars // CHARS_PER_TOKEN + image_tokens, output_chars // CHARS_PER_TOKEN)
