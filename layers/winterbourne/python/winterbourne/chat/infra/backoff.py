"""Exponential backoff with full jitter, for the retries of providers and of tools. Pure, apart from the random number.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""

import random

__all__ = ["backoff_s"]


def backoff_s(attempt: int, *, base_s: float, max_s: float) -> float:
    """How long to wait before the next attempt: a random time up to a limit that doubles with each failure.

    Args:
        attempt: The number of the attempt that failed, from 1.
        base_s: The limit after the first attempt, in seconds.
        max_s: What the limit never exceeds, in seconds.
    """
    return random.uniform(0, min(max_s, base_s * 2.0 ** min(attempt - 1, 64)))
