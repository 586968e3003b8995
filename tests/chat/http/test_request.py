"""Requests: what is joined of their headers, and validating their bodies within the limits."""

import base64
import json
from typing import Any, Literal

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.formats.wire import attempt
from tests.chat.http_events import parsed
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import LARGE_CHARS, Request, invalid_shape, join_headers
from winterbourne.chat.settings import RequestSettings
from winterbourne.large_body import MIN_RUN_BYTES, LargeBody

SETTINGS = RequestSettings(max_body_bytes=100, max_json_depth=4)


def request(body: bytes | str | LargeBody = b"{}", *, content_type: str | None = "application/json") -> Request:
    headers = {"content-type": content_type} if content_type else {}
    if isinstance(body, bytes):
        text = base64.b64encode(body).decode()
        return Request(method="POST", raw_path="/chat", headers=headers, raw_body=text, is_base64=True)
    return Request(method="POST", raw_path="/chat", headers=headers, raw_body=body)


def rejection(request: Request, settings: RequestSettings = SETTINGS) -> tuple[int, str]:
    with pytest.raises(RequestRejected) as rejected:
        request.json_object(settings).send(None)
    return rejected.value.status, rejected.value.code


class TestBody:
    def test_may_be_sent_as_text(self) -> None:
        assert parsed(request('{"a":"ü"}'), SETTINGS) == {"a": "ü"}

    async def test_is_read_when_it_is_asked_for_and_once(self) -> None:
        asked = list[int]()

        async def read(max_bytes: int) -> LargeBody:
            asked.append(max_bytes)
            return LargeBody(b'{"a":1}')

        late = Request(method="POST", raw_path="/", headers={"content-type": "application/json"}, raw_body=read)
        assert asked == []
        assert (await late.json_object(SETTINGS), asked) == ({"a": 1}, [100])
        assert not late.raw_body

    @pytest.mark.parametrize("body", [b"x" * 101, b"x" * 1000, "ü" * 51])
    def test_more_than_the_limit_is_too_large(self, body: bytes | str) -> None:
        assert rejection(request(body)) == (413, "body_too_large")

    def test_exactly_the_limit_is_accepted(self) -> None:
        body = b'{"a":"%b"}' % (b"x" * 92)
        assert len(body) == 100
        assert parsed(request(body), SETTINGS) == {"a": "x" * 92}

    def test_invalid_base64_is_rejected(self) -> None:
        broken = msgspec.structs.replace(request("{}"), is_base64=True)
        assert rejection(broken) == (400, "invalid_body")


class TestContentType:
    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"],
    )
    def test_json_is_accepted(self, content_type: str) -> None:
        assert parsed(request(content_type=content_type), SETTINGS) == {}

    @pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json"])
    def test_anything_else_is_rejected(self, content_type: str | None) -> None:
        assert rejection(request(content_type=content_type)) == (415, "unsupported_media_type")


