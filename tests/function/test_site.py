"""The page as an endpoint."""

from typing import cast

import pytest

from chat.auth import ANONYMOUS
from chat.errors import RequestRejected
from chat.service import Call
from chat.site import site
from tests.function.exchanges import Answered, FixedContext, request
from winterbourne import ResponseStream


async def visit(path: str, **headers: str) -> Answered:
    answered = Answered()
    asked = request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    stream = cast("ResponseStream", answered)
    await site(Call(request=asked, caller=ANONYMOUS, names={}, stream=stream, context=FixedContext()))
    return answered


async def test_the_page_comes_with_its_type_and_its_rules() -> None:
    answered = await visit("/")
    assert (answered.status, answered.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "content-security-policy" in answered.headers
    assert answered.body.startswith(b"<!doctype html>")


async def test_a_browser_that_has_it_gets_no_body() -> None:
    etag = (await visit("/")).headers["etag"]
    answered = await visit("/", if_none_match=etag)
    assert (answered.status, answered.body, answered.headers["etag"]) == (304, b"", etag)


async def test_what_is_not_of_the_page_is_not_found() -> None:
    with pytest.raises(RequestRejected) as refusal:
        await visit("/web/x/settings.py")
    assert refusal.value.status == 404
