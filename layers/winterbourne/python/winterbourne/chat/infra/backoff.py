"""How long to wait before a retry: exponential backoff with full jitter, and what a server asks for. Does no waiting.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""

import contextlib
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["backoff_s", "retry_after_s"]


def backoff_s(attempt: int, *, base_s: float = 0.2, max_s: float = 5.0) -> float:
    """How long to wait before the next attempt: a random time up to a limit that doubles with each failure.

    Args:
        attempt: The number of the attempt that failed, from 1.
        base_s: The limit after the first attempt, in seconds.
        max_s: What the limit never exceeds, in seconds.
    """
    return random.uniform(0, min(max_s, base_s * 2.0 ** min(attempt - 1, 64)))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds from now (RFC 9110, section 10.2.3: seconds or a date); None if it is neither.

    The retry-after-ms of OpenAI and Azure, which is more exact, comes first.
    """
    retry_after = headers.get("retry-after", "")
    for number, units_per_second in ((headers.get("retry-after-ms", ""), 1000), (retry_after, 1)):
        with contextlib.suppress(ValueError):
            return max(0.0, float(number)) / units_per_second
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    return None
