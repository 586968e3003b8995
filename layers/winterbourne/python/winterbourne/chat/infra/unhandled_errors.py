"""Errors that nobody waits for, of tasks and threads that a tool left behind: logged without what they say.

What such an error quotes cannot be told apart from what a user said, so its message is shown only where LOG_MESSAGES
says that the log may have that.
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
    """Log the unhandled errors of this loop's tasks and callbacks, of this process's threads and of its `__del__`s."""

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
        log(f"uncaught in {thread}", arguments.exc_value)

    def handle_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
        log("an exception was ignored", arguments.exc_value)

    loop.set_exception_handler(handle_loop_exception)
    threading.excepthook = handle_thread_exception
    sys.unraisablehook = handle_unraisable


def _generic_message(message: str) -> str:
    """Asyncio's own sentence, without the callback that it names: that shows its arguments."""
    known = ("Task exception was never retrieved", "Future exception was never retrieved", "Exception in callback")
    return next((sentence for sentence in known if message.startswith(sentence)), "an error in the event loop")
