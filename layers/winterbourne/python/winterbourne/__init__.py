"""Response streaming for Python functions on AWS Lambda: the public API of the runtime.

Importing it opens no socket and starts no event loop. Each name is imported on first use, so that a process of one tool
does not pay for asyncio.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "DeadlineReached",
    "LambdaContext",
    "PreludeTooLarge",
    "Response",
    "ResponseStream",
    "ShuttingDown",
    "StreamLost",
    "StreamMisused",
    "WinterbourneError",
    "__version__",
    "after_restore",
    "before_snapshot",
    "current_context",
    "current_trace_id",
    "on_shutdown",
    "on_stall",
    "on_startup",
    "on_stream_error",
    "redact_logs",
    "retire",
    "streamify_response",
]

if TYPE_CHECKING:
    from winterbourne.errors import (
        DeadlineReached,
        PreludeTooLarge,
        ShuttingDown,
        StreamLost,
        StreamMisused,
        WinterbourneError,
    )
    from winterbourne.handlers import streamify_response
    from winterbourne.invocation import LambdaContext, current_context, current_trace_id
    from winterbourne.lifecycle import (
        after_restore,
        before_snapshot,
        on_shutdown,
        on_stall,
        on_startup,
        on_stream_error,
        retire,
    )
    from winterbourne.logs import redact_logs
    from winterbourne.prelude import Response
    from winterbourne.stream import ResponseStream
else:  # a type checker that saw this function would take any misspelt name for a public one

    def __getattr__(name: str) -> Any:
        """Import a public name on first use (PEP 562)."""
        for module in ("errors", "handlers", "invocation", "lifecycle", "logs", "prelude", "stream"):
            if name in __all__ and hasattr(found := importlib.import_module(f"{__name__}.{module}"), name):
                return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
