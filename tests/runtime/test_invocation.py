"""Invocations: parsing events and headers, recognizing HTTP events, and serializing results."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.harness import url_event
from winterbourne.errors import RuntimeFault
from winterbourne.invocation import Invocation, encode_result, is_http, is_rest_api

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def invocation(body: bytes = b"{}", **headers: str) -> Invocation:
    return Invocation([(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()], body)


def test_ids_and_deadline_come_from_the_headers() -> None:
    found = invocation(
        lambda_runtime_aws_request_id="r-1",
        lambda_runtime_aws_tenant_id="blue",
        lambda_runtime_trace_id="Root=1",
        lambda_runtime_deadline_ms="1700000000123",
    )
    assert (found.request_id, found.tenant_id, found.trace_id) == ("r-1", "blue", "Root=1")
    assert found.deadline_ms == 1700000000123


@given(JSON)
def test_any_json_event_arrives(event: Any) -> None:
    assert invocation(json.dumps(event).encode(), content_type="application/json").event() == event


def test_other_content_types_arrive_as_bytes() -> None:
    assert invocation(b"\xff\x00", content_type="application/octet-stream").event() == b"\xff\x00"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_invalid_json_raises_lambdas_own_error(body: bytes) -> None:
    with pytest.raises(RuntimeFault, match="Unable to unmarshal input") as raised:
        invocation(body).event()
    assert raised.value.error_type == "Runtime.UnmarshalError"


class TestFrontEnds:
    def test_a_function_url_is_http(self) -> None:
        assert is_http(url_event())
        assert not is_rest_api(url_event())

    def test_a_rest_api_is_http(self) -> None:
        assert is_http({"httpMethod": "GET", "requestContext": {}})
        assert is_rest_api({"httpMethod": "GET", "requestContext": {}})

    @pytest.mark.parametrize("event", [None, "text", [1], {}, {"Records": []}, {"requestContext": None}])
    def test_other_events_are_not_http(self, event: Any) -> None:
        assert not is_http(event)


class TestResults:
    @given(JSON)
    def test_any_json_is_sent(self, result: Any) -> None:
        body, content_type = encode_result(result)
        assert content_type == "application/json"
        assert json.loads(body) == result

    def test_bytes_are_sent_as_they_are(self) -> None:
        assert encode_result(b"\xff") == (b"\xff", "application/unknown")

    def test_text_is_not_escaped(self) -> None:
        assert encode_result("grüß")[0] == '"grüß"'.encode()

    def test_a_lone_surrogate_is_escaped(self) -> None:
        assert encode_result(["\ud800", Decimal("1.5")])[0] == b'["\\ud800", 1.5]'

    def test_a_decimal_keeps_its_digits(self) -> None:
        assert encode_result({"a": Decimal("1.10"), "b": Decimal("0.1") ** 30})[0] == b'{"a": 1.10, "b": 1E-30}'

    def test_a_decimal_that_is_not_a_number_is_nan(self) -> None:
        assert math.isnan(json.loads(encode_result(Decimal("-NaN"))[0]))

    def test_bytes_within_json_are_text(self) -> None:
        assert encode_result({"a": b"x"})[0] == b'{"a": "x"}'

    @pytest.mark.parametrize("result", [object(), {1, 2}, {(1,): 2}, {"a": b"\xff"}])
    def test_anything_else_raises_lambdas_own_error(self, result: Any) -> None:
        with pytest.raises(RuntimeFault, match="Unable to marshal response") as raised:
            encode_result(result)
        assert raised.value.error_type == "Runtime.MarshalError"
