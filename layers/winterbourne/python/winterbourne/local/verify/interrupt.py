"""Ctrl-C, SIGTERM and SIGHUP: the first ends what is under way, none ends the tidying up that follows."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Interrupted", "Interrupts"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end."""


class Interrupts:
    """A context in which the first signal raises Interrupted in the main thread, once at most.

    Args:
        deaf: Called for every signal that raises nothing. It may do nothing that is not safe in a signal handler.

    Attributes:
        number: The signal that was raised; 0 if none was.
    """

    def __init__(self, deaf: Callable[[], None]) -> None:
        self._deaf, self.number, self._held, self._before = deaf, 0, False, dict[int, Any]()

    def hold(self) -> None:
        """Raise nothing from here on."""
        self._held = True

    def __enter__(self) -> Self:
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as of nohup
        self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._held:
            self._deaf()
            return
        self._held, self.number = True, number
        raise Interrupted
