"""Spans: what is whose parent, and what is in a part of a message."""

import pytest

from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.spans import Span, Trace
from winterbourne.chat.infra.tracing import SPAN

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def root(**headers: str) -> Span:
    return Span(Trace(TRACE_ID, headers, "desk"), "POST /chat", "server")


def test_the_entered_span_is_the_current_one_until_it_is_left() -> None:
    with root() as request:
        with request.agent("openai:m-1", "c-1") as agent:
            assert SPAN.get() is agent
        assert SPAN.get() is request
    assert SPAN.get() is None
    assert http_pool.outgoing_headers.get({}) == {}


def test_what_begins_during_a_call_to_another_service_runs_beside_it() -> None:
    with root() as request, request.agent("openai:m-1", "c-1") as agent, agent.model("openai:m-1", {}) as turn:
        assert turn.tool("add", "call_1").parent_id == agent.span_id


def test_times_are_those_of_the_block() -> None:
    with root() as request:
        assert request.ended_ns == 0
    assert request.ended_ns >= request.started_ns > 1_600_000_000 * 10**9


def test_an_exception_is_an_error_of_its_class_and_says_no_more() -> None:
    with pytest.raises(ValueError, match="secret"), root() as request:
        raise ValueError("a secret")
    assert request.error == "ValueError"


def test_bedrock_is_called_as_the_conventions_do() -> None:
    span = root().model("bedrock:amazon.nova-2-lite-v1:0", {})
    assert span.name == "chat amazon.nova-2-lite-v1:0"
    assert span.attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert span.attributes["gen_ai.request.model"] == "amazon.nova-2-lite-v1:0"


def test_a_note_for_another_operation_passes() -> None:
    span = root().tool("add", "call_1")
    span.note("chat", server__address="a.example")
    span.note_call("completed", "{}", "1")
    assert "server.address" not in span.attributes
    request = root()
    request.note_call("failed", "{}", "1")
    assert request.error == ""


def test_an_xray_header_of_another_trace_stays_as_it_is() -> None:
    other = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    with root(**{"x-amzn-trace-id": other}) as request:
        assert http_pool.outgoing_headers.get() == {
            "x-amzn-trace-id": other,
            "traceparent": f"00-{TRACE_ID}-{request.span_id}-01",
        }


def test_media_is_named_and_not_sent() -> None:
    request = root()
    request.trace.has_content = True
    image = {"type": "image", "media_type": "image/png", "data": "aGFyYm91cg==", "url": ""}
    request.note_answer(_Used(), {"messages": [{"role": "user", "parts": [image]}]})
    assert request.attributes["gen_ai.input.messages"] == (
        '[{"role":"user","parts":[{"type":"image","media_type":"image/png"}]}]'
    )


class _Used:
    input = output = cached = cache_write = reasoning = 0
    cost = None
