"""Signs requests to AWS services (Signature Version 4) that go over the shared HTTP pool without an SDK client.

botocore does the signing and finds the credentials: the environment's or, under SnapStart, those of the container
endpoint, which it refreshes. It is imported in a thread on first use; a process that signs nothing never imports it.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

import asyncio
import functools
from typing import Any

from winterbourne.chat.errors import CredentialsMissing
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import redaction

__all__ = ["sign"]


async def sign(request: httpx.Request, service: str, region: str) -> None:
    """Add the headers of Signature Version 4 to a request.

    Args:
        request: Its existing headers stay as they are. Only `content-type` and `host` of them are signed. If its body
            is no bytes, its extension `sha256` is a function that returns the digest.
        service: The service's signing name, such as `bedrock` or `lambda`.
        region: The AWS region, such as `eu-central-1`.

    Raises:
        CredentialsMissing: There are no AWS credentials.
    """
    request.headers.update(await asyncio.to_thread(_signed_headers, request, service, region))


def _signed_headers(request: httpx.Request, service: str, region: str) -> dict[str, str]:
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - heavy: imported only when AWS is called
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - likewise

    credentials = _credentials()
    if credentials is None:
        raise CredentialsMissing("there are no AWS credentials to sign the request with")
    frozen = credentials.get_frozen_credentials()
    redaction.register(frozen.secret_key, frozen.token)
    headers_to_sign = {name: request.headers[name] for name in ("content-type", "host") if name in request.headers}
    if digest := request.extensions.get("sha256"):
        headers_to_sign["x-amz-content-sha256"] = digest()
    data = b"" if digest else request.content
    aws_request = AWSRequest(method=request.method, url=str(request.url), data=data, headers=headers_to_sign)
    SigV4Auth(frozen, service, region).add_auth(aws_request)
    return dict(aws_request.headers.items())


@functools.cache
def _credentials() -> Any:
    from botocore.session import Session  # noqa: PLC0415 - as above

    return Session().get_credentials()
