"""Where a request is marked for its provider's prompt cache, so that the next ones read what they repeat. Pure.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
Marked are the tools, the system prompt of the settings, the end of the history and, because a mark finds an older entry
only some twenty blocks before it, what was the end in the request before: four, the most that there may be. In a prompt
that is shorter than the model's minimum, marks do nothing.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, TypeAlias

from winterbourne.chat.core.messages import UserMessage, VolatilePart
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["cache_key", "mark_prompt", "split_system"]

Blocks: TypeAlias = list[dict[str, Any]]
Mark: TypeAlias = Callable[[Blocks, int], None]
"""Marks the end of the block at an index."""

_RESULTS: Final = frozenset({"tool_result", "toolResult"})


def mark_prompt(
    request: ModelRequest,
    prompt: tuple[Blocks, Blocks, Sequence[dict[str, Any]]],
    places: Collection[str],
    mark: Mark,
    kinds: Collection[str],
) -> None:
    """Mark what the next requests of a conversation begin with.

    Args:
        request: What was encoded.
        prompt: The tools, the blocks of the system prompt as `split_system` parts them, and the messages; changed.
        places: What of it may be marked.
        mark: Does so.
        kinds: The kinds of blocks that may be marked in a message of the user; with `answers`, of the model too.
    """
    tools, system, messages = prompt
    if "tools" in places and tools:
        mark(tools, len(tools) - 1)
    if "system" in places and system:
        mark(system, 0)
    if "messages" in places:
        said = [message for message in messages if message["role"] == "user" or "answers" in places]
        for blocks, at in _ends(said, kinds, _volatile_texts(request)):
            mark(blocks, at)


def split_system(system: str, own: str) -> list[str]:
    """The system prompt: the settings' `own`, which all conversations have, and what a request or a history adds."""
    rest = system.removeprefix(f"{own}\n\n") if own else system
    return [text for text in ([own, rest] if rest != system else [system]) if text.strip()]


def cache_key(conversation_id: str) -> str:
    """A key under which a provider caches a conversation, without telling it the id."""
    return hashlib.sha256(conversation_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _volatile_texts(request: ModelRequest) -> set[str]:
    questions = (message for message in request.messages if isinstance(message, UserMessage))
    return {part.text for question in questions for part in question.parts if isinstance(part, VolatilePart)}


def _ends(
    messages: Sequence[dict[str, Any]], kinds: Collection[str], volatile: Collection[str]
) -> Iterator[tuple[Blocks, int]]:
    """Where the history ends, and where it ended before, as the blocks of a message and the last that may be marked.

    Before a question that is where the question before it ended: of an answer, what was sent need not come back.
    """
    ends = [(message, at) for message in messages if (at := _last(message["content"], kinds, volatile)) >= 0]
    if ends and _asks(ends[-1][0]):
        ends = [end for end in ends if _asks(end[0])]
    yield from ((message["content"], at) for message, at in ends[-2:])


def _last(blocks: Blocks, kinds: Collection[str], volatile: Collection[str]) -> int:
    """The last block that may be marked, or -1."""
    places = (at for at, block in enumerate(blocks) if _kind(block) in kinds and block.get("text") not in volatile)
    return max(places, default=-1)


def _asks(message: dict[str, Any]) -> bool:
    return message["role"] == "user" and any(_kind(block) not in _RESULTS for block in message["content"])


def _kind(block: dict[str, Any]) -> str:
    """Its type at Anthropic, its only field at Bedrock."""
    return str(block.get("type") or next(iter(block)))
