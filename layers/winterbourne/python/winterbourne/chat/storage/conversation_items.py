"""Storage schema of a conversation: one metadata item, and each message in as many items as its size needs.

Pure functions: keys, JSON, splitting and joining. Metadata items are in the caller's partition; the messages of each
conversation are in a partition of their own, and before them, where no release looks for messages, the newest summary.
A message's sort key is the epoch of the request that added it, its position in that request, and the number of the
part: a late write never lands between another request's messages.

Releases that share a store read each other's items. One that is newer reads all older ones: a field that they lack has
a default, which means what they meant. One that is older reads newer items as far as it can, and breaks on none: it
ignores fields that it does not know, leaves out parts of messages and whole messages of unknown kinds, with a line in
the log, and writes its own version when it changes metadata. So a later version may add fields and kinds, and may
change or drop none.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from itertools import groupby, takewhile
from typing import Final, cast

import msgspec

from winterbourne.chat.core.documents import take_out_data
from winterbourne.chat.core.history import check_decisions, normalize_history
from winterbourne.chat.core.messages import ChatRequest, Decision, Message, Summary, Text, ToolMessage, UserMessage
from winterbourne.chat.core.title import shorten, single_line
from winterbourne.chat.errors import InvalidHistory
from winterbourne.chat.infra.redaction import redact_json
from winterbourne.chat.storage.base import Item, encode_key
from winterbourne.large_body import LargeBody

__all__ = [
    "MAX_PART_BYTES",
    "ConversationMetadata",
    "StoredMessage",
    "conversation_key",
    "conversation_of",
    "conversations_partition",
    "derive_title",
    "join_items",
    "merge_history",
    "message_key",
    "messages_partition",
    "parse_metadata",
    "parse_summary",
    "split_into_items",
    "summary_item",
    "truncate_from",
    "unreadable_metadata",
]

_LOGGER: Final = logging.getLogger(__name__)

MAX_PART_BYTES: Final = 350_000
"""DynamoDB allows 400 KB per item (409,600 bytes) including attribute names and keys; our keys may have 3 KB."""

FORMAT_VERSION: Final = 2
"""The version of the format in which this release writes.

1: items without a version. 2: metadata has it; the last turn of an answer has its usage.
"""

SUMMARY_KEY: Final = "#summary"
"""The sort key of a conversation's newest summary; less than that of any message."""

KNOWN_PARTS: Final = {
    "user": {"text", "image", "document"},
    "assistant": {"text", "reasoning", "tool_call", "source"},
}
"""By a message's role, the types of part that this version can read."""

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError)
"""What decoding raises for an item that is damaged, or of a kind that only another version knows."""


class ConversationMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation's metadata, without its messages. The `number` of its item is incremented by every change.

    Attributes:
        id: The id the caller gave it.
        title: The beginning of the first question, until a model or the user has given it another.
        created_ms: Epoch milliseconds; also the first request's `epoch`.
        epoch: Identifies the latest request, as a fencing token: the epoch milliseconds of its start, always greater
            than the last one.
        expires_at_s: When the first of the messages expires.
        lease_until_ms: When the latest request's lease ends, in epoch milliseconds; 0 if released.
        version: The FORMAT_VERSION of the release that wrote this.
    """

    id: str
    title: str
    created_ms: int
    epoch: int
    expires_at_s: int
    lease_until_ms: int = 0
    version: int = 1


def parse_metadata(item: Item) -> ConversationMetadata | None:
    """The metadata in a metadata item; None, with a log line, if this version cannot read it."""
    try:
        return msgspec.json.decode(item.body, type=ConversationMetadata)
    except UNREADABLE as error:
        _log_unreadable(item.sk, type(error).__name__)
        return None


def unreadable_metadata(conversation_id: str, updated_ms: int) -> ConversationMetadata:
    """What stands in for metadata that cannot be read: all messages are this conversation's, and nobody has a lease."""
    return ConversationMetadata(id=conversation_id, title="", created_ms=0, epoch=updated_ms, expires_at_s=0)


class StoredMessage(msgspec.Struct, frozen=True):
    """A message and its position in storage: the `sk` of its first item."""

    sk: str
    message: Message

    def with_id(self) -> Message:
        """The message; one of a user whose client gave it no id has one by its place, by which it can be replaced."""
        if not isinstance(self.message, UserMessage) or self.message.id:
            return self.message
        epoch, position, _ = self.sk.split("#")
        return msgspec.structs.replace(self.message, id=f"u_{int(epoch)}_{int(position)}")


def conversations_partition(caller_id: str) -> str:
    """The partition key of one caller's metadata items."""
    return encode_key("conversations", caller_id)


def conversation_key(caller_id: str, conversation_id: str) -> tuple[str, str]:
    """(pk, sk) of one conversation's metadata item."""
    return conversations_partition(caller_id), encode_key(conversation_id)


def messages_partition(caller_id: str, conversation_id: str) -> str:
    """The partition key of one conversation's messages."""
    return encode_key("messages", caller_id, conversation_id)


def conversation_of(pk: str, sk: str) -> tuple[str, str] | None:
    """The keys of the metadata item of the conversation that an item belongs to; None if it belongs to none."""
    match pk.split("#"):
        case ["messages" | "stream", caller, conversation]:
            return f"conversations#{caller}", conversation
        case ["conversations", _]:
            return pk, sk
    return None


