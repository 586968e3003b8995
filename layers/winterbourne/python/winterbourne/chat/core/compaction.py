"""Compaction: a history too long for its model, with a summary in place of its oldest turns. Pure.

The history is only cut before a user's question, or, where the newest question alone is too long for its model with all
the calls and results that it has led to, between two of the model's turns. A call and its result never part.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Reasoning,
    Source,
    Summary,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    VolatilePart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.request_checks import OLDER_FILES
from winterbourne.chat.core.usage import estimate_input, estimate_tokens

__all__ = [
    "LEFT_OUT",
    "MAX_SUMMARY_TOKENS",
    "choose_cut",
    "compact",
    "prefix_digests",
    "summarise",
    "summary_request",
]

MAX_SUMMARY_TOKENS: Final = 4096
"""A model that reasons spends some of them on that."""

LEFT_OUT: Final = "(The oldest part of the conversation is left out: it was too long, and could not be summarised.)"
"""What stands in for a summary that could not be had."""

_OPENING: Final = "[A summary of the conversation so far, whose oldest part is not shown any more:]\n\n"
_CLOSING: Final = "\n\n[The end of the summary. What follows was said after that:]\n\n"
_INSTRUCTIONS: Final = """\
Summarise the conversation that follows, so that it can go on without its beginning: what the user wants and has said of
themselves, what was asked, answered and decided, names, numbers and results of tools that may be needed again, and what
is still open. Write in the language of its user, {words} words at most. If it begins with a summary of what was before,
take over what may still matter. Answer with the summary alone, whatever the conversation asks for."""
_MIN_EXCERPT_CHARS: Final = 60


def prefix_digests(messages: Iterable[Message]) -> list[str]:
    """For each message, a digest of what was said and called up to it, whatever else a client sends along with it."""
    digest = hashlib.sha256()
    digests: list[str] = []
    for message in messages:
        digest.update(_said(message))
        digests.append(digest.hexdigest())
    return digests


def _said(message: Message) -> bytes:
    words = [message.content if isinstance(message, ToolMessage) else getattr(message, "text", "")]
    if isinstance(message, UserMessage):
        texts = (part.text for part in message.parts if type(part) is Text)
        words = ["".join(text for text in texts if text not in OLDER_FILES.values())]
    if isinstance(message, AssistantMessage):
        words += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\0".join((type(message).__name__, *words, "")).encode("utf-8", "replace")


def choose_cut(messages: Sequence[Message], room: float, start: int = 0, scale: float = 1.0) -> int:
    """Where to cut a normalized history.

    Args:
        messages: The history.
        room: How many tokens what is kept may have.
        start: How many messages a summary stands for already.
        scale: By what the estimate of a message's tokens is multiplied.

    Returns:
        How many messages to summarise, so that the others fit into the room; the most that can be if they do not;
        `start` if there is nothing more to summarise.
    """
    users = [at for at, message in enumerate(messages) if isinstance(message, UserMessage)]
    question = users[-1] if users else -1
    first = next((at for at, message in enumerate(messages) if not isinstance(message, SystemMessage)), len(messages))
    rounds = (at for at in range(question + 2, len(messages)) if isinstance(messages[at], AssistantMessage))
    places = [at for at in (*users, *rounds) if at > max(start, first)]
    sizes = [scale * estimate_input(ModelRequest(messages=(message,))) for message in messages]
    kept = [*accumulate(reversed(sizes))][::-1]  # from each message on

    def fits(at: int) -> bool:
        return kept[at] + (sizes[question] if at > question >= 0 else 0) <= room

    return next(filter(fits, places), places[-1] if places else start)


def compact(messages: Sequence[Message], cut: int, summary: Summary) -> tuple[Message, ...]:
    """The history with a summary in place of its first messages: at the beginning of the question that follows them.

    That is the user's message there, so that user and model still take turns; cut between two turns of the model, the
    question that they answer. System messages stay.
    """
    bare = cut + summary.bare
    before = messages[:cut]
    kept: list[Message] = [*map(_without_reasoning, messages[cut:bare]), *messages[bare:]]
    first, *others = kept
    question = first if isinstance(first, UserMessage) else None
    asked = question or next((one for one in reversed(before) if isinstance(one, UserMessage)), UserMessage(()))
    opening = msgspec.structs.replace(asked, parts=(Text(f"{_OPENING}{summary.text}{_CLOSING}"), *asked.parts))
    systems = (message for message in before if isinstance(message, SystemMessage))
    return normalize_history((*systems, opening, *((first,) if not question else ()), *others))


def _without_reasoning(message: Message) -> Message:
    if not isinstance(message, AssistantMessage):
        return message
    parts = tuple(part for part in message.parts if not isinstance(part, Reasoning))
    return msgspec.structs.replace(message, parts=parts)


def summarise(messages: Sequence[Message], cut: int, text: str) -> Summary:
    """The summary of the first messages of a history, with what has to be known of the others."""
    question = max((at for at, message in enumerate(messages) if isinstance(message, UserMessage)), default=0)
    return Summary(prefix_digests(messages[:cut])[-1], text, max(0, question - cut))


def summary_request(
    messages: Iterable[Message], before: str, model_id: str, max_tokens: int, room: float, deadline: float
) -> ModelRequest:
    """What a model is asked for a summary.

    Args:
        messages: What is to be summarised. If it is too long for the model, of the longest ones only a part is sent.
        before: The summary of what was before them; empty for none.
        model_id: The model; empty for the provider's own choice.
        max_tokens: The most that it may write.
        room: How many tokens it can be sent.
        deadline: When to give up, on the event loop's clock.
    """
    opening = [f"Summary of what was before: {before}"] if before else []
    texts = [*filter(None, map(_as_text, messages))]
    tokens, room = estimate_tokens("".join(texts)), room - estimate_tokens("".join(opening))
    if tokens > room:
        texts = [_excerpts(texts, int(sum(map(len, texts)) * max(0, room) / tokens))]
    prompt = (UserMessage((Text("\n\n".join([*opening, *texts])),)),)
    system = _INSTRUCTIONS.format(words=max_tokens // 4)
    return ModelRequest(messages=prompt, system=system, model_id=model_id, max_tokens=max_tokens, deadline=deadline)


def _as_text(message: Message) -> str:
    """A message as it is told to whoever summarises it; empty for one that stays."""
    match message:
        case UserMessage(parts):
            return f"User: {' '.join(map(_part_as_text, parts))}"
        case AssistantMessage(parts):
            return f"Assistant: {' '.join(filter(None, map(_part_as_text, parts)))}"
        case ToolMessage(name=name, content=content):
            return f"Result of {name}: {content}"
    return ""


def _part_as_text(part: object) -> str:
    match part:
        case Text(text) if not isinstance(part, VolatilePart):  # which is of this request alone
            return text
        case ToolCall(_, name, arguments):
            return f"[calls {name} with {arguments or '{}'}]"
        case Image():
            return "[an image]"
        case Document(name=name):
            return f"[a document {name}]"
        case Source(title=title, url=url):
            return f"[source: {title} {url}]"
    return ""


def _excerpts(texts: Sequence[str], max_chars: int) -> str:
    """The texts, the longest ones cut in their middle, until all have at most so many characters."""
    most = max_chars
    while most > _MIN_EXCERPT_CHARS and sum(min(len(text) + 2, most) for text in texts) > max_chars:
        most = most * 3 // 4
    half = max(1, (most - 5) // 2)
    cut = (text if len(text) <= most else f"{text[:half]} … {text[-half:]}" for text in texts)
    return "\n\n".join(cut)[-max(1, max_chars) :]
