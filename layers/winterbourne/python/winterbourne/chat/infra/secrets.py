"""Reads and caches secrets by ARN, from AWS Secrets Manager or the SSM Parameter Store.

Values never appear in logs or error messages: each one is registered with `redaction` when it is read.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from winterbourne.chat.errors import AwsCallFailed, SettingsError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.aws_calls import call
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.infra.secret_values import find_secrets

__all__ = ["MAX_AGE_S", "Secret", "read_secret"]

MAX_AGE_S: Final = 300.0
"""A rotated secret is picked up after this many seconds at the latest."""


class Secret(RefreshingCache[str]):
    """One secret, read on first use and again when the value is MAX_AGE_S old.

    Args:
        arn: ARN of a Secrets Manager secret or an SSM parameter.
        setting: Name of the variable that holds the ARN, for error messages.
        now: Wall clock, in seconds. The monotonic clock may stand still while the environment is frozen.
    """

    def __init__(self, arn: str, setting: str, now: Callable[[], float] = time.time) -> None:
        super().__init__(setting, lambda: read_secret(arn, setting), now)

    async def read(self) -> str:
        """The value as it was stored. Concurrent callers share one read.

        If refreshing fails, the stale value is kept.

        Raises:
            SettingsError: The first read failed; the message names the setting and AWS's error code.
        """
        return await self.get(MAX_AGE_S)


async def read_secret(arn: str, setting: str) -> str:
    """Read the current value of a secret, without a cache. The arguments are those of `Secret`.

    Raises:
        SettingsError: The secret cannot be read; the message names the setting and AWS's error code.
    """
    try:
        value = await _fetch(arn)
    except Exception as error:  # noqa: BLE001 - a request may fail in many ways; callers get one error
        # A code such as `AccessDeniedException`; the message would reveal the ARN and with it the account.
        code = error.reason if isinstance(error, AwsCallFailed) else type(error).__name__
        raise SettingsError(f"{setting}: the secret cannot be read: {code}") from None
    redaction.register(*find_secrets(value))
    return value


async def _fetch(arn: str) -> str:
    """Read a secret from the service and region in its ARN.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    _, _, service, region, *_ = arn.split(":")
    if service == "ssm":
        parameter = await call("ssm", "GetParameter", {"Name": arn, "WithDecryption": True}, dict[str, Any], region)
        return str(parameter["Parameter"]["Value"])
    secret = await call("secretsmanager", "GetSecretValue", {"SecretId": arn}, dict[str, Any], region)
    return str(secret["SecretString"])
