"""How fast and how much Lambda lets a function stream: 6 MB at once, then 2 MB/s, 200 MB at most.

Decides; who asks does the waiting. https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["ResponseLimits", "ResponseTooLarge", "TokenBucket"]

MB: Final = 1024 * 1024


class ResponseTooLarge(Exception):
    """The response has grown past its limit."""


@dataclass(frozen=True)
class ResponseLimits:
    """The limits of one response.

    Args:
        burst: Bytes that pass at once.
        rate: Bytes per second after that; 0 is no limit.
        limit: Bytes at most; 0 is no limit.
    """

    burst_bytes: int = 6 * MB
    bytes_per_s: int = 2 * MB
    max_bytes: int = 200 * MB


class TokenBucket:
    """One response on its way through its shape.

    Args:
        shape: The limits.
        clock: Seconds, never going back.
    """

    def __init__(self, limits: ResponseLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._tokens, self._refilled_at = float(limits.burst_bytes), clock()
        self.total_bytes = 0

    def reserve(self, size: int) -> float:
        """Let `size` bytes pass.

        Returns:
            Seconds to wait before they may be sent.

        Raises:
            TooLarge: They may not pass at all.
        """
        if self._limits.max_bytes and self.total_bytes + size > self._limits.max_bytes:
            raise ResponseTooLarge
        self.total_bytes += size
        if not self._limits.bytes_per_s:
            return 0.0
        self._refill()
        self._tokens -= size
        return max(0.0, -self._tokens / self._limits.bytes_per_s)

    def _refill(self) -> None:
        now = self._clock()
        new_tokens = (now - self._refilled_at) * self._limits.bytes_per_s
        self._tokens, self._refilled_at = min(float(self._limits.burst_bytes), self._tokens + new_tokens), now
