"""OpenAI chat completions, `POST /v1/chat/completions` and `GET /v1/models`."""

from winterbourne.chat.formats.openai.decode import FORMAT, models_body

__all__ = ["FORMAT", "models_body"]
