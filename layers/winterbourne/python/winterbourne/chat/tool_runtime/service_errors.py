"""What a model is told when a service that a tool calls has failed: one sentence, alike for all services."""

import contextlib
from collections.abc import Iterator

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.http_library import httpx

__all__ = ["error_for_status", "translate_errors"]


@contextlib.contextmanager
def translate_errors(service: str, *malformed: type[Exception]) -> Iterator[None]:
    """Translate what HTTP and decoding raise in the block.

    Args:
        service: Its name in the message, such as `weather service`.
        malformed: What the block raises for an answer of a wrong shape, besides ValueError.

    Raises:
        ToolUnavailable: In place of such an error.
    """
    unreadable: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL, ValueError, *malformed)
    try:
        yield
    except httpx.TimeoutException:
        raise ToolUnavailable(f"The {service} did not answer in time.") from None
    except httpx.TransportError as error:
        raise ToolUnavailable(f"The {service} cannot be reached.") from error
    except unreadable as error:
        raise ToolUnavailable(f"The {service} sent an answer that cannot be read.") from error


def error_for_status(service: str, status: int, credential: str) -> ToolError:
    """The error for a response that is not a success; `credential` is what the service is sent, a key or a token."""
    if status in {401, 403}:
        return ToolError(f"The {service} does not accept our {credential}; the operator must look at it.")
    if status == 429 or status >= 500:
        return ToolUnavailable(f"The {service} is busy or broken (HTTP {status}).")
    return ToolError(f"The {service} refused the request (HTTP {status}).")
