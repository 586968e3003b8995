"""Who may call: a request's headers → a `Caller`, or a refusal before anything costs money.

AUTH chooses the one way in: `api_key` (the default, closed until there are keys), `jwt`, `iam`, or `none` by name.
Knows nothing of what a caller then does. No key and no token is ever logged or quoted in an error.
"""

from winterbourne.chat.auth.api_key import make_api_key_authenticator
from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.auth.none import AnonymousAuthenticator
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
            return make_api_key_authenticator(settings)
        case "jwt":
            from winterbourne.chat.auth.jwt import JwtAuthenticator  # noqa: PLC0415 - PyJWT is heavy

            return JwtAuthenticator(settings)
        case "iam":
            return IamAuthenticator()
        case "none":
            return AnonymousAuthenticator()
