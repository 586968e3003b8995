"""Conversations endpoint: lists, shows, deletes and stops a caller's conversations.

A caller reaches only their own; `ConversationStore` and `StopSignals` enforce that.
"""

from winterbourne.chat.http.service import JSON_HEADERS, RequestContext, reply, reply_json
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.stop_signals import StopSignals

__all__ = ["ConversationsEndpoint"]


class ConversationsEndpoint:
    """Lists, shows, deletes and stops conversations.

    Args:
        conversations: Stores the conversations.
        stop_signals: Delivers stop requests.
    """

    def __init__(self, conversations: ConversationStore, stop_signals: StopSignals) -> None:
        self._conversations = conversations
        self._stop_signals = stop_signals

    async def list_page(self, context: RequestContext) -> None:
        """Send one page of the caller's conversations, newest first."""
        await reply(
            context.stream,
            200,
            await self._conversations.list_page(context.caller, context.request.query),
            JSON_HEADERS,
        )

    async def get(self, context: RequestContext) -> None:
        """Send one conversation with its messages."""
        await reply(
            context.stream, 200, await self._conversations.get(context.caller, context.path_params["id"]), JSON_HEADERS
        )

    async def delete(self, context: RequestContext) -> None:
        """Delete one conversation."""
        await self._conversations.delete(context.caller, context.path_params["id"])
        await reply(context.stream, 204, b"", {})

    async def stop(self, context: RequestContext) -> None:
        """Request that a conversation stop; if it is running, in any environment, it ends within a second."""
        conversation_id = context.path_params["id"]
        await self._stop_signals.send(context.caller, conversation_id, context.request.received_ms)
        await reply_json(context.stream, {"conversation_id": conversation_id, "status": "stopping"}, status=202)