class TestJson:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "invalid_json"),
            (b"{", "invalid_json"),
            (b"[]", "invalid_json"),
            (b'"text"', "invalid_json"),
            (b"NaN", "invalid_json"),
            (b'{"a":1e999}', "invalid_json"),
            (b'\xef\xbb\xbf{"a":1}', "invalid_json"),
            (b'{"a":"\xff"}', "invalid_utf8"),
            (b'{"\\u0000":"\xff"}', "invalid_utf8"),
            (b'{"a":[[[[]]]]}', "json_too_deep"),
            (b'{"a":{"a":{"a":{"a":{}}}}}', "json_too_deep"),
        ],
    )
    def test_anything_but_a_utf_8_object_is_rejected(self, body: bytes | str, code: str) -> None:
        assert rejection(request(body)) == (400, code)

    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b'{"a":"x \\ud83d"}', {"a": "x \ufffd"}),
            (b'{"a":"\\ud83dx\\ude00"}', {"a": "\ufffdx\ufffd"}),
            (b'{"\\uDE00":"\\ud83d\\ude00"}', {"\ufffd": "\U0001f600"}),
            (b'{"a":"\\\\ud83d \\ud83d"}', {"a": "\\ud83d \ufffd"}),
            (b'{"a":"\xed\xa0\xbd"}', {"a": "\ufffd"}),
            (b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}', {"a": "\U0001f600"}),
            ('{"a":"\ud83d"}', {"a": "\ufffd"}),
            (b'{"a":"\\u0000","b":"\\\\u0000"}', {"a": "\ufffd", "b": "\\u0000"}),
        ],
    )
    def test_half_an_emoji_is_replaced_and_the_rest_kept(self, body: bytes | str, value: object) -> None:
        assert parsed(request(body), SETTINGS) == value

    @pytest.mark.parametrize("escaped", [False, True])
    @given(text=st.text(st.characters(codec=None)))
    def test_any_text_of_any_client_is_taken(self, text: str, *, escaped: bool) -> None:
        body = json.dumps({"a": text}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
        expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
        assert parsed(request(body)) == {"a": expected}

    def test_the_maximum_depth_is_accepted(self) -> None:
        assert parsed(request(b'{"a":[[[1]]]}'), SETTINGS) == {"a": [[[1]]]}

    @pytest.mark.parametrize("deep", [b"[" * 50_000, b'{"a":' * 10_000, b"[" * 5000 + b"]" * 5000])
    def test_extremely_deep_json_is_rejected(self, deep: bytes) -> None:
        assert rejection(request(b'{"a":' + deep + b"}"), RequestSettings()) == (400, "json_too_deep")

    @pytest.mark.parametrize("value", ["", "ü", "\N{SHIP}", "\ud83d", "\0", "\\u0000", 2**70, 1e300, [[1]]])
    @pytest.mark.parametrize("as_base64", [False, True])
    def test_a_large_body_is_read_as_a_small_one(self, value: object, *, as_base64: bool) -> None:
        small = {"a": value, "b": "x"}
        text = json.dumps(small)
        large = text.replace('"x"', f'"{"x" * LARGE_CHARS}"')
        read = [parsed(request(body.encode() if as_base64 else body)) for body in (text, large)]
        assert read[1].pop("b") == "x" * LARGE_CHARS
        assert read[0].pop("b") == "x"
        assert read[0] == read[1]

    @pytest.mark.parametrize("broken", ['{"a":', '["x"]', '{"a":1e999}', '{"a":%s}' % ("[" * 100 + "]" * 100)])
    def test_a_large_body_is_rejected_as_a_small_one(self, broken: str) -> None:
        large = request(broken + " " * LARGE_CHARS)
        assert rejection(large, RequestSettings()) == rejection(request(broken), RequestSettings())

    def test_what_stays_beside_a_body_is_read_and_counts(self) -> None:
        run = "Ab+/" * (MIN_RUN_BYTES // 2)
        whole = json.dumps({"a": [run, "é"]}).encode()

        def large(body: bytes, *, is_base64: bool = False) -> Request:
            pieces = [body[start : start + 10_000] for start in range(0, len(body), 10_000)]
            return msgspec.structs.replace(request(LargeBody.take_out(pieces)), is_base64=is_base64)

        assert parsed(large(whole)) == {"a": [run, "é"]}
        assert rejection(large(whole), RequestSettings(max_body_bytes=len(whole) - 1)) == (413, "body_too_large")
        encoded = large(base64.b64encode(whole), is_base64=True)
        assert parsed(encoded, RequestSettings(max_body_bytes=len(whole))) == {"a": [run, "é"]}
        assert rejection(large(json.dumps({run: 1}).encode()), RequestSettings()) == (400, "invalid_json")

    @given(st.binary(max_size=120))
    def test_any_bytes_are_an_object_or_rejected(self, body: bytes) -> None:
        outcome = attempt(lambda: parsed(request(body), SETTINGS))
        assert isinstance(outcome, dict) or 400 <= outcome.status < 500

    @given(st.recursive(st.integers(0, 9), lambda inner: st.lists(inner, max_size=2), max_leaves=12))
    def test_depth_is_the_number_of_nested_containers(self, value: Any) -> None:
        def depth(value: Any) -> int:
            return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

        outcome = attempt(lambda: parsed(request(orjson.dumps({"a": value})), SETTINGS))
        assert isinstance(outcome, dict) == (depth(value) < SETTINGS.max_json_depth)


class Point(msgspec.Struct):
    x: int
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": "1"}, "x: expected int, got str"),
        ({"x": 1, "names": ["a", 5]}, "names[1]: expected str, got int"),
        ({}, "body: object missing required field x"),
    ],
)
def test_the_rejection_of_another_shape_names_the_field(value: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert(value, Point)
    rejected = invalid_shape(raised.value)
    assert (rejected.status, rejected.code, str(rejected)) == (400, "invalid_request", message)


class Thinking(msgspec.Struct):
    reasoning: Literal["low", "high"]


def test_the_rejection_of_a_level_of_reasoning_names_those_there_are() -> None:
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert({"reasoning": "huge"}, Thinking)
    assert str(invalid_shape(raised.value, ("low", "high"))) == "reasoning: expected one of low, high"


class TestHeaders:
    def test_that_repeat_are_joined_and_cookies_by_semicolons(self) -> None:
        pairs = [("Accept", "a"), ("cookie", "x=1"), ("accept", "b"), ("Cookie", "y=2"), ("odd", None)]
        assert join_headers(pairs) == {"accept": "a,b", "cookie": "x=1; y=2"}

    @pytest.mark.parametrize("value", ["Bearer \ud83d", "\udc00", "Grüße \ud83d"])
    def test_with_half_a_surrogate_pair_can_be_encoded(self, value: str) -> None:
        text = join_headers([("Authorization", value)])["authorization"]
        assert text.encode().decode() == value.replace("\ud83d", "?").replace("\udc00", "?")


def test_of_a_query_the_last_value_counts() -> None:
    one = Request(method="GET", raw_path="/", raw_query="a=1&b=x%20y&c=&a=%2B+2")
    assert one.query == {"a": "+ 2", "b": "x y", "c": ""}


def test_what_no_door_has_told_is_made_up() -> None:
    one, other = Request(method="GET", raw_path="/"), Request(method="GET", raw_path="/")
    assert one.request_id != other.request_id
    assert one.received_ms > 1e12
