"""The exchange: what may follow what, and the bytes of each step."""

import base64
import json
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.errors import ErrorReport, IllegalTransition, RuntimeApiError
from winterbourne.protocol import INIT_ERROR, TRANSITIONS, RuntimeApiProtocol, State, Trigger

NEXT = (
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nLambda-Runtime-Invocation-Id: attempt-1\r\n"
    b"Content-Length: 7\r\n\r\n" + b'{"a":1}'
)
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong"
REPORT = ErrorReport(ValueError("no"), "r-1")


def opened() -> RuntimeApiProtocol:
    exchange = RuntimeApiProtocol("127.0.0.1:9001")
    exchange.request_next()
    exchange.receive_data(NEXT)
    return exchange


def read(data: bytes) -> tuple[h11.Request, bytes, dict[str, str]]:
    """What h11, as the server, makes of these bytes: request, body, trailers."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    trailers = {k.decode(): v.decode() for k, v in event.headers} if isinstance(event, h11.EndOfMessage) else {}
    return request, body, trailers


def header(request: h11.Request, name: str) -> str | None:
    return next((v.decode() for k, v in request.headers if k.decode() == name.lower()), None)


STEPS: dict[Trigger, Any] = {
    Trigger.CALL: lambda exchange: exchange.call(INIT_ERROR, REPORT),
    Trigger.REQUEST_NEXT: lambda exchange: exchange.request_next(),
    Trigger.START_RESPONSE: lambda exchange: exchange.start_response("text/plain", b"prelude"),
    Trigger.CHUNK: lambda exchange: exchange.chunk(b"data"),
    Trigger.END_RESPONSE: lambda exchange: exchange.end_response(),
    Trigger.FAIL_RESPONSE: lambda exchange: exchange.fail_response(REPORT),
    Trigger.SEND_RESPONSE: lambda exchange: exchange.send_response(b"{}", "application/json"),
    Trigger.SEND_ERROR: lambda exchange: exchange.send_error(REPORT),
    Trigger.CONNECTION_LOST: lambda exchange: exchange.connection_lost(),
}
WAY_TO: dict[State, list[Any]] = {
    State.IDLE: [],
    State.CALLING: [STEPS[Trigger.CALL]],
    State.POLLING: [STEPS[Trigger.REQUEST_NEXT]],
    State.HANDLING: [STEPS[Trigger.REQUEST_NEXT], lambda exchange: exchange.receive_data(NEXT)],
}
WAY_TO[State.STREAMING] = [*WAY_TO[State.HANDLING], STEPS[Trigger.START_RESPONSE]]
WAY_TO[State.AWAITING_ACK] = [*WAY_TO[State.HANDLING], STEPS[Trigger.SEND_RESPONSE]]


class TestTheTable:
    @pytest.mark.parametrize("state", State)
    @pytest.mark.parametrize("step", STEPS)
    def test_any_step_in_any_state_is_a_listed_move_or_one_named_error(self, state: State, step: Trigger) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        for move in WAY_TO[state]:
            move(exchange)
        assert exchange.state is state
        if (state, step) in TRANSITIONS:
            STEPS[step](exchange)
            assert exchange.state is TRANSITIONS[state, step]
        else:
            with pytest.raises(IllegalTransition):
                STEPS[step](exchange)
            assert exchange.state is state

    @given(st.lists(st.sampled_from([*STEPS, Trigger.ACCEPTED, Trigger.REJECTED]), max_size=30))
    def test_any_walk_stays_on_the_table(self, steps: list[Trigger]) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        for step in steps:
            before = exchange.state
            if step in STEPS and (before, step) in TRANSITIONS:
                STEPS[step](exchange)
                assert exchange.state is TRANSITIONS[before, step]
            elif step in STEPS:
                with pytest.raises(IllegalTransition):
                    STEPS[step](exchange)
                assert exchange.state is before
            elif (before, step) in TRANSITIONS:
                exchange.receive_data(
                    REFUSED if step is Trigger.REJECTED else NEXT if before is State.POLLING else ACCEPTED
                )
                assert exchange.state is TRANSITIONS[before, step]
                if not exchange.reusable and exchange.state is not State.HANDLING:
                    exchange.connection_lost()

    def test_every_state_can_be_left_and_reached(self) -> None:
        assert {state for state, _ in TRANSITIONS} == set(State)
        assert set(TRANSITIONS.values()) == set(State)


class TestBytesOfARequest:
    def test_next_is_a_get_without_a_body(self) -> None:
        request, body, _ = read(RuntimeApiProtocol("127.0.0.1:9001").request_next())
        assert (request.method, request.target) == (b"GET", b"/2018-06-01/runtime/invocation/next")
        assert header(request, "host") == "127.0.0.1:9001"
        assert body == b""

    def test_a_stream_announces_its_mode_and_its_trailers_up_front(self) -> None:
        request, _, _ = read(opened().start_response("text/event-stream"))
        assert request.target == b"/2018-06-01/runtime/invocation/r-1/response"
        assert header(request, "lambda-runtime-function-response-mode") == "streaming"
        assert header(request, "transfer-encoding") == "chunked"
        assert header(request, "content-type") == "text/event-stream"
        announced = header(request, "trailer")
        assert announced == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"

    @given(st.lists(st.binary(min_size=1, max_size=5000), max_size=10))
    def test_the_body_is_the_prelude_and_the_chunks(self, chunks: list[bytes]) -> None:
        exchange = opened()
        sent = (
            exchange.start_response("text/plain", b"prelude")
            + b"".join(map(exchange.chunk, chunks))
            + exchange.end_response()
        )
        _, body, trailers = read(sent)
        assert body == b"prelude" + b"".join(chunks)
        assert trailers == {}

    def test_an_error_after_the_first_byte_comes_in_real_trailers(self) -> None:
        exchange = opened()
        _, body, trailers = read(exchange.start_response("text/plain", b"half") + exchange.fail_response(REPORT))
        assert body == b"half"
        assert trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
        error = json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"]))
        assert error == {"errorMessage": "no", "errorType": "ValueError", "requestId": "r-1", "stackTrace": []}

    def test_a_buffered_answer_has_its_length_and_no_mode(self) -> None:
        request, body, _ = read(opened().send_response(b'{"ok":1}', "application/json"))
        assert header(request, "content-length") == "8"
        assert header(request, "lambda-runtime-function-response-mode") is None
        assert body == b'{"ok":1}'

    def test_an_error_before_the_first_byte_goes_to_its_own_path_with_the_cause_for_xray(self) -> None:
        request, body, _ = read(opened().send_error(REPORT))
        assert request.target == b"/2018-06-01/runtime/invocation/r-1/error"
        assert header(request, "lambda-runtime-function-error-type") == "Function.ValueError"
        cause = json.loads(header(request, "lambda-runtime-function-xray-error-cause") or "")
        assert cause["exceptions"] == [{"message": "no", "type": "ValueError", "stack": []}]
        assert json.loads(body)["errorMessage"] == "no"

    @pytest.mark.parametrize("step", [Trigger.START_RESPONSE, Trigger.SEND_RESPONSE, Trigger.SEND_ERROR])
    def test_the_id_of_the_attempt_is_echoed(self, step: Trigger) -> None:
        request, _, _ = read(STEPS[step](opened()))
        assert header(request, "lambda-runtime-invocation-id") == "attempt-1"

    def test_an_init_error_bears_the_type_it_is_given(self) -> None:
        request, _, _ = read(RuntimeApiProtocol("h:1").call(INIT_ERROR, REPORT, "Runtime.BeforeSnapshotError"))
        assert header(request, "lambda-runtime-function-error-type") == "Runtime.BeforeSnapshotError"


class TestBytesFromTheRuntimeApi:
    @pytest.mark.parametrize("cut", range(1, len(NEXT)))
    def test_an_answer_cut_at_any_place_is_the_same_answer(self, cut: int) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        exchange.request_next()
        assert exchange.receive_data(NEXT[:cut]) is None
        reply = exchange.receive_data(NEXT[cut:])
        assert reply is not None
        assert (reply.status, reply.body) == (200, b'{"a":1}')
        assert exchange.state is State.HANDLING

    @given(st.lists(st.integers(1, 40), max_size=60))
    def test_so_is_one_in_many_pieces(self, sizes: list[int]) -> None:
        exchange, rest, replies = RuntimeApiProtocol("127.0.0.1:9001"), NEXT, []
        exchange.request_next()
        for size in [*sizes, len(NEXT)]:
            piece, rest = rest[:size], rest[size:]
            if piece and (reply := exchange.receive_data(piece)):
                replies.append(reply.body)
        assert replies == [b'{"a":1}']

    def test_a_chunked_answer_is_read_too(self) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        exchange.request_next()
        reply = exchange.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert reply is not None
        assert reply.body == b"abc"

    @given(st.binary(min_size=1, max_size=200))
    def test_anything_else_is_one_named_error_or_no_answer_yet(self, data: bytes) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        exchange.request_next()
        try:
            reply = exchange.receive_data(data)
        except RuntimeApiError:
            return
        assert reply is None or reply.status >= 200

    def test_headers_of_a_megabyte_are_taken(self) -> None:
        exchange = RuntimeApiProtocol("127.0.0.1:9001")
        exchange.request_next()
        big = b"x" * 500_000
        reply = exchange.receive_data(b"HTTP/1.1 200 OK\r\nClient: " + big + b"\r\nContent-Length: 0\r\n\r\n")
        assert reply is not None
        assert dict(reply.headers)[b"client"] == big

    def test_a_connection_serves_again_after_a_whole_exchange(self) -> None:
        exchange = opened()
        exchange.start_response("text/plain", b"x")
        exchange.end_response()
        exchange.receive_data(ACCEPTED)
        assert exchange.reusable
        exchange.request_next()

    def test_a_refusal_under_way_makes_the_connection_useless(self) -> None:
        exchange = opened()
        exchange.start_response("text/plain", b"x")
        reply = exchange.receive_data(REFUSED)
        assert reply is not None
        assert reply.status == 413
        assert not exchange.reusable
        with pytest.raises(RuntimeApiError, match="413"):
            reply.raise_for_status()
