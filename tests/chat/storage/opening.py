"""Conversations for tests: one is open while a block runs, as while its request runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation

CLOSE_TIMEOUT_S: Final = 2.0


@contextlib.asynccontextmanager
async def opening(
    conversations: ConversationStore, caller_id: str, request: ChatRequest
) -> AsyncIterator[OpenConversation]:
    """Start the conversation, and close it at the end of the block or if it cannot be started."""
    conversation = conversations.open(caller_id, request)
    try:
        await conversation.start()
        yield conversation
    finally:
        await conversation.close(asyncio.get_running_loop().time() + CLOSE_TIMEOUT_S)
