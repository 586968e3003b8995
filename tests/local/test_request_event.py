"""HTTP request → function URL event, payload format 2.0."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.request_event import Request, build_event

NOON = datetime(2026, 11, 22, 12, 0, 0, 123000, UTC)


def event(**changes: Any) -> dict[str, Any]:
    given = {"method": "GET", "target": "/", "headers": (), "body": b"", "source_ip": "127.0.0.1", "port": 3000}
    return build_event(Request(**{**given, **changes}), request_id="r-1", trace_id="Root=1", now=NOON)


class TestTheEventOfARequest:
    def test_has_the_shape_of_payload_format_2(self) -> None:
        made = event(
            method="POST",
            target="/a/b?x=1",
            headers=(("host", "localhost:3000"), ("user-agent", "curl"), ("content-type", "application/json")),
            body=b'{"a":1}',
        )
        assert made == {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/a/b",
            "rawQueryString": "x=1",
            "headers": {
                "host": "localhost:3000",
                "user-agent": "curl",
                "content-type": "application/json",
                "x-amzn-trace-id": "Root=1",
                "x-forwarded-for": "127.0.0.1",
                "x-forwarded-port": "3000",
                "x-forwarded-proto": "http",
            },
            "queryStringParameters": {"x": "1"},
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "local",
                "domainName": "localhost:3000",
                "domainPrefix": "local",
                "http": {
                    "method": "POST",
                    "path": "/a/b",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "curl",
                },
                "requestId": "r-1",
                "routeKey": "$default",
                "stage": "$default",
                "time": "22/Nov/2026:12:00:00 +0000",
                "timeEpoch": 1795348800123,
            },
            "body": '{"a":1}',
            "isBase64Encoded": False,
        }

    def test_time_is_in_utc(self) -> None:
        request = Request(method="GET", target="/", headers=(), body=b"", source_ip="::1", port=1)
        there = NOON.astimezone(timezone(timedelta(hours=5)))
        made = build_event(request, request_id="", trace_id="", now=there)
        assert made["requestContext"]["time"] == "22/Nov/2026:12:00:00 +0000"

    def test_raw_path_is_unchanged_and_the_http_path_is_decoded(self) -> None:
        made = event(target="/caf%C3%A9%20x")
        assert made["rawPath"] == "/caf%C3%A9%20x"
        assert made["requestContext"]["http"]["path"] == "/café x"

    def test_repeated_query_values_are_joined_by_commas(self) -> None:
        made = event(target="/?a=1&b=&a=2%20")
        assert made["rawQueryString"] == "a=1&b=&a=2%20"
        assert made["queryStringParameters"] == {"a": "1,2 ", "b": ""}

    def test_without_query_cookies_and_body_the_keys_are_omitted(self) -> None:
        assert not {"queryStringParameters", "cookies", "body"} & event().keys()

    def test_repeated_headers_are_joined_by_commas(self) -> None:
        assert event(headers=(("accept", "a"), ("accept", "b")))["headers"]["accept"] == "a,b"

    def test_cookies_are_a_list_and_stay_a_header(self) -> None:
        made = event(headers=(("cookie", "a=1; b=2"), ("cookie", "c=3")))
        assert made["cookies"] == ["a=1", "b=2", "c=3"]
        assert made["headers"]["cookie"] == "a=1; b=2; c=3"
        assert "cookie" not in event()["headers"]

    def test_a_caller_cannot_forge_its_source_address(self) -> None:
        made = event(headers=(("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")))
        assert made["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert made["headers"]["x-forwarded-proto"] == "http"

    def test_hop_by_hop_headers_are_dropped(self) -> None:
        made = event(headers=(("connection", "close"), ("transfer-encoding", "chunked")))
        assert not {"connection", "transfer-encoding"} & made["headers"].keys()


class TestTheBody:
    def test_text_is_passed_unchanged(self) -> None:
        for kind in ("text/plain; charset=utf-8", "application/json", "application/ld+json", "image/svg+xml"):
            made = event(headers=(("content-type", kind),), body="é".encode())
            assert (made["body"], made["isBase64Encoded"]) == ("é", False)

    def test_anything_else_is_base64(self) -> None:
        for kind in ("image/png", "application/x-www-form-urlencoded", "application/octet-stream", ""):
            made = event(headers=(("content-type", kind),), body=b"a=1")
            assert (made["body"], made["isBase64Encoded"]) == ("YT0x", True)

    def test_invalid_text_is_base64(self) -> None:
        made = event(headers=(("content-type", "text/plain"),), body=b"\xff\xfe")
        assert made["isBase64Encoded"]

    @given(st.binary(), st.sampled_from(["text/plain", "application/json", "image/png", ""]))
    def test_any_bytes_arrive(self, body: bytes, kind: str) -> None:
        made = json.loads(json.dumps(event(headers=(("content-type", kind),), body=body)))
        text = made.get("body", "")
        assert (base64.b64decode(text) if made["isBase64Encoded"] else text.encode()) == body


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_any_target_makes_an_event(target: str) -> None:
    made = event(target=target)
    assert made["rawPath"] + ("?" if "?" in target else "") + made["rawQueryString"] == target
