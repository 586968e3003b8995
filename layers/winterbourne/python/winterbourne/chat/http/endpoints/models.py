"""Models endpoint: lists the models on offer, in OpenAI's format."""

from winterbourne.chat.http.service import JSON_HEADERS, RequestContext, reply

__all__ = ["list_models"]


async def list_models(body: bytes, context: RequestContext) -> None:
    """Send the list, which is the same for every caller."""
    await reply(context.stream, 200, body, JSON_HEADERS)
