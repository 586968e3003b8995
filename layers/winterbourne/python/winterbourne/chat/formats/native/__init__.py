"""The native format, `POST /chat`: server-sent events, one JSON object each, `type` first."""

from winterbourne.chat.formats.native.decode import FORMAT

__all__ = ["FORMAT"]
