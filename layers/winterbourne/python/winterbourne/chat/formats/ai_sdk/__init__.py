"""AI SDK UI message stream v1, `POST /api/chat`: the protocol of `useChat` in versions 5, 6 and 7 of the SDK."""

from functools import partial
from typing import Final

from winterbourne.chat.formats.base import Format, camel_case, encode_text_error, on_first_use

__all__ = ["FORMAT", "encode_history"]

_late: Final = partial(on_first_use, f"{__name__}.decode")

FORMAT: Final = Format("/api/chat", _late("decode"), encode_text_error, resume=_late("resume"), field_of=camel_case)
"""AI SDK UI message stream."""

encode_history: Final = on_first_use(f"{__name__}.history", "encode_history")
