"""The circuit breaker around a tool: one that keeps failing is paused, and so are all that share its breaker."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.tool_runtime.call import ActiveCall
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.results import Outcome, counts_as_failure, failed

__all__ = ["GuardedTool"]

_LOGGER: Final = logging.getLogger(__name__)


class GuardedTool(msgspec.Struct, frozen=True):
    """A tool and its breaker, which other tools may share.

    Attributes:
        tool: Has a `breaker`.
        breaker: The one of that name.
        now: Wall clock, seconds. The loop's clock may stop while the environment is frozen, which would keep breakers
            open.
    """

    tool: Tool
    breaker: CircuitBreaker
    now: Callable[[], float]

    def refusal(self, _: ActiveCall) -> Outcome | None:
        """The outcome of a call while the breaker is open, else None."""
        retry_after_s = self.breaker.remaining_open_s(self.now())
        return failed(self._refusal_message(retry_after_s)) if retry_after_s else None

    def guard(self, call: Call) -> Call:
        """The call, refused while the breaker is open; how it ends is recorded.

        A cancellation counts as a failure from `context.patience` on, when the tool's timeout has expired, and if it is
        the tool's own.
        """

        async def guarded_call(arguments: Any, context: ToolContext) -> Any:
            if retry_after_s := self.breaker.remaining_open_s(self.now()):
                raise ToolError(self._refusal_message(retry_after_s))
            generation = self.breaker.begin(self.now())
            try:
                result = await call(arguments, context)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not (task and task.cancelling()) or asyncio.get_running_loop().time() >= context.patience:
                    self._record(generation, succeeded=False)
                raise
            except BaseException as error:
                self._record(generation, succeeded=not counts_as_failure(error))
                raise
            self._record(generation, succeeded=True)
            return result

        return guarded_call

    def _record(self, generation: int, *, succeeded: bool) -> None:
        if self.breaker.record(generation, succeeded=succeeded, now=self.now()):
            measure("BreakerOpenings", tool=self.tool.name)
            extra = {"tool": self.tool.name}
            _LOGGER.warning("circuit breaker %s opened", self.tool.options.breaker, extra=extra)

    def _refusal_message(self, retry_after_s: float) -> str:
        name = self.tool.name
        return f"{name} failed too often and is paused; it may be called again in {retry_after_s:.0f} seconds."
