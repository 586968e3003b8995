"""HTTP GET for tools: fetches JSON from any web service, or raises an error with a message the model can use."""

from collections.abc import Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.tool_runtime.context import ToolContext

__all__ = ["get_json"]

T = TypeVar("T")

MAX_RESPONSE_BYTES: Final = 1024 * 1024


async def get_json(
    context: ToolContext,
    service: str,
    url: str,
    answer: type[T],
    *,
    params: Mapping[str, str | int | float],
    headers: Mapping[str, str] | None = None,
    not_found: str = "",
) -> T:
    """Send a GET request through the shared connection pool; HTTP_TIMEOUT applies.

    Args:
        context: The call's context.
        service: The service's name in error messages, such as `weather service`.
        url: Without a query string.
        answer: The type that the JSON is decoded to.
        params: The query parameters.
        headers: Additional headers, such as a key.
        not_found: The error message for a 404 or a 422.

    Raises:
        ToolUnavailable: No response, a 429 or a 5xx, or a response that cannot be read.
        ToolError: The service refused the request.
    """
    try:
        async with context.http.stream("GET", url, params=dict(params), headers=dict(headers or {})) as response:
            _raise_for_status(service, response.status_code, not_found)
            return msgspec.json.decode(await http_pool.read_body(response, MAX_RESPONSE_BYTES), type=answer)
    except httpx.TimeoutException:
        raise ToolUnavailable(f"The {service} did not answer in time.") from None
    except http_pool.BodyTooLarge:
        raise ToolUnavailable(f"The {service} sent more than {MAX_RESPONSE_BYTES} bytes.") from None
    except httpx.TransportError as error:
        raise ToolUnavailable(f"The {service} cannot be reached.") from error
    except (httpx.RequestError, msgspec.DecodeError) as error:
        raise ToolUnavailable(f"The {service} sent an answer that cannot be read.") from error


def _raise_for_status(service: str, status: int, not_found: str) -> None:
    if status in {404, 422} and not_found:
        raise ToolError(not_found)
    if status in {401, 403}:
        raise ToolError(f"The {service} does not accept our key; the operator must look at it.")
    if status == 429 or status >= 500:
        raise ToolUnavailable(f"The {service} is busy or broken (HTTP {status}).")
    if status != 200:
        raise ToolError(f"The {service} refused the request (HTTP {status}).")
