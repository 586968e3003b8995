"""Response streaming for Python functions on AWS Lambda: the public API of the runtime.

Importing it opens no socket and starts no event loop.
"""

__version__ = "0.1.0"

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
from winterbourne.lifecycle import after_restore, before_snapshot, on_shutdown, on_startup, on_stream_error, retire
from winterbourne.logs import redact_logs
from winterbourne.prelude import Response
from winterbourne.stream import ResponseStream

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
    "on_startup",
    "on_stream_error",
    "redact_logs",
    "retire",
    "streamify_response",
]
