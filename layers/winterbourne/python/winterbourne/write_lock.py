"""The lock under which the bytes of a response are built and sent: by the event loop, or by the watchdog's thread."""

import threading

__all__ = ["LOCK"]

LOCK = threading.RLock()
"""Held to build bytes and send them in one step, and to read a reply."""
