"""How a conversation lies in the store: one head, and its messages, each in as many items as it needs.

Pure: keys, JSON, cutting and joining. The head is listed under its caller; the messages have a partition of their own.
A message's sort key is the epoch of the request that brought it, its place there, and the number of the part: whatever
a request writes late, it never comes between the messages of another.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Final

import msgspec

from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import AssistantMessage, Message, Text, UserMessage
from winterbourne.chat.infra.redaction import redact, redact_json
from winterbourne.chat.storage.base import Item, encode_key

__all__ = [
    "MAX_PART_BYTES",
    "ConversationMetadata",
    "StoredMessage",
    "conversation_key",
    "conversations_partition",
    "derive_title",
    "join_items",
    "merge_history",
    "messages_partition",
    "split_into_items",
    "truncate_from",
]

MAX_PART_BYTES: Final = 350_000
"""DynamoDB takes 400 KB per item (409,600 bytes), names and keys among them; our keys may have 3 KB."""

MAX_TITLE_CHARS: Final = 80


class ConversationMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a conversation without reading it. Its item's `number` grows with every change.

    Args:
        id: As the caller named it.
        title: The beginning of the first question.
        created_ms: Epoch milliseconds; also the first epoch.
        epoch: Of the latest request. Epochs are the milliseconds of their beginning, and grow.
        expires_at_s: When the first of the messages expires.
        lease_until_ms: Until then the latest request has the conversation for itself.
    """

    id: str
    title: str
    created_ms: int
    epoch: int
    expires_at_s: int
    lease_until_ms: int = 0


class StoredMessage(msgspec.Struct, frozen=True):
    """A message and where it lies: `sk` of its first item."""

    sk: str
    message: Message


def conversations_partition(caller_id: str) -> str:
    """The partition of one caller's heads."""
    return encode_key("conversations", caller_id)


def conversation_key(caller_id: str, conversation_id: str) -> tuple[str, str]:
    """(pk, sk) of one head."""
    return conversations_partition(caller_id), encode_key(conversation_id)


def messages_partition(caller_id: str, conversation_id: str) -> str:
    """The partition of one conversation's messages."""
    return encode_key("messages", caller_id, conversation_id)


def split_into_items(message: Message, pk: str, epoch: int, position: int, expires_at_s: int) -> list[Item]:
    """A message → its items: the parts of its JSON without secrets, each with the number of parts."""
    text = redact_json(_encode(message))
    parts = [text[start : start + MAX_PART_BYTES] for start in range(0, len(text), MAX_PART_BYTES)]
    return [
        Item(pk=pk, sk=f"{epoch:014}#{position:06}#{n:04}", body=part, number=len(parts), expires_at_s=expires_at_s)
        for n, part in enumerate(parts)
    ]


def join_items(items: Sequence[Item], first_epoch: int) -> list[StoredMessage]:
    """The items of a partition, in order → its messages, without the secrets that earlier versions kept.

    What belongs to an earlier conversation of the same name, or was not written to its end, is left out.
    """
    current = (item for item in items if item.sk >= f"{first_epoch:014}")
    return list(_join_groups(groupby(current, lambda item: item.sk[:21])))


def truncate_from(stored: Sequence[StoredMessage], new: Iterable[Message]) -> list[StoredMessage]:
    """What stays when a request repeats a message of the user: what was said before that message."""
    ids = {message.id for message in new if isinstance(message, UserMessage) and message.id}
    kept = takewhile(lambda one: not (isinstance(one.message, UserMessage) and one.message.id in ids), stored)
    return list(kept)


def merge_history(stored: Iterable[Message], new: Iterable[Message]) -> tuple[Message, ...]:
    """What a model is asked: what was said, then what is new, and behind every turn a result for each of its calls.

    Turn by turn, because only within a turn an id of a call need not come again.

    Raises:
        RequestRejected: 400, a new result belongs to no call of the turn before it.
    """
    turns: list[list[Message]] = [[]]
    for message in (*stored, *new):
        if isinstance(message, AssistantMessage):
            turns.append([])
        turns[-1].append(message)
    return tuple(message for turn in turns for message in normalize_history(turn))


def derive_title(messages: Iterable[Message]) -> str:
    """The beginning of the first text a user wrote, in one line and without secrets."""
    texts = (
        part.text
        for message in messages
        if isinstance(message, UserMessage)
        for part in message.parts
        if isinstance(part, Text)
    )
    line = " ".join(redact(next(texts, "")).split())
    return line if len(line) <= MAX_TITLE_CHARS else f"{line[: MAX_TITLE_CHARS - 1]}…"


def _encode(message: Message) -> bytes:
    """A message as JSON. Surrogates, which a model leaves that cuts an emoji in two, are paired or replaced."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _join_groups(groups: Iterable[tuple[str, Iterable[Item]]]) -> Iterator[StoredMessage]:
    for _, group in groups:
        parts = list(group)
        if len(parts) == parts[0].number:
            text = b"".join(part.body for part in parts)
            yield StoredMessage(parts[0].sk, msgspec.json.decode(redact_json(text), type=Message))
