"""OpenAI chat completions, `POST /v1/chat/completions`, `GET /v1/models` and `GET /v1/models/{id}`."""

from winterbourne.chat.formats.openai.decode import FORMAT, model_body, models_body

__all__ = ["FORMAT", "model_body", "models_body"]
