"""The endpoints beside the chat: what a caller has kept here, and what of theirs is running.

Only ever the caller's own; what that means, `conversations` and `stops` know.
"""

from winterbourne.chat.http.service import JSON, Call, reply, reply_json
from winterbourne.chat.storage.conversations import Conversations
from winterbourne.chat.storage.stop_signals import Stops

__all__ = ["Kept"]


class Kept:
    """Lists, shows, deletes and stops conversations.

    Args:
        conversations: Where they are kept.
        stops: Where requests to stop are left.
    """

    def __init__(self, conversations: Conversations, stops: Stops) -> None:
        self._conversations = conversations
        self._stops = stops

    async def page(self, call: Call) -> None:
        """The caller's conversations, the latest first, a page at a time."""
        await reply(call.stream, 200, await self._conversations.page(call.caller, call.request.query), JSON)

    async def show(self, call: Call) -> None:
        """One conversation with its messages."""
        await reply(call.stream, 200, await self._conversations.show(call.caller, call.names["id"]), JSON)

    async def delete(self, call: Call) -> None:
        """Forget one conversation."""
        await self._conversations.delete(call.caller, call.names["id"])
        await reply(call.stream, 204, b"", {})

    async def stop(self, call: Call) -> None:
        """Ask that a conversation stops; where it runs, it ends within a second, in whatever environment."""
        conversation_id = call.names["id"]
        await self._stops.request(call.caller, conversation_id, call.request.received_ms)
        await reply_json(call.stream, {"conversation_id": conversation_id, "status": "stopping"}, status=202)
