"""How fast and how much Lambda lets a function stream: 6 MB at once, then 2 MB/s, 200 MB at most.

Decides; who asks does the waiting. https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Bucket", "Shape", "TooLarge"]

MB: Final = 1024 * 1024


class TooLarge(Exception):
    """The response has grown past its limit."""


@dataclass(frozen=True)
class Shape:
    """The limits of one response.

    Args:
        burst: Bytes that pass at once.
        rate: Bytes per second after that; 0 is no limit.
        limit: Bytes at most; 0 is no limit.
    """

    burst: int = 6 * MB
    rate: int = 2 * MB
    limit: int = 200 * MB


class Bucket:
    """One response on its way through its shape.

    Args:
        shape: The limits.
        clock: Seconds, never going back.
    """

    def __init__(self, shape: Shape, clock: Callable[[], float]) -> None:
        self._shape, self._clock = shape, clock
        self._tokens, self._filled_at = float(shape.burst), clock()
        self.passed = 0

    def take(self, size: int) -> float:
        """Let `size` bytes pass.

        Returns:
            Seconds to wait before they may be sent.

        Raises:
            TooLarge: They may not pass at all.
        """
        if self._shape.limit and self.passed + size > self._shape.limit:
            raise TooLarge
        self.passed += size
        if not self._shape.rate:
            return 0.0
        self._fill()
        self._tokens -= size
        return max(0.0, -self._tokens / self._shape.rate)

    def _fill(self) -> None:
        now = self._clock()
        earned = (now - self._filled_at) * self._shape.rate
        self._tokens, self._filled_at = min(float(self._shape.burst), self._tokens + earned), now
