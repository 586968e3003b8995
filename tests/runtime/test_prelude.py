"""Prelude of a streamed response: status, headers and cookies before the body; and the buffered equivalent."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne import PreludeTooLarge, Response
from winterbourne.invocation import FrontEnd
from winterbourne.prelude import HOP_BY_HOP_HEADERS, MAX_PRELUDE_BYTES, SEPARATOR, buffered_response, encode_prelude

TEXT = st.text(st.characters(), max_size=60)
NAMES = st.text(st.characters(codec="ascii"), min_size=1, max_size=20)


def decoded(prelude: bytes) -> dict[str, object]:
    """The JSON up to the first separator, as Lambda parses it."""
    document, _, rest = prelude.partition(SEPARATOR)
    assert rest == b""
    return dict(json.loads(document))


def test_status_headers_and_cookies() -> None:
    response = Response(201, {"Content-Type": "text/plain"}, ["a=b; Path=/", "c=d"])
    assert encode_prelude(response) == (
        b'{"statusCode":201,"headers":{"content-type":"text/plain"},"cookies":["a=b; Path=/","c=d"]}' + b"\0" * 8
    )


def test_the_default_is_200_and_octet_stream() -> None:
    assert decoded(encode_prelude(Response())) == {
        "statusCode": 200,
        "headers": {"content-type": "application/octet-stream"},
    }


def test_set_cookie_becomes_a_cookie() -> None:
    response = Response(
        headers=[("Set-Cookie", "a=b"), ("content-type", "x/y"), ("set-cookie", "c=d")], cookies=["e=f"]
    )
    assert decoded(encode_prelude(response)) == {
        "statusCode": 200,
        "headers": {"content-type": "x/y"},
        "cookies": ["e=f", "a=b", "c=d"],
    }


def test_a_rest_api_gets_its_cookies_as_header_values() -> None:
    prelude = decoded(encode_prelude(Response(headers={"content-type": "x/y"}, cookies=["a=b", "c=d"]), rest_api=True))
    assert prelude["multiValueHeaders"] == {"set-cookie": ["a=b", "c=d"]}
    assert "cookies" not in prelude


def test_repeated_headers_are_folded() -> None:
    response = Response(headers=[("Vary", "Origin"), ("vary", "Accept"), ("content-type", "x/y")])
    assert decoded(encode_prelude(response))["headers"] == {"vary": "Origin, Accept", "content-type": "x/y"}


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP_HEADERS))
def test_hop_by_hop_headers_are_dropped(name: str) -> None:
    response = Response(headers={name.title(): "1", "content-type": "x/y"})
    assert decoded(encode_prelude(response))["headers"] == {"content-type": "x/y"}


def test_headers_named_by_the_connection_header_are_dropped() -> None:
    response = Response(headers=[("X-Hop", "1"), ("Connection", "close, x-hop"), ("content-type", "x/y")])
    assert decoded(encode_prelude(response))["headers"] == {"content-type": "x/y"}


def test_the_size_is_limited_to_16_kilobytes() -> None:
    spare = MAX_PRELUDE_BYTES - len(encode_prelude(Response(headers={"content-type": "x/y", "x-long": ""})))
    assert len(encode_prelude(Response(headers={"content-type": "x/y", "x-long": "a" * spare}))) == MAX_PRELUDE_BYTES
    with pytest.raises(PreludeTooLarge, match="take 16385 bytes; the limit is 16384"):
        encode_prelude(Response(headers={"content-type": "x/y", "x-long": "a" * (spare + 1)}))


@given(st.dictionaries(NAMES, TEXT, max_size=8), st.lists(TEXT, max_size=4), st.integers(100, 599))
def test_any_text_arrives_unchanged_and_never_contains_the_separator(
    headers: dict[str, str], cookies: list[str], status: int
) -> None:
    prelude = decoded(encode_prelude(Response(status, headers, cookies)))
    assert prelude["statusCode"] == status
    lowered = [name.lower() for name in headers]
    if len(set(lowered)) == len(lowered) and not {"set-cookie", "connection"} & set(lowered):
        kept = {name.lower(): value for name, value in headers.items() if name.lower() not in HOP_BY_HOP_HEADERS}
        has_body = status == 200 or (200 < status < 300 and status not in {204, 205}) or status >= 400
        assert prelude["headers"] == ({"content-type": "application/octet-stream"} if has_body else {}) | kept
        assert prelude.get("cookies", []) == cookies


def test_nul_in_a_value_is_escaped() -> None:
    assert encode_prelude(Response(headers={"x": "a" + "\0" * 9})).count(b"\0") == 8


class TestBuffered:
    """The same response for a client that cannot stream."""

    def test_text(self) -> None:
        assert buffered_response(Response(202, {"content-type": "text/plain"}, ["a=b"]), "grüß".encode()) == {
            "statusCode": 202,
            "headers": {"content-type": "text/plain"},
            "cookies": ["a=b"],
            "body": "grüß",
            "isBase64Encoded": False,
        }

    @given(st.binary())
    def test_any_bytes(self, body: bytes) -> None:
        answer = buffered_response(Response(), body)
        text = answer["body"]
        assert (base64.b64decode(text) if answer["isBase64Encoded"] else text.encode()) == body


class TestTheContentTypeOfAResponseWithoutOne:
    """None where there is no body: a cache that updates a stored page from a 304 would take it over."""

    @pytest.mark.parametrize("status", [100, 103, 204, 205, 301, 302, 303, 304, 307, 308])
    def test_is_none_for_a_status_without_a_body(self, status: int) -> None:
        assert "content-type" not in decoded(encode_prelude(Response(status, {"location": "/"})))["headers"]  # type: ignore[operator]

    @pytest.mark.parametrize("status", [200, 404])
    def test_is_none_if_the_body_is_known_to_be_empty(self, status: int) -> None:
        assert decoded(encode_prelude(Response(status, {"Content-Length": "0"})))["headers"] == {}
        assert decoded(encode_prelude(Response(status), has_body=False))["headers"] == {}
        assert buffered_response(Response(status), b"")["headers"] == {}

    def test_is_the_one_that_was_given(self) -> None:
        assert decoded(encode_prelude(Response(304, {"content-type": "a/b"})))["headers"] == {"content-type": "a/b"}


class TestBufferedForAFrontEnd:
    """Each reads headers and cookies in its own shape."""

    RESPONSE = Response(200, {"content-type": "text/plain"}, ["a=b", "c=d", "e=f"])

    def headers_for(self, front_end: FrontEnd) -> dict[str, object]:
        answer = buffered_response(self.RESPONSE, b"x", front_end)
        assert (answer.pop("statusCode"), answer.pop("body"), answer.pop("isBase64Encoded")) == (200, "x", False)
        return answer

    @pytest.mark.parametrize("front_end", [FrontEnd.FUNCTION_URL, FrontEnd.HTTP_API])
    def test_payload_2_lists_cookies(self, front_end: FrontEnd) -> None:
        assert self.headers_for(front_end) == {
            "headers": {"content-type": "text/plain"},
            "cookies": ["a=b", "c=d", "e=f"],
        }

    @pytest.mark.parametrize("front_end", [FrontEnd.REST_API, FrontEnd.HTTP_API_1])
    def test_payload_1_has_cookies_as_values_of_a_header(self, front_end: FrontEnd) -> None:
        assert self.headers_for(front_end) == {
            "headers": {"content-type": "text/plain"},
            "multiValueHeaders": {"set-cookie": ["a=b", "c=d", "e=f"]},
        }

    def test_a_load_balancer_with_multi_value_headers_reads_only_those(self) -> None:
        assert self.headers_for(FrontEnd.LOAD_BALANCER_MULTI_VALUE) == {
            "multiValueHeaders": {"content-type": ["text/plain"], "set-cookie": ["a=b", "c=d", "e=f"]}
        }

    def test_a_load_balancer_without_them_gets_each_cookie_under_a_name_of_its_own(self) -> None:
        headers = self.headers_for(FrontEnd.LOAD_BALANCER)["headers"]
        assert headers == {"content-type": "text/plain", "set-cookie": "a=b", "set-cookiE": "c=d", "set-cookIe": "e=f"}
