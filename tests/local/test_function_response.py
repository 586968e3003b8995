"""Parsing function responses: the prelude of a streamed one and the document of a buffered one."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.function_response import (
    DELIMITER,
    BadResponse,
    ResponseHead,
    parse_buffered_response,
    parse_prelude,
)


def prelude(**answer: Any) -> bytes:
    return json.dumps(answer).encode() + DELIMITER


def head(**answer: Any) -> ResponseHead:
    found = parse_prelude(prelude(**answer))
    assert found
    return found[0]


class TestThePrelude:
    def test_gives_status_headers_and_cookies(self) -> None:
        made = head(statusCode=201, headers={"Content-Type": "text/plain", "x-n": 3}, cookies=["a=1", "b=2; Path=/"])
        assert made == ResponseHead(
            201, [("content-type", "text/plain"), ("x-n", "3"), ("set-cookie", "a=1"), ("set-cookie", "b=2; Path=/")]
        )

    def test_an_empty_one_is_an_ordinary_response(self) -> None:
        assert head() == ResponseHead(200, [("content-type", "application/octet-stream")])

    def test_headers_reserved_by_the_url_are_remapped(self) -> None:
        made = head(headers={"Content-Type": "a/b", "Content-Length": "3", "WWW-Authenticate": "Basic"})
        assert made.headers[1:] == [
            ("x-amzn-remapped-content-length", "3"),
            ("x-amzn-remapped-www-authenticate", "Basic"),
        ]

    def test_hop_by_hop_headers_are_dropped(self) -> None:
        assert head(headers={"Transfer-Encoding": "chunked", "content-type": "a/b"}).headers == [
            ("content-type", "a/b")
        ]

    @pytest.mark.parametrize("status", [0, 99, 199, 600, "abc", None, 200.5, True, "²"])
    def test_an_invalid_status_is_rejected(self, status: object) -> None:
        with pytest.raises(BadResponse, match="statusCode"):
            head(statusCode=status)

    @pytest.mark.parametrize("document", [b"", b"[]", b"{", b"\xff", b'{"headers":[1]}', b'{"cookies":"a"}'])
    def test_an_invalid_prelude_is_rejected(self, document: bytes) -> None:
        with pytest.raises(BadResponse):
            parse_prelude(document + DELIMITER)

    def test_one_without_a_delimiter_is_rejected_after_16_kilobytes(self) -> None:
        assert parse_prelude(b"x" * 16 * 1024) is None
        with pytest.raises(BadResponse, match="16 KB"):
            parse_prelude(b"x" * (16 * 1024 + 1))

    @given(st.dictionaries(st.text(), st.text(), max_size=5), st.binary(max_size=100), st.data())
    def test_cut_anywhere_it_is_parsed_once_it_is_complete(
        self, headers: dict[str, str], body: bytes, data: st.DataObject
    ) -> None:
        whole = prelude(statusCode=418, headers=headers) + body
        expected = parse_prelude(whole)
        assert expected
        cut = data.draw(st.integers(0, len(whole)))
        if first := parse_prelude(whole[:cut]):
            assert (first[0], first[1] + whole[cut:]) == expected
        else:
            assert cut < len(whole) - len(body)


class TestABufferedResponse:
    def test_has_status_headers_cookies_and_body(self) -> None:
        document = {"statusCode": "404", "headers": {"x": "y"}, "cookies": ["a=1"], "body": "no"}
        made, body = parse_buffered_response(json.dumps(document).encode())
        assert made == ResponseHead(404, [("x", "y"), ("content-type", "application/json"), ("set-cookie", "a=1")])
        assert body == b"no"

    def test_base64_is_decoded(self) -> None:
        document = {"statusCode": 200, "body": base64.b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}
        assert parse_buffered_response(json.dumps(document).encode())[1] == b"\xff\x00"

    def test_without_a_status_the_document_is_the_body(self) -> None:
        assert parse_buffered_response(b'{"a": 1}') == (
            ResponseHead(200, [("content-type", "application/json")]),
            b'{"a": 1}',
        )
        assert parse_buffered_response(b'"words"')[1] == b"words"

    def test_without_a_body_there_is_none(self) -> None:
        assert parse_buffered_response(b'{"statusCode": 204}')[1] == b""

    @pytest.mark.parametrize(
        "document", [b"", b"{", b'{"statusCode": 200, "body": "%", "isBase64Encoded": true}', b'{"statusCode": {}}']
    )
    def test_an_invalid_document_is_rejected(self, document: bytes) -> None:
        with pytest.raises(BadResponse):
            parse_buffered_response(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["statusCode", "headers", "cookies", "body", "isBase64Encoded"]), json_values))
def test_any_response_is_sent_or_rejected(answer: dict[str, Any]) -> None:
    document = json.dumps(answer).encode()
    for sent in (document, document + DELIMITER):
        with contextlib.suppress(BadResponse):
            assert parse_buffered_response(sent) if sent is document else parse_prelude(sent)


@pytest.mark.parametrize("status", [204, 205, 302, 304])
def test_a_response_without_a_body_gets_no_content_type(status: int) -> None:
    prelude = parse_prelude(json.dumps({"statusCode": status}).encode() + b"\0" * 8)
    assert prelude is not None
    assert prelude[0].headers == []
    assert parse_buffered_response(json.dumps({"statusCode": status}).encode())[0].headers == []
