"""IAM authentication (AUTH=iam): the function URL (AuthType AWS_IAM) or the REST API verifies the AWS signature."""

import logging
from typing import Final

from winterbourne.chat.auth.base import Caller, Credentials
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import AuthSettings

__all__ = ["IamAuthenticator", "make"]

_LOGGER: Final = logging.getLogger(__name__)


class IamAuthenticator:
    """Identifies callers by the IAM principal whose signature the door has verified."""

    async def prepare(self) -> None:
        """Do nothing: nothing has to be fetched."""

    async def authenticate(self, request: Credentials) -> Caller:
        """Take the caller from the request context.

        https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
        """
        # A unique id is never reused; the ARN of a deleted principal can be given to another one.
        user_id = request.identity.get("userId")
        if user_id and request.identity.get("kind") == "iam":  # an authorizer's fields are named as it likes
            return Caller(f"iam:{user_id}", request.identity.get("userArn") or user_id)
        _LOGGER.error("AUTH=iam and no caller identity: the function URL's AuthType, or the API's, must be AWS_IAM")
        raise RequestRejected(403, "forbidden", "A signed request is needed.")


def make(_: AuthSettings) -> IamAuthenticator:
    """Make the authenticator; it needs no settings."""
    return IamAuthenticator()