def message_key(epoch: int, position: int) -> str:
    """The sort key of a message, without the number of a part."""
    return f"{epoch:014}#{position:06}"


def split_into_items(message: Message, pk: str, epoch: int, position: int, expires_at_s: int) -> list[Item]:
    """Split a message into items: the parts of its JSON, redacted but for large files. Each `number` is their count."""
    (slim,), large = take_out_data([message])
    large.text = redact_json(_encode(slim))
    parts = list(large.pieces(MAX_PART_BYTES))
    first = Item(pk=pk, sk=message_key(epoch, position), number=len(parts), expires_at_s=expires_at_s)
    return [msgspec.structs.replace(first, sk=f"{first.sk}#{n:04}", body=part) for n, part in enumerate(parts)]


def join_items(items: Sequence[Item], first_epoch: int) -> list[StoredMessage]:
    """Join the items of a partition, in order, into messages; redacts secrets that earlier versions of the code stored.

    Leaves out messages of an earlier conversation with the same id and, with a log line, those that this version cannot
    read: partly written, damaged, or of a kind that only another version knows.
    """
    current = (item for item in items if item.sk >= f"{first_epoch:014}")
    messages = (_join(list(parts)) for _, parts in groupby(current, lambda item: item.sk[:21]))
    return [message for message in messages if message]


def summary_item(summary: Summary, pk: str, expires_at_s: int) -> Item:
    """The item of a conversation's newest summary, redacted. Another one replaces it."""
    return Item(pk=pk, sk=SUMMARY_KEY, expires_at_s=expires_at_s, body=redact_json(msgspec.json.encode(summary)))


def parse_summary(items: Iterable[Item]) -> Summary | None:
    """The summary among the items of a partition; None if there is none that this version can read."""
    for item in items:
        if item.sk == SUMMARY_KEY:
            with contextlib.suppress(*UNREADABLE):
                return msgspec.json.decode(item.body, type=Summary)
    return None


def truncate_from(stored: Sequence[StoredMessage], request: ChatRequest) -> list[StoredMessage]:
    """The messages to keep: those before the first that the request replaces, or repeats (a user message's id)."""
    repeated = {message.id for message in request.messages if isinstance(message, UserMessage)} - {""}

    def stays(one: StoredMessage) -> bool:
        message = one.with_id()
        if isinstance(message, UserMessage) and message.id in repeated:
            return False
        return not request.replace_from or getattr(message, "id", "") != request.replace_from

    kept = list(takewhile(stays, stored))
    if request.regenerate and not request.messages:  # a question that is named is the one to answer anew
        kept += [one for one in stored[len(kept) :][:1] if isinstance(one.message, UserMessage)]
    while request.regenerate and not request.messages and kept and not isinstance(kept[-1].message, UserMessage):
        kept.pop()
    return kept


def merge_history(
    stored: Iterable[Message], new: Iterable[Message], decisions: Sequence[Decision] = ()
) -> tuple[Message, ...]:
    """The history to send to the model: stored, then new messages, normalized like one that a request carries.

    A stored result whose call could not be read is left out.

    Raises:
        InvalidHistory: The new messages are results, and no call at the end of the history is theirs; or there is no
            message at all.
        RequestRejected: 409 for decisions on calls that do not wait.
    """
    new = tuple(new)
    history = normalize_history((*stored, *new))
    check_decisions(history, decisions)
    only_results = all(isinstance(message, ToolMessage) for message in new)
    if new and only_results and not (history and isinstance(history[-1], ToolMessage)):
        raise InvalidHistory("unknown_tool_call", "messages: no call waits for these results")
    if not history:
        raise InvalidHistory("no_messages", "messages: there is no question that could be answered")
    return history


def derive_title(messages: Iterable[Message]) -> str:
    """The beginning of the user's first text, on one line and redacted."""
    parts = (part for message in messages if isinstance(message, UserMessage) for part in message.parts)
    texts = (part.text for part in parts if isinstance(part, Text))
    return shorten(single_line(next(texts, "")))


def _encode(message: Message) -> bytes:
    """A message as JSON. Surrogates (left by a model that splits an emoji) are paired or, if alone, replaced."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _join(parts: Sequence[Item]) -> StoredMessage | None:
    try:
        if len(parts) != parts[0].number:
            raise ValueError
        body = LargeBody.take_out(part.body for part in parts)
        return StoredMessage(parts[0].sk, _decode(body, parts[0].sk))
    except UNREADABLE as error:
        _log_unreadable(parts[0].sk, type(error).__name__)
        return None


def _decode(body: LargeBody, sk: str) -> Message:
    """A message, without parts of kinds that only another version knows."""
    text = redact_json(body.text)
    if not body.runs:
        with contextlib.suppress(msgspec.ValidationError):
            return cast(Message, msgspec.json.decode(text, type=Message))
    fields = msgspec.json.decode(text)
    body.fill_in(fields)
    try:
        message: Message = msgspec.convert(fields, Message)
    except msgspec.ValidationError:
        parts = [part for part in fields["parts"] if part["type"] in KNOWN_PARTS[fields["role"]]]
        if not parts:
            raise
        message = msgspec.convert(fields | {"parts": parts}, Message)
        _log_unreadable(sk, "parts of an unknown kind")
    return message


def _log_unreadable(sk: str, reason: str) -> None:
    """Log that an item is left out, or a part of it. Without its content, which an error's text may quote."""
    _LOGGER.error("a stored item cannot be read and is left out: %s (%s)", sk, reason)
