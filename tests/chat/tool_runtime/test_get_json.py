"""`get_json`: JSON from an HTTP service, or an error with one clear sentence."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.functions.chat.tools.mock_service import Service
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.get_json import MAX_RESPONSE_BYTES, get_json


class NumberResponse(msgspec.Struct):
    number: int


async def get_number(answer: httpx.Response | Exception, not_found: str = "") -> NumberResponse:
    service = Service(answer)
    return await get_json(
        service.context(),
        "number service",
        "http://numbers.test",
        NumberResponse,
        params={"q": "ä&"},
        not_found=not_found,
    )


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"[" * 65536


async def test_json_is_decoded_into_the_given_type() -> None:
    assert (await get_number(httpx.Response(200, json={"number": 5, "more": 1}))).number == 5


async def test_the_query_is_percent_encoded() -> None:
    service = Service(httpx.Response(200, json={"number": 5}))
    await get_json(service.context(), "s", "http://numbers.test", NumberResponse, params={"q": "ä&b=c"})
    assert service.requests[0].url.query == b"q=%C3%A4%26b%3Dc"


async def test_a_query_is_optional() -> None:
    service = Service(httpx.Response(200, json={"number": 5}))
    assert (await get_json(service.context(), "s", "http://numbers.test/5", NumberResponse)).number == 5
    assert str(service.requests[0].url) == "http://numbers.test/5"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (httpx.Response(429), r"The number service is busy or broken \(HTTP 429\)\."),
        (httpx.Response(503), r"The number service is busy or broken \(HTTP 503\)\."),
        (httpx.ReadTimeout("x"), r"The number service did not answer in time\."),
        (httpx.ConnectError("[Errno 111] at 10.0.0.1"), r"^The number service cannot be reached\.$"),
        (httpx.Response(200, text="<html>"), r"The number service sent an answer that cannot be read\."),
        (httpx.Response(200, json={"number": "5"}), r"The number service sent an answer that cannot be read\."),
        (httpx.Response(200, content=endless()), rf"The number service sent more than {MAX_RESPONSE_BYTES} bytes\."),
    ],
)
async def test_a_transient_failure_is_tool_unavailable(answer: httpx.Response | Exception, sentence: str) -> None:
    with pytest.raises(ToolUnavailable, match=sentence):
        await get_number(answer)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, r"The number service refused the request \(HTTP 400\)\."),
        (404, r"The number service refused the request \(HTTP 404\)\."),
        (302, r"The number service refused the request \(HTTP 302\)\."),
        (403, r"The number service does not accept our key; the operator must look at it\."),
    ],
)
async def test_a_rejected_request_is_a_plain_tool_error(status: int, sentence: str) -> None:
    with pytest.raises(ToolError, match=sentence) as raised:
        await get_number(httpx.Response(status))
    assert not isinstance(raised.value, ToolUnavailable)


@pytest.mark.parametrize("status", [404, 422])
async def test_not_found_can_have_a_message_of_its_own(status: int) -> None:
    with pytest.raises(ToolError, match="No such number"):
        await get_number(httpx.Response(status), not_found="No such number.")
