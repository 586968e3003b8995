"""Web Functions: what the platform removes and adds, refuses, and cuts without a sign; which variables there are."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.local.test_http_door import behind
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.http_server import Exchange
from winterbourne.local.web_functions import WebFunction


class TestARequest:
    async def test_loses_what_the_platform_removes_and_gets_what_it_adds(self) -> None:
        removed = (
            "x-real-ip",
            "proxy-authorization",
            "te",
            "trailer",
            "x-http-method-override",
            "lambda-web-request-id",
        )
        sent = {**dict.fromkeys(removed, "forged"), "x-forwarded-for": "198.51.100.9", "x-kept": "1", "cookie": "a=1"}
        async with behind(WebFunction) as at:
            response = await at.http.get("/", headers=sent)
        headers = at.asked[0][2]
        assert not {*removed} - {"lambda-web-request-id"} & headers.keys()
        assert (headers["x-kept"], headers["cookie"]) == ("1", "a=1")
        assert headers["x-forwarded-for"] == "198.51.100.9, 127.0.0.1"
        assert headers["lambda-web-request-id"] == response.headers["lambda-web-request-id"] != "forged"
        assert headers["lambda-web-endpoint-name"]
        assert response.headers["lambda-web-logstream"]

    async def test_is_refused_if_the_platform_refuses_it(self) -> None:
        async with behind(WebFunction) as at:
            assert (await at.http.request("TRACE", "/")).status_code == 400
            assert (await at.http.post("/", content=b"x", headers={"expect": "100-continue"})).status_code == 417
            assert await status_of(at.port, b"GET / HTTP/1.0\r\n\r\n") == 505
        assert not at.asked


async def status_of(port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


class TestTheTimeout:
    async def test_ends_a_stream_as_if_it_were_whole(self) -> None:
        async def endless(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.write(b"half")
            await exchange.wait_for_disconnect()

        async with behind(WebFunction, endless, timeout_s=0.1) as at:
            response = await at.http.get("/")
        assert (response.status_code, response.text) == (200, "half")

    async def test_cuts_a_response_short_that_has_named_its_length(self) -> None:
        async def halfway(exchange: Exchange) -> None:
            await exchange.start_response(200, [("content-length", "8")])
            await exchange.write(b"half")
            await exchange.wait_for_disconnect()

        async with behind(WebFunction, halfway, timeout_s=0.1) as at:
            with pytest.raises(httpx.RemoteProtocolError):
                await at.http.get("/")

    async def test_is_a_504_before_the_response(self) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.wait_for_disconnect()

        async with behind(WebFunction, silent, timeout_s=0.1) as at:
            response: httpx.Response = await at.http.get("/")
        assert (response.status_code, response.headers["lambda-web-error-type"]) == (504, "Runtime.RequestTimeout")


@pytest.mark.parametrize(
    "absent",
    [
        *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
        *("_X_AMZN_TRACE_ID", "_HANDLER", "AWS_LAMBDA_EXEC_WRAPPER"),
    ],
)
def test_variables_are_those_of_the_platform(absent: str) -> None:
    function = FunctionConfig(task_root=Path(), handler="app:app", variables={"OWN": "1"})
    made = WebFunction.variables(function, {absent: "of the user", "AWS_REGION": "eu-west-1"}, "127.0.0.1:3000")
    assert absent not in made
    assert (
        made.items()
        >= {
            "AWS_LAMBDA_HTTP_ENDPOINT": "127.0.0.1:3000",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "native-http",
            "AWS_LAMBDA_PYTHON_ENTRYPOINT": "asgi:app:app",
            "AWS_REGION": "eu-west-1",
            "OWN": "1",
        }.items()
    )
    assert made["AWS_LAMBDA_RUNTIME_API"]


def test_a_second_is_all_that_is_left_after_sigterm() -> None:
    assert WebFunction.grace_s == 1
