"""Who may call: a request's headers → a `Caller`, or a refusal before anything costs money.

AUTH chooses the one way in: `api_key` (the default, closed until there are keys), `jwt`, `iam`, or `none` by name.
Knows nothing of what a caller then does. No key and no token is ever logged or quoted in an error.
"""

from winterbourne.chat.auth.api_key import from_settings
from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.auth.iam import Iam
from winterbourne.chat.auth.none import Anyone
from winterbourne.chat.settings import Settings

__all__ = [
    "make_authenticator",
]


def make_authenticator(settings: Settings) -> Authenticator:
    """The way in that AUTH names; `prepare` then says loudly when it is open, or shut for everybody.

    Raises:
        SettingsError: A setting that this way needs is missing or wrong.
    """
    match settings.auth:
        case "api_key":
            return from_settings(settings)
        case "jwt":
            from winterbourne.chat.auth.jwt import Tokens  # noqa: PLC0415  (PyJWT is heavy)

            return Tokens(settings)
        case "iam":
            return Iam()
        case "none":
            return Anyone()
