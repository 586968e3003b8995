"""Authentication by AWS signature: AUTH=iam; the function URL checks it (AuthType AWS_IAM)."""

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import Request

__all__ = ["IamAuthenticator"]


class IamAuthenticator:
    """Callers that the function URL has let in by their AWS signature (AuthType AWS_IAM)."""

    async def prepare(self) -> None:
        """See `Authenticator`."""

    async def authenticate(self, request: Request) -> Caller:
        """See `Authenticator`. https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads"""
        # The unique id stays with one principal; an ARN may be given to another after it was deleted.
        if user_id := request.identity.get("userId"):
            return Caller(f"iam:{user_id}", request.identity.get("userArn") or user_id)
        raise RequestRejected(403, "forbidden", "the function URL did not say who calls: its AuthType must be AWS_IAM")
