"""Chats endpoint: kept conversations as the AI SDK's frontends have them, listed and one by one, as JSON."""

from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from winterbourne.chat.core.messages import Message
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.errors import ConversationNotFound
from winterbourne.chat.http.endpoints.conversations import read_page
from winterbourne.chat.http.service import RequestContext, reply_json
from winterbourne.chat.storage.base import time_limit
from winterbourne.chat.storage.conversations import ConversationStore

__all__ = ["ChatsEndpoint"]

EncodeHistory: TypeAlias = Callable[[Iterable[Message], Container[str]], list[dict[str, Any]]]
"""Encodes messages as a frontend has them; takes the names of the server's tools, because the others are its own."""


class ChatsEndpoint(msgspec.Struct, frozen=True):
    """Lists and shows conversations for frontends.

    Attributes:
        conversations: Stores the conversations.
        tools: The server's tools.
        encode_history: Encodes a conversation's messages.
        show: A message as it is shown.
    """

    conversations: ConversationStore
    tools: Tools
    encode_history: EncodeHistory
    show: Callable[[Message], Message] = lambda message: message

    async def list_page(self, context: RequestContext) -> None:
        """Send one page of the caller's conversations, newest first; the query is as for `/conversations`.

        Raises:
            RequestRejected: 400 if the query is invalid.
        """
        summaries, cursor = await read_page(self.conversations, context)
        chats = [
            {"id": s.id, "title": s.title, "createdAt": s.created_at, "updatedAt": s.updated_at, "running": s.running}
            for s in summaries
        ]
        await reply_json(context.stream, {"chats": chats, "next": cursor})

    async def get(self, context: RequestContext) -> None:
        """Send one conversation's title and messages; an unknown one is empty, because a page opens new ones by URL."""
        chat_id, title, messages = context.path_params["id"], "", list[Message]()
        with suppress(ConversationNotFound):
            async with time_limit():
                summary, messages = await self.conversations.get(context.caller.id, chat_id)
            title = summary.title
        shown = self.encode_history(map(self.show, messages), {tool.name for tool in self.tools.schemas})
        await reply_json(context.stream, {"id": chat_id, "title": title, "messages": shown})
