"""HTTP GET for tools: fetches JSON from any web service, or raises an error with a message the model can use."""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.service_errors import error_for_status, translate_errors

__all__ = ["get_json"]

T = TypeVar("T")

MAX_RESPONSE_BYTES: Final = 1024 * 1024


async def get_json(
    context: ToolContext,
    service: str,
    url: str,
    answer: type[T],
    *,
    params: Mapping[str, str | int | float] | None = None,
    headers: Mapping[str, str] | None = None,
    not_found: str = "",
) -> T:
    """Send a GET request through the shared connection pool; HTTP_TIMEOUT and HTTP_RETRIES apply.

    Args:
        context: The call's context.
        service: The service's name in error messages, such as `weather service`.
        url: Without a query string.
        answer: The type that the JSON is decoded to and checked against: a `msgspec.Struct`, a dataclass, a TypedDict,
            `dict[str, float]`, and so on.
        params: The query parameters; None for none.
        headers: Additional headers, such as a key.
        not_found: The error message for a 404 or a 422, such as "There is no such city."

    Returns:
        The response's JSON, as `answer`.

    Raises:
        ToolUnavailable: No response, a 429 or a 5xx, a response that cannot be read, or more than 1 MiB.
        ToolError: The service refused the request.
    """
    query = dict(params) if params else None
    with translate_errors(service):
        async with context.http.stream("GET", url, params=query, headers=dict(headers or {})) as response:
            if response.status_code in {404, 422} and not_found:
                raise ToolError(not_found)
            if response.status_code != 200:
                raise error_for_status(service, response.status_code, "key")
            try:
                body = await http_pool.read_body(response, MAX_RESPONSE_BYTES)
            except http_pool.BodyTooLarge:
                raise ToolUnavailable(f"The {service} sent more than {MAX_RESPONSE_BYTES} bytes.") from None
            return msgspec.json.decode(body, type=answer)
