"""Rate limit (token bucket) and size limit of a streamed response on Lambda: 6 MB burst, then 2 MB/s, 200 MB at most.

Only computes waiting times; the caller does the waiting.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["ResponseLimits", "ResponseTooLarge", "TokenBucket"]

MB: Final = 1024 * 1024


class ResponseTooLarge(Exception):
    """The response exceeds its size limit."""


@dataclass(frozen=True)
class ResponseLimits:
    """The limits of one response.

    Attributes:
        burst_bytes: Bytes that may be sent at once.
        bytes_per_s: Bytes per second after the burst; 0 means no limit.
        max_bytes: Maximum size; 0 means no limit.
    """

    burst_bytes: int = 6 * MB
    bytes_per_s: int = 2 * MB
    max_bytes: int = 200 * MB


class TokenBucket:
    """Token bucket of one response.

    Args:
        limits: The limits.
        clock: Monotonic time in seconds.
    """

    def __init__(self, limits: ResponseLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._tokens, self._refilled_at = float(limits.burst_bytes), clock()
        self.total_bytes = 0

    def reserve(self, size: int) -> float:
        """Take tokens for `size` bytes.

        Returns:
            Seconds to wait before sending them.

        Raises:
            ResponseTooLarge: They would exceed the size limit.
        """
        if self._limits.max_bytes and self.total_bytes + size > self._limits.max_bytes:
            raise ResponseTooLarge
        self.total_bytes += size
        if not self._limits.bytes_per_s:
            return 0.0
        now = self._clock()
        refilled = self._tokens + (now - self._refilled_at) * self._limits.bytes_per_s
        self._tokens, self._refilled_at = min(self._limits.burst_bytes, refilled) - size, now
        return max(0.0, -self._tokens / self._limits.bytes_per_s)
