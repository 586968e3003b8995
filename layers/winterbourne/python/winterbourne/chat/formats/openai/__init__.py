"""OpenAI chat completions, `POST /v1/chat/completions` and `GET /v1/models`."""

from winterbourne.chat.formats.openai.decode import FRONTEND, models_body

__all__ = ["FRONTEND", "models_body"]
