"""What a model takes and can do: so that a request for more is refused, or helped, before the model is asked."""

from typing import Final

import msgspec

from winterbourne.chat.core.messages import ReasoningEffort

__all__ = ["BASIC_OPTIONS", "Capabilities"]

BASIC_OPTIONS: Final = frozenset({"temperature", "max_tokens"})
"""The options that every provider has."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one model takes.

    Attributes:
        options: The names of the `ModelOptions` that it has. Those that are not among them are rejected with 400, but
            for `reasoning` and `output`, which have fields of their own here.
        not_while_thinking: The names of those that it does not take while it thinks.
        thinks: Whether it thinks unless it is told otherwise.
        max_temperature: The highest temperature that it takes.
        one_sampler: Whether it takes a temperature or a `top_p`, not both.
        blank_stop: Whether a text at which it stops may be blank.
        tools: Whether it can call tools; else it is offered none.
        system: Whether it takes a system prompt; else that is the beginning of the first question.
        images: Whether it takes images.
        image_urls: Whether it takes them by URL, too.
        documents: The media types of documents that it takes as they are. Text of other types is sent as text.
        document_urls: Whether it takes PDFs by URL, too.
        document_bytes: How large a document may be; 0 for no limit but the request's.
        reasoning: The levels that it has; empty for a model that does not think, None if that is not known.
        schema: Whether it keeps to a JSON schema itself; else its answer is validated, and mended once.
        citations: Whether it can cite the documents it is given.
        cache: What of a request may be marked for its prompt cache: `tools`, `system`, `messages`; `answers` where
            marks follow text alone, and so that of the model too; `1h` where an entry may live for an hour; `key`
            where a key may name the conversation instead.
        window: Tokens that fit into one request and its answer together.
        compacts: Whether its provider summarises a conversation itself before it is too long.
    """

    options: frozenset[str] = BASIC_OPTIONS
    not_while_thinking: frozenset[str] = frozenset()
    thinks: bool = False
    max_temperature: float = 2.0
    one_sampler: bool = False
    blank_stop: bool = True
    tools: bool = True
    system: bool = True
    images: bool = True
    image_urls: bool = False
    documents: frozenset[str] = frozenset()
    document_urls: bool = False
    document_bytes: int = 0
    reasoning: tuple[ReasoningEffort, ...] | None = ()
    schema: bool = False
    citations: bool = False
    cache: frozenset[str] = frozenset()
    window: int = 128_000
    compacts: bool = False
