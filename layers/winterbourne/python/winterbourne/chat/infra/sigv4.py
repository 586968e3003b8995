"""Signature Version 4: signs requests to AWS services that go over the shared HTTP pool, in headers or in a URL.

Our own instead of botocore's, whose import takes 32 ms and more of every cold start, where this module takes 1 ms; its
tests compare the two. Everything but `sign`, which asks for the credentials, is pure.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import msgspec

from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra.aws_credentials import Credentials, find_credentials

__all__ = ["Signer", "correct_clock", "sign", "timestamp"]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"

MAX_SKEW_S: Final = 300
"""By how much the time in a signature may be off. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html"""


class _Clock(msgspec.Struct):
    """How far AWS's clock is ahead of this machine's, in seconds, once a service has shown it."""

    ahead_s: float = 0


_CLOCK: Final = _Clock()


async def sign(request: httpx.Request, service: str, region: str) -> None:
    """Add the headers of Signature Version 4 to a request.

    Args:
        request: Its existing headers stay as they are; of them `content-type`, `host` and those that begin with
            `x-amz-` are signed. If its body is no bytes, its extension `sha256` is a function that returns the digest.
        service: The service's signing name, such as `bedrock` or `lambda`.
        region: The AWS region, such as `eu-central-1`.

    Raises:
        CredentialsMissing: There are no AWS credentials.
    """
    signer = Signer(await find_credentials(), service, region, timestamp())
    request.headers.update(signer.headers_for(request))


def timestamp() -> str:
    """Now, as a signature has it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + _CLOCK.ahead_s))


def correct_clock(date: str) -> bool:
    """Sign by a service's clock from now on if the one signed by was too far from it; returns whether it was.

    Args:
        date: The header `date` of its response; empty if there is none.
    """
    try:
        ahead_s = parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return False
    is_off = abs(ahead_s - _CLOCK.ahead_s) > MAX_SKEW_S
    if is_off:
        _CLOCK.ahead_s = ahead_s
    return is_off


class Signer(msgspec.Struct, frozen=True):
    """Signs for one service in one region at one time.

    Attributes:
        credentials: Whose signature it is.
        service: The signing name; `s3` has rules of its own for paths.
        region: The AWS region.
        time: As `timestamp` gives it.
    """

    credentials: Credentials
    service: str
    region: str
    time: str

    def headers_for(self, request: httpx.Request) -> dict[str, str]:
        """The headers to add to a request."""
        added = {"x-amz-date": self.time}
        if self.credentials.token:
            added["x-amz-security-token"] = self.credentials.token
        if digest := request.extensions.get("sha256"):
            payload = added["x-amz-content-sha256"] = digest()
        else:
            payload = hashlib.sha256(request.content).hexdigest()
        signed = {name: value for name, value in request.headers.items() if _is_signed(name)} | added
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        names, signature = self.signature(request.method, path, query, signed, payload)
        credential = f"{self.credentials.key_id}/{self._scope}"
        added["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return added

    def signed_query(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], expires_s: int
    ) -> str:
        """The query of a presigned URL, for a request with these headers and any body.

        Args:
            method: The method, in capitals.
            path: The path, encoded.
            query: Parameters of the operation, not encoded.
            headers: Those that the request must have, by names in lower case; `host` among them.
            expires_s: How long the URL is valid, in seconds.
        """
        signature_fields = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.key_id}/{self._scope}",
            "X-Amz-Date": self.time,
            "X-Amz-SignedHeaders": ";".join(sorted(headers)),
            "X-Amz-Expires": str(expires_s),
        }
        if self.credentials.token:
            signature_fields["X-Amz-Security-Token"] = self.credentials.token
        fields = {**query, **signature_fields}
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields.items())
        return f"{text}&X-Amz-Signature={self.signature(method, path, text, headers, 'UNSIGNED-PAYLOAD')[1]}"

    def signature(
        self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str
    ) -> tuple[str, str]:
        """The names of the signed headers, and the signature.

        Args:
            method: The method, in capitals.
            path: The path as it is sent.
            query: The query as it is sent, without the question mark.
            headers: Those to be signed, by names in lower case.
            payload: The SHA-256 of the body in hexadecimal digits, or what stands for it.
        """
        names = ";".join(sorted(headers))
        lines = (f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers))
        canonical_path = path if self.service == "s3" else quote(_normalized(path), safe="/~")
        canonical = "\n".join((method, canonical_path, _sorted_query(query), *lines, "", names, payload))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.credentials.secret}".encode()
        for part in (*self._scope.split("/"), f"{_ALGORITHM}\n{self.time}\n{self._scope}\n{digest}"):
            key = hmac.digest(key, part.encode(), "sha256")
        return names, key.hex()

    @property
    def _scope(self) -> str:
        return f"{self.time[:8]}/{self.region}/{self.service}/aws4_request"


def _is_signed(name: str) -> bool:
    return name in {"content-type", "host"} or name.startswith("x-amz-")


def _normalized(path: str) -> str:
    """The path without dot segments (RFC 3986, section 5.2.4) and without empty ones."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return f"/{'/'.join(segments)}{'/' if segments and path.endswith('/') else ''}"


def _sorted_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
    return "&".join(f"{name}={value}" for name, value in sorted((name, value) for name, _, value in pairs))
