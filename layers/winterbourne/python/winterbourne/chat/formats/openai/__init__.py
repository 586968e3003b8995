"""OpenAI chat completions, `POST /v1/chat/completions`, `GET /v1/models` and `GET /v1/models/{id}`."""

from functools import partial
from typing import Final

from winterbourne.chat.formats.base import Format, on_first_use

__all__ = ["FORMAT", "model_body", "models_body"]

_late: Final = partial(on_first_use, f"{__name__}.decode")

FORMAT: Final = Format(
    "/v1/chat/completions",
    _late("decode"),
    on_first_use(f"{__name__}.encode", "encode_error_response"),
    resume=_late("resume"),
    field_of=_late("field_of"),
    limits_tokens=True,
)
"""OpenAI chat completions, streaming or not."""

model_body, models_body = _late("model_body"), _late("models_body")
