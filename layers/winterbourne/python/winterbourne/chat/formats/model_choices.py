"""Which models a caller may choose from: MODEL_ID's, and those of MODEL_CHOICES. A model costs money."""

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

__all__ = ["available_models", "resolve_model"]


def available_models(settings: Settings) -> tuple[str, ...]:
    """The names to choose from, the default first. Without MODEL_ID the default goes by its provider's name."""
    default = settings.model_id or settings.model_provider
    choices = (choice.strip() for choice in settings.model_choices.split(","))
    return tuple(dict.fromkeys([default, *filter(None, choices)]))


def resolve_model(requested: str | None, settings: Settings) -> str | None:
    """What to ask the provider for: None for its default.

    Raises:
        RequestRejected: 404 for a model that is not offered.
    """
    default, *others = available_models(settings)
    if not requested or requested == default:
        return None
    if requested in others:
        return requested
    raise RequestRejected(
        404, "model_not_found", f"model: {requested[:64]!r} is not one of {', '.join(available_models(settings))}"
    )
