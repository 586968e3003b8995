"""Waiting for an exact time. Linux only, as are the benches.

`asyncio.sleep` ends up to two milliseconds late, 0.9 at the median: the loop waits in whole milliseconds, rounded up
twice. A tool that waits for a server is woken when the answer is there; so is one that waits for the kernel's timer,
which is a file descriptor that can be read.
"""

import asyncio
import ctypes
import os
from typing import Final

__all__ = ["wait"]

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """The system's `struct itimerspec`: seconds and nanoseconds of the interval, and of the first time."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


async def wait(seconds: float) -> None:
    """Wait, without the loop's rounding; `seconds` is more than 0."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    timer = _LIBC.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # CLOCK_MONOTONIC, the loop's clock as well
    whole, rest = divmod(round(seconds * 1e9), 10**9)
    spec = _Spec(0, 0, whole, rest)
    if timer < 0 or _LIBC.timerfd_settime(timer, 0, ctypes.byref(spec), None):
        raise OSError(ctypes.get_errno(), "no timer")
    loop.add_reader(timer, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(timer)
        os.close(timer)
