"""The chat page and its files, as an endpoint."""

from chat.errors import RequestRejected
from chat.service import Call, reply
from chat.web import page

__all__ = ["site"]


async def site(call: Call) -> None:
    """Answer with the file at the path; 304 where the browser has it.

    Raises:
        RequestRejected: 404, there is none.
    """
    file = page(call.request.path)
    if file is None:
        raise RequestRejected(404, "not_found", "there is nothing at this path")
    headers = {"content-type": file.content_type, **file.headers}
    if file.is_known(call.request.headers.get("if-none-match", "")):
        await reply(call.stream, 304, b"", headers)
    else:
        await reply(call.stream, 200, file.body, headers)
