"""Secrets by ARN, from Secrets Manager or the SSM parameter store.

boto3 is imported in a thread at the first read, so a function without a secret never pays for it and the event loop
never waits. Knows nothing of what a secret is for. A value is never logged and never part of an error, and every one
that is read is redacted wherever it would leave the process (see `redaction`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import aws_clients, redaction
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.infra.secret_values import find_secrets

__all__ = ["MAX_AGE_S", "Secret", "read_secret", "unwrap_single_value"]

MAX_AGE_S: Final = 300.0
"""Seconds after which a rotated secret is seen at the latest."""


class Secret:
    """One secret, read when it is first needed and again when it is older than MAX_AGE_S.

    Args:
        arn: Of a Secrets Manager secret or an SSM parameter.
        setting: The variable that holds the ARN; errors name it.
        fetch: Reads the value of an ARN; blocking, called in a thread.
        now: Wall clock, seconds. The monotonic one may stand still while the environment is frozen.
    """

    def __init__(
        self,
        arn: str,
        setting: str,
        *,
        fetch: Callable[[str], str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cache = RefreshingCache(setting, lambda: read_secret(arn, setting, fetch), now)

    async def read(self) -> str:
        """The value, as it was stored. Readers at the same time share one call.

        A value that cannot be renewed is kept while the service is away.

        Raises:
            SettingsError: It cannot be read and never was; the message names the setting and AWS's error code.
        """
        return await self._cache.get(MAX_AGE_S)

    def invalidate(self, value: str) -> None:
        """Somebody refused this value: the next `read` fetches again, unless that has happened meanwhile."""
        self._cache.invalidate(value)


async def read_secret(arn: str, setting: str, fetch: Callable[[str], str] | None = None) -> str:
    """The value of a secret as it is now; the arguments are those of `Secret`.

    Raises:
        SettingsError: It cannot be read; the message names the setting and AWS's error code.
    """
    try:
        value = await asyncio.to_thread(fetch or _fetch, arn)
    except Exception as error:  # noqa: BLE001 - boto3's many parts raise anything; here it becomes one error
        raise SettingsError(f"{setting}: the secret cannot be read: {_error_code(error)}") from None
    redaction.register(*find_secrets(value))
    return value


def unwrap_single_value(text: str) -> str:
    """`{"api_key": "x"}`, as the console stores a secret, → `x`; other text stays as it is, without outer blanks."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.strip()
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value.values()))).strip()
    return text.strip()


def _fetch(arn: str) -> str:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html"""
    _, _, service, region, *_ = arn.split(":")
    if service == "ssm":
        response: Any = aws_clients.client("ssm", region).get_parameter(Name=arn, WithDecryption=True)
        return str(response["Parameter"]["Value"])
    return str(aws_clients.client("secretsmanager", region).get_secret_value(SecretId=arn)["SecretString"])


def _error_code(error: Exception) -> str:
    """`AccessDeniedException` rather than a message, which would name the ARN and with it the account."""
    response: Any = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
