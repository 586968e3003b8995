"""AG-UI 1.0, `POST /agui`: the protocol of CopilotKit and `@ag-ui/client`."""

from functools import partial
from typing import Final

from winterbourne.chat.formats.base import Format, encode_text_error, on_first_use

__all__ = ["FORMAT"]

_late: Final = partial(on_first_use, f"{__name__}.decode")

FORMAT: Final = Format(
    "/agui",
    _late("decode"),
    encode_text_error,
    resume=_late("resume"),
    field_of=_late("field_of"),
    shows_history=True,
)
"""AG-UI over server-sent events."""
