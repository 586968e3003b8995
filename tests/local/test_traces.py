"""Traces of the local server: what is kept of an export, and how it is laid out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.traces import MAX_TRACES, Traces


def span(span_id: str, parent_id: str = "", start: int = 0, end: int = 10, **more: Any) -> dict[str, Any]:
    times = {"startTimeUnixNano": str(start * 1_000_000), "endTimeUnixNano": str(end * 1_000_000)}
    return {"traceId": "t1", "spanId": span_id, "parentSpanId": parent_id, "name": span_id, **times, **more}


def export(*spans: dict[str, Any], service: str = "desk") -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()


def kept(*bodies: bytes) -> list[dict[str, Any]]:
    traces = Traces()
    for body in bodies:
        traces.ingest(body)
    return traces.waterfalls()


def test_spans_stand_under_their_parents_in_the_order_in_which_they_began() -> None:
    spans = span("late", "root", 5, 6), span("root", "", 1, 9), span("early", "root", 2, 4), span("inner", "early", 3)
    (trace,) = kept(export(*spans))
    assert [(each["name"], each["depth"]) for each in trace["spans"]] == [
        ("root", 0),
        ("early", 1),
        ("inner", 2),
        ("late", 1),
    ]
    assert [each["start_ms"] for each in trace["spans"]] == [0, 1, 2, 4]
    assert trace["duration_ms"] == 9


def test_what_comes_in_several_exports_is_one_trace() -> None:
    (trace,) = kept(export(span("root")), export(span("call", "root"), service="worker"))
    assert [(each["name"], each["service"]) for each in trace["spans"]] == [("root", "desk"), ("call", "worker")]


def test_a_span_whose_parent_is_elsewhere_stands_by_itself() -> None:
    (trace,) = kept(export(span("root", "0000000000000001")))
    assert trace["spans"][0]["depth"] == 0


def test_spans_that_are_part_of_one_another_are_not_shown() -> None:
    assert kept(export(span("a", "b"), span("b", "a"))) == []


def test_the_newest_is_the_first_and_old_ones_are_forgotten() -> None:
    bodies = [export(span("root", traceId=f"t{number}")) for number in range(MAX_TRACES + 5)]
    shown = [trace["trace_id"] for trace in kept(*bodies)]
    assert (len(shown), shown[0], shown[-1]) == (MAX_TRACES, f"t{MAX_TRACES + 4}", "t5")


def test_an_attribute_may_be_empty() -> None:
    """As an SDK writes one that is null."""
    (trace,) = kept(export(span("root", attributes=[{"key": "asked_by", "value": {}}])))
    assert trace["spans"][0]["attributes"] == {"asked_by": None}


def test_attributes_have_the_values_that_were_exported() -> None:
    values = {"text": {"stringValue": "x"}, "count": {"intValue": "3"}, "is": {"boolValue": True}}
    values["each"] = {"arrayValue": {"values": [{"stringValue": "a"}]}}
    attributes = [{"key": key, "value": value} for key, value in values.items()]
    (trace,) = kept(export(span("root", attributes=attributes, status={"code": 2})))
    (root,) = trace["spans"]
    assert root["attributes"] == {"text": "x", "count": 3, "is": True, "each": ["a"]}
    assert root["has_failed"]


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["resourceSpans", "resource", "scopeSpans", "spans", "attributes"]), inner
            )
        ),
    )
)
def test_anything_else_is_refused(document: Any) -> None:
    try:
        Traces().ingest(json.dumps(document).encode())
    except ValueError:
        return
    assert document["resourceSpans"] is not None


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Traces().ingest(b"\x0a\x0b")
