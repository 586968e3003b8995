"""The native format, `POST /chat`: our own words, one JSON object per event, `type` first."""

from winterbourne.chat.formats.native.decode import FORMAT

__all__ = ["FORMAT"]
