"""Secrets by ARN, from Secrets Manager or the SSM parameter store.

boto3 is imported in a thread at the first read, so a function without a secret never pays for it and the event loop
never waits. Knows nothing of what a secret is for. A value is never logged and never part of an error.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from chat.errors import SettingsError

__all__ = ["MAX_AGE_S", "Secret", "only_value"]

MAX_AGE_S: Final = 300.0
"""Seconds after which a rotated secret is seen at the latest."""

_log = logging.getLogger(__name__)


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
        self._arn = arn
        self._setting = setting
        self._fetch = fetch or _fetch
        self._now = now
        self._value: str | None = None
        self._read_at = -math.inf
        self._lock = asyncio.Lock()

    async def read(self) -> str:
        """The value, as it was stored. Readers at the same time share one call.

        A value that cannot be renewed is kept while the service is away.

        Raises:
            SettingsError: It cannot be read and never was; the message names the setting and AWS's error code.
        """
        async with self._lock:
            if not 0 <= self._now() - self._read_at < MAX_AGE_S:
                await self._renew()
            assert self._value is not None  # noqa: S101  (`_renew` raises otherwise; for the type checker)
            return self._value

    def forget(self, value: str) -> None:
        """Somebody refused this value: the next `read` fetches again, unless that has happened meanwhile."""
        if value == self._value:
            self._read_at = -math.inf

    # Private methods

    async def _renew(self) -> None:
        try:
            self._value = await asyncio.to_thread(self._fetch, self._arn)
        except Exception as error:  # noqa: BLE001  (boto3's many parts raise anything; here it becomes one error)
            if self._value is None:
                raise SettingsError(f"{self._setting}: the secret cannot be read: {_code(error)}") from None
            _log.warning("secret not renewed", extra={"setting": self._setting, "reason": _code(error)})
        self._read_at = self._now()


def only_value(text: str) -> str:
    """`{"api_key": "x"}`, as the console stores a secret, → `x`; other text stays as it is, without outer blanks."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.strip()
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value.values()))).strip()
    return text.strip()


# Private functions


def _fetch(arn: str) -> str:
    import boto3  # noqa: PLC0415  (0.3 s of cold start that only functions with a secret pay)
    from botocore.config import Config  # noqa: PLC0415  (likewise)

    _, _, service, region, *_ = arn.split(":")
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})
    client: Any = boto3.client("ssm" if service == "ssm" else "secretsmanager", region_name=region, config=config)
    if service == "ssm":
        return str(client.get_parameter(Name=arn, WithDecryption=True)["Parameter"]["Value"])
    return str(client.get_secret_value(SecretId=arn)["SecretString"])


def _code(error: Exception) -> str:
    """`AccessDeniedException` rather than a message, which would name the ARN and with it the account."""
    response: Any = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
