"""Logs unhandled exceptions, for example of tasks and threads that a tool left behind, without their messages.

Such a message may quote what a user said. Since it is unknown here what that was, the whole message is hidden unless
LOG_MESSAGES allows it.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor

__all__ = ["log_unhandled"]

_LOGGER: Final = logging.getLogger(__name__)


def log_unhandled(loop: asyncio.AbstractEventLoop, *, log_messages: bool) -> None:
    """Log unhandled exceptions of this loop's tasks and callbacks and of all threads and `__del__` methods."""

    def log(what: str, error: BaseException | None) -> None:
        token = EXCEPTION_REDACTOR.set(None if log_messages else ArgumentRedactor())
        try:
            _LOGGER.error("%s", what, exc_info=error)
        finally:
            EXCEPTION_REDACTOR.reset(token)

    def handle_loop_exception(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        log(context["message"] if log_messages else _generic_message(context["message"]), context.get("exception"))

    def handle_thread_exception(arguments: threading.ExceptHookArgs) -> None:
        thread = arguments.thread.name if arguments.thread and log_messages else "a thread"
        log(f"uncaught exception in {thread}", arguments.exc_value)

    loop.set_exception_handler(handle_loop_exception)
    threading.excepthook = handle_thread_exception
    sys.unraisablehook = lambda arguments: log("an exception was ignored", arguments.exc_value)


def _generic_message(message: str) -> str:
    """Return asyncio's own sentence without the name of the callback, which includes its arguments."""
    known = ("Task exception was never retrieved", "Future exception was never retrieved", "Exception in callback")
    return next((sentence for sentence in known if message.startswith(sentence)), "an error in the event loop")
