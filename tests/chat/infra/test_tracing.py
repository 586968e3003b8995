"""Tracing: the trace ids of a request are propagated to outgoing requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.tracing import propagated_headers

XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
W3C = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_an_xray_trace_is_propagated_in_both_formats() -> None:
    assert propagated_headers({"x-amzn-trace-id": XRAY}) == {
        "x-amzn-trace-id": XRAY,
        "traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
    }


def test_the_callers_own_w3c_trace_is_propagated_with_its_state() -> None:
    assert propagated_headers({"traceparent": W3C, "tracestate": "a=1"}) == {"traceparent": W3C, "tracestate": "a=1"}


def test_lambdas_own_segment_takes_precedence_over_the_header() -> None:
    other = XRAY.replace("5759e988", "00000000")
    assert propagated_headers({"x-amzn-trace-id": other}, XRAY)["x-amzn-trace-id"] == XRAY


def test_a_trace_that_is_not_sampled_stays_unsampled() -> None:
    assert propagated_headers({}, XRAY.replace("Sampled=1", "Sampled=0"))["traceparent"].endswith("-00")


@given(st.text(), st.text())
def test_malformed_trace_ids_are_not_propagated(xray: str, w3c: str) -> None:
    assert propagated_headers({"x-amzn-trace-id": xray, "traceparent": w3c}) == {}


@pytest.mark.parametrize("w3c", [W3C.replace(W3C[3:35], "0" * 32), W3C.replace(W3C[36:52], "0" * 16), f"ff{W3C[2:]}"])
def test_ids_that_the_specification_forbids_are_malformed(w3c: str) -> None:
    """A collector may refuse all spans that come with one of such a trace: https://www.w3.org/TR/trace-context/"""
    assert propagated_headers({"traceparent": w3c, "tracestate": "a=1"}) == {}
    assert (
        propagated_headers({"x-amzn-trace-id": "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8"})
        == {}
    )


@pytest.mark.parametrize("text", ["é", "\r\nx-evil: 1", "\x00", "x" * 513])
def test_what_no_server_would_take_is_not_passed_on(text: str) -> None:
    """Every request to a model would fail: a caller could have the alarms of failed chats ring."""
    xray = f"{XRAY};{text}"
    assert propagated_headers({"x-amzn-trace-id": xray, "traceparent": W3C, "tracestate": text}) == {"traceparent": W3C}
