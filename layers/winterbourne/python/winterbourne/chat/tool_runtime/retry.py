"""Retry of a tool's call with exponential backoff and jitter, for tools declared as idempotent (safe to repeat)."""

import asyncio
import logging
from typing import Any, Final

from winterbourne.chat.infra.backoff import backoff_s
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call
from winterbourne.chat.tool_runtime.results import counts_as_failure

__all__ = ["with_retry"]

_LOGGER: Final = logging.getLogger(__name__)

BACKOFF_BASE_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0


def with_retry(name: str, retries: int, call: Call) -> Call:
    """The call, repeated up to `retries` times while it fails; what the last attempt raises is raised.

    A ToolError is not retried, since the tool raised it on purpose; a ToolUnavailable is.
    """

    async def call_with_retry(arguments: Any, context: ToolContext) -> Any:
        for attempt in range(1, retries + 1):
            try:
                return await call(arguments, context)
            except Exception as error:
                if not counts_as_failure(error):
                    raise
                context.has_failed = True
                _LOGGER.warning("retrying tool %s after attempt %d", name, attempt, exc_info=error)
            await asyncio.sleep(backoff_s(attempt, base_s=BACKOFF_BASE_S, max_s=BACKOFF_MAX_S))
        return await call(arguments, context)

    return call_with_retry
