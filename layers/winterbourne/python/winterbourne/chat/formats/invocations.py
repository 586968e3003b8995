"""AgentCore Runtime's one path, `POST /invocations`, for clients of two formats: AG-UI's and the native one.

A body with `runId` or `threadId`, which AG-UI's RunAgentInput must have and no native body has, is AG-UI's.
"""

from typing import Any, Final

from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.formats import ag_ui, native
from winterbourne.chat.formats.base import Encoder, Format

__all__ = ["FORMAT"]


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    """Decode a request by the format that its body has."""
    wire_format: Format = (ag_ui if body.keys() & {"runId", "threadId"} else native).FORMAT
    return wire_format.decode(body)


FORMAT: Final = Format("/invocations", decode, native.FORMAT.encode_error)
"""Both formats, told apart by their fields."""
