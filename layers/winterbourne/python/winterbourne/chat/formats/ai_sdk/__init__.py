"""AI SDK UI message stream v1, `POST /api/chat`: the protocol of `useChat` in versions 5, 6 and 7 of the SDK."""

from winterbourne.chat.formats.ai_sdk.decode import FORMAT

__all__ = ["FORMAT"]
