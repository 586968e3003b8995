"""For the tests of a chat: asks its handler a question, as a request to its function URL would, in this process."""

import json
import time
from collections.abc import Callable
from typing import Any

from winterbourne import LambdaContext

__all__ = ["ask"]


def ask(handler: Callable[..., Any], question: str, *, timeout_s: float = 60) -> list[dict[str, Any]]:
    """Ask a chat a question, in this process and without a server.

    Set AUTH=none before the chat is imported, and MODEL_PROVIDER=scripted for a model that calls whatever tool the
    question names.

    Args:
        handler: `chat.handler`; called outside a running event loop.
        question: The user's message.
        timeout_s: How long the answer may take, as Lambda's timeout, in seconds.

    Returns:
        The frames of the native format, in order: `{"type": "start", …}` first, `{"type": "done", …}` last.

    Raises:
        AssertionError: The response is no stream; the message has its status and its body.
    """
    event = {
        "version": "2.0",
        "rawPath": "/chat",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/chat"}},
        "body": json.dumps({"messages": [{"role": "user", "content": question}]}),
    }
    deadline_ms = f"{(time.time() + timeout_s) * 1000:.0f}"
    response = handler(event, LambdaContext({"lambda-runtime-deadline-ms": deadline_ms}))
    if response["statusCode"] != 200:
        raise AssertionError(f"{response['statusCode']}: {response['body']}")
    return [json.loads(line[6:]) for line in response["body"].splitlines() if line.startswith("data: ")]
