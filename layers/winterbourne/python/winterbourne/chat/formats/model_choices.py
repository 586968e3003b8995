"""Allowlist of models: callers may choose MODEL_ID or one of MODEL_CHOICES, because models cost money."""

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

__all__ = ["available_models", "resolve_model"]


def available_models(settings: Settings) -> tuple[str, ...]:
    """The names of the models on offer, the default first. Without MODEL_ID, the default has its provider's name."""
    default = settings.model.model_id or settings.model.model_provider
    choices = (choice.strip() for choice in settings.model.model_choices.split(","))
    return tuple(dict.fromkeys([default, *filter(None, choices)]))


def resolve_model(requested: str | None, settings: Settings) -> str | None:
    """The model to request from the provider, or None for the default.

    Raises:
        RequestRejected: 404 if the model is not offered.
    """
    default, *others = available_models(settings)
    if not requested or requested == default:
        return None
    if requested in others:
        return requested
    raise RequestRejected(
        404, "model_not_found", f"model: {requested[:64]!r} is not one of {', '.join(available_models(settings))}"
    )
