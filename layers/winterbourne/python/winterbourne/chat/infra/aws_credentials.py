"""The AWS credentials and the region of this process, without an SDK where that is not needed.

Credentials are those of the environment, read for each request since Lambda may change them, or those of the container
endpoint: SnapStart's, ECS's, EKS's. Only where there is neither, as on a developer's machine with a profile or on EC2,
botocore is asked if it is installed, in a thread.
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import asyncio
import contextlib
import functools
import math
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from winterbourne.chat.errors import CredentialsMissing, SettingsError
from winterbourne.chat.infra import http_pool, redaction
from winterbourne.chat.infra.refreshing_cache import RefreshingCache

__all__ = ["ContainerCredentials", "Credentials", "find_credentials", "find_region"]

REFRESH_BEFORE_S: Final = 600.0
"""How long before they expire credentials are fetched again, in seconds."""

RETRY_S: Final = 30.0
"""How long requests go on with credentials that could not be refreshed, until it is tried again, in seconds."""

ECS_ENDPOINT: Final = "http://169.254.170.2"
PLAIN_HTTP_HOSTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "::1"})
"""Where a token may be sent without TLS, beside 127.0.0.0/8, as in the AWS SDKs."""

MAX_RESPONSE_BYTES: Final = 64 * 1024
TIMEOUT_S: Final = 2.0

PATIENCE_S: Final = 0.25
"""How long a request waits for a refresh while the credentials at hand are valid, in seconds."""


class Credentials(msgspec.Struct, frozen=True):
    """What requests are signed with.

    Attributes:
        key_id: The access key's id.
        secret: The secret access key.
        token: The session token; may be empty.
        expires_at_s: Epoch seconds at which they expire.
    """

    key_id: str
    secret: str
    token: str = ""
    expires_at_s: float = math.inf


class _Answer(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str = ""
    expiration: datetime | None = None


class ContainerCredentials(RefreshingCache[Credentials]):
    """The credentials of the container endpoint that the environment names: single-flight, refreshed in time.

    Args:
        now: Wall clock, in seconds: a restored snapshot may hold credentials that have long expired.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__("the AWS credentials of the container endpoint", _fetch, now)

    async def read(self) -> Credentials:
        """Credentials that are valid for REFRESH_BEFORE_S seconds; for less, or no more, if they cannot be refreshed.

        Raises:
            CredentialsMissing: None could be fetched so far.
        """
        left_s = self._cached[0].expires_at_s - self._now() if self._cached else 0
        if self._cached and 0 < left_s <= REFRESH_BEFORE_S:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self.get(RETRY_S)
            return self._cached[0]
        return await self.get(math.inf if left_s > 0 else 0)


async def find_credentials() -> Credentials:
    """The credentials to sign a request with.

    Raises:
        CredentialsMissing: There are none.
    """
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return _registered(Credentials(key_id, secret, os.environ.get("AWS_SESSION_TOKEN", "")))
    try:
        return await (_CONTAINER.read() if _container_url() else asyncio.to_thread(_of_session))
    except CredentialsMissing:
        raise
    except Exception as error:
        raise CredentialsMissing(f"the AWS credentials cannot be read: {type(error).__name__}") from error


async def find_region() -> str:
    """The function's own region.

    Raises:
        SettingsError: None is configured.
    """
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return region
    with contextlib.suppress(Exception):  # as above
        if region := await asyncio.to_thread(lambda: _session().get_config_variable("region")):
            return str(region)
    raise SettingsError("AWS_REGION: needed to call an AWS service")


@functools.lru_cache(maxsize=2)
def _registered(credentials: Credentials) -> Credentials:
    """The same, whose secrets are redacted from now on."""
    redaction.register(credentials.secret, credentials.token)
    return credentials


def _container_url() -> str:
    if relative := os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return ECS_ENDPOINT + relative
    return os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")


async def _fetch() -> Credentials:
    headers = {"accept": "application/json"}
    if token := await _authorization():
        redaction.register(token)
        headers["authorization"] = token
    client = http_pool.direct_client()
    request = client.build_request("GET", _checked(_container_url()), headers=headers, timeout=TIMEOUT_S)
    response = await client.send(request, stream=True)
    body = await http_pool.read_body(response, MAX_RESPONSE_BYTES)
    if response.status_code != 200:
        raise CredentialsMissing(f"the endpoint of the AWS credentials answered {response.status_code}")
    answer = msgspec.json.decode(body, type=_Answer)
    expires_at_s = answer.expiration.timestamp() if answer.expiration else math.inf
    return _registered(Credentials(answer.access_key_id, answer.secret_access_key, answer.token, expires_at_s))


def _checked(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and host not in PLAIN_HTTP_HOSTS and not re.fullmatch(r"127(\.\d+){3}", host):
        raise CredentialsMissing("AWS_CONTAINER_CREDENTIALS_FULL_URI: without TLS only of this machine")
    return url


async def _authorization() -> str:
    """The token for the container endpoint; a file's, which is replaced from time to time, wins."""
    if path := os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        return await asyncio.to_thread(_read, path)
    return os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _of_session() -> Credentials:
    """Those that botocore finds: of a profile, of SSO, of EC2. Blocks."""
    found = _session().get_credentials()
    if found is None:
        raise CredentialsMissing("there are no AWS credentials to sign the request with")
    frozen = found.get_frozen_credentials()
    return _registered(Credentials(frozen.access_key, frozen.secret_key, frozen.token or ""))


@functools.cache
def _session() -> Any:
    from botocore.session import Session  # noqa: PLC0415 - heavy, and not always installed

    return Session()


_CONTAINER: Final = ContainerCredentials()
