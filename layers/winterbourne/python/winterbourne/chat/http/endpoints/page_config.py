"""What the scripts of the chat page are told of the deployment: whatever they would else have to find out by asking."""

from typing import Any

from winterbourne.chat.core.documents import TEXT_TYPES
from winterbourne.chat.core.provider import Provider, capabilities_of
from winterbourne.chat.core.request_checks import available_models
from winterbourne.chat.settings import RequestSettings, Settings

__all__ = ["page_config"]


def page_config(settings: Settings, provider: Provider, *, is_durable: bool) -> dict[str, Any]:
    """The deployment as the page's `config.js` has it, but for the page's words.

    Returns:
        `auth`: AUTH. `isDurable`: whether what is kept outlives the process. `models`: those that a question may
        choose, the default first; empty if there is no choice. `limits`: what one request may hold: bytes of `body`,
        `images`, `documents`, `chars` of a message. `takes`: what the default model takes: `images`, the media types of
        `documents`, and `documentBytes`, the size of one that is not text; 0 for no limit of its own. A `SignInPage`
        adds `signIn`.
    """
    models, capabilities = available_models(settings.model), capabilities_of(provider)("")
    return {
        "auth": settings.auth.auth,
        "isDurable": is_durable,
        "models": models if len(models) > 1 else (),
        "limits": _limits(settings.request),
        "takes": {
            "images": capabilities.images,
            "documents": sorted(capabilities.documents | TEXT_TYPES),  # text reaches every model, as text
            "documentBytes": capabilities.document_bytes,
        },
    }


def _limits(request: RequestSettings) -> dict[str, int]:
    return {
        "body": request.max_body_bytes,
        "images": request.max_images,
        "documents": request.max_documents,
        "chars": request.max_message_chars,
    }
