"""Conversations endpoint: lists (by cursor), shows, renames, deletes and stops a caller's conversations, as JSON.

A caller reaches only their own; `ConversationStore` and `StopSignals` enforce that.
"""

import base64
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from winterbourne.chat.core.messages import Message
from winterbourne.chat.core.title import MAX_TITLE_CHARS, single_line
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.service import RequestContext, reply, reply_json
from winterbourne.chat.settings import RequestSettings
from winterbourne.chat.storage.base import time_limit
from winterbourne.chat.storage.conversations import ConversationStore, ConversationSummary, Cursor
from winterbourne.chat.storage.stop_signals import StopSignals

__all__ = ["ConversationsEndpoint", "read_page"]

ValidCursor: TypeAlias = tuple[Annotated[int, Meta(ge=1, le=2**53)], Annotated[str, Meta(min_length=1, max_length=512)]]
"""A cursor as a caller may send it."""

DEFAULT_PAGE_SIZE: Final = "30"
MAX_PAGE_SIZE: Final = 100


class ConversationsEndpoint(msgspec.Struct, frozen=True):
    """Lists, shows, renames, deletes and stops conversations.

    Attributes:
        conversations: Stores the conversations.
        stop_signals: Delivers stop requests.
        request_settings: The limits of a request.
        show: A message as it is shown.
    """

    conversations: ConversationStore
    stop_signals: StopSignals
    request_settings: RequestSettings = RequestSettings()
    show: Callable[[Message], Message] = lambda message: message

    async def list_page(self, context: RequestContext) -> None:
        """Send one page of the caller's conversations, newest first.

        The query may have `limit` (default 30, at most 100) and `after`, the cursor: `next` of the previous page.

        Raises:
            RequestRejected: 400 if one of them is invalid.
        """
        summaries, cursor = await read_page(self.conversations, context)
        await reply_json(context.stream, {"conversations": summaries, "next": cursor})

    async def get(self, context: RequestContext) -> None:
        """Send one conversation with its messages."""
        async with time_limit():
            summary, messages = await self.conversations.get(context.caller.id, context.path_params["id"])
        await reply_json(context.stream, msgspec.structs.asdict(summary) | {"messages": [*map(self.show, messages)]})

    async def rename(self, context: RequestContext) -> None:
        """Give one conversation the `title` in the body, and send what is shown of it then.

        Raises:
            RequestRejected: 400 if that is no text, or none of 1 to MAX_TITLE_CHARS characters on one line.
        """
        title = _parse_title((await context.request.json_object(self.request_settings)).get("title"))
        async with time_limit():
            summary = await self.conversations.set_title(context.caller.id, context.path_params["id"], title)
        await reply_json(context.stream, summary)

    async def delete(self, context: RequestContext) -> None:
        """Delete one conversation."""
        await self.conversations.delete(context.caller.id, context.path_params["id"])
        await reply(context.stream, 204, b"", {})

    async def stop(self, context: RequestContext) -> None:
        """Request that a conversation stop; if it is running, in any environment, it ends within a second."""
        conversation_id = context.path_params["id"]
        async with time_limit():
            await self.stop_signals.send(context.caller.id, conversation_id, context.request.received_ms)
        await reply_json(context.stream, {"conversation_id": conversation_id, "status": "stopping"}, status=202)


async def read_page(store: ConversationStore, context: RequestContext) -> tuple[list[ConversationSummary], str | None]:
    """The page of the caller's conversations that the query asks for, and the cursor of the next one as text."""
    query = context.request.query
    limit, after = _parse_limit(query.get("limit") or DEFAULT_PAGE_SIZE), _decode_cursor(query.get("after", ""))
    async with time_limit():
        summaries, cursor = await store.list_page(context.caller.id, limit, after)
    return summaries, cursor and _encode_cursor(cursor)


def _parse_limit(text: str) -> int:
    if text in map(str, range(1, MAX_PAGE_SIZE + 1)):
        return int(text)
    raise RequestRejected(400, "invalid_limit", f"limit: expected a number from 1 to {MAX_PAGE_SIZE}")


def _parse_title(value: object) -> str:
    line = single_line(value) if isinstance(value, str) else ""
    if 1 <= len(line) <= MAX_TITLE_CHARS:
        return line
    raise RequestRejected(400, "invalid_request", f"title: expected text of 1 to {MAX_TITLE_CHARS} characters")


def _encode_cursor(cursor: Cursor) -> str:
    """The cursor as text, opaque to the caller."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def _decode_cursor(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        cursor: Cursor = msgspec.json.decode(base64.urlsafe_b64decode(text), type=ValidCursor)
    except ValueError:  # raised by both base64 and msgspec
        raise RequestRejected(400, "invalid_cursor", "after: expected the value of next from a previous page") from None
    return cursor
