"""Presigned URLs of S3, for tools: a link to one object, valid for a while, for who has no AWS credentials.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from winterbourne.chat.infra.aws_calls import configured_endpoint, public_endpoint
from winterbourne.chat.infra.aws_credentials import find_credentials, find_region
from winterbourne.chat.infra.sigv4 import Signer, timestamp

__all__ = ["presign"]

MAX_EXPIRES_S: Final = 7 * 86400
_NONE: Final[Mapping[str, str]] = {}
# A bucket that can be a part of a host name under AWS's certificates: without a dot.
_HOST_LABEL: Final = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"


async def presign(
    bucket: str,
    key: str,
    *,
    method: Literal["GET", "HEAD", "PUT", "DELETE"] = "GET",
    expires_s: int = 3600,
    region: str = "",
    query: Mapping[str, str] = _NONE,
    headers: Mapping[str, str] = _NONE,
) -> str:
    """A URL with which anyone may do this to one object in S3, as the function's role may.

    Args:
        bucket: The bucket's name.
        key: The object's key.
        method: What may be done: GET downloads, PUT uploads.
        expires_s: How long the URL is valid, in seconds, a week at most; and never longer than the credentials of the
            role that signs it, which on Lambda last some hours.
        region: The bucket's region; empty for the function's own.
        query: Parameters of the operation, such as `{"response-content-disposition": "attachment"}`.
        headers: Headers that the request must have, such as `{"content-type": "image/png"}` for an upload.

    Raises:
        CredentialsMissing: There are no AWS credentials.
        SettingsError: There is no region.
        ValueError: `expires_s` is out of range.
    """
    if not 0 < expires_s <= MAX_EXPIRES_S:
        raise ValueError(f"expires_s: expected 1 to {MAX_EXPIRES_S}")
    region = region or await find_region()
    endpoint = urlsplit(url := configured_endpoint("s3", region))
    host, path = endpoint.netloc, f"/{quote(key, safe='/~')}"
    if url == public_endpoint("s3", region) and re.fullmatch(_HOST_LABEL, bucket):
        host = f"{bucket}.{host}"
    else:
        path = f"{endpoint.path}/{bucket}{path}"
    signer = Signer(await find_credentials(), "s3", region, timestamp())
    signed = {"host": host, **{name.lower(): value for name, value in headers.items()}}
    return f"{endpoint.scheme}://{host}{path}?{signer.signed_query(method, path, query, signed, expires_s)}"
