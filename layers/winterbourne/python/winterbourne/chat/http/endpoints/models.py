"""Models endpoints: the models on offer, and one of them, in OpenAI's format."""

from collections.abc import Callable

from winterbourne.chat.http.service import JSON_HEADERS, RequestContext, reply

__all__ = ["describe_model", "list_models"]


async def list_models(find: Callable[[], bytes], context: RequestContext) -> None:
    """Send the list, which is the same for every caller."""
    await reply(context.stream, 200, find(), JSON_HEADERS)


async def describe_model(find: Callable[[str], bytes], context: RequestContext) -> None:
    """Send one model, which `find` finds by its id, or raises RequestRejected. A slash in it may be percent-encoded."""
    await reply(context.stream, 200, find(context.path_params["id"]), JSON_HEADERS)
