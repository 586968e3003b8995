"""Runtime API protocol (sans-I/O): the transitions of its state machine, and the bytes sent and parsed."""

import base64
import json
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne import __version__
from winterbourne.errors import ErrorReport, IllegalTransition, RuntimeApiError
from winterbourne.protocol import CHUNK, INIT_ERROR, MAX_HEADER_BYTES, TRANSITIONS, RuntimeApiProtocol, State, Trigger

NEXT = (
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nLambda-Runtime-Invocation-Id: attempt-1\r\n"
    b"Content-Length: 7\r\n\r\n" + b'{"a":1}'
)
ACCEPTED_REPLY = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
REJECTED_REPLY = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong"
REPORT = ErrorReport(ValueError("no"), "r-1")


def handling_protocol() -> RuntimeApiProtocol:
    protocol = RuntimeApiProtocol("127.0.0.1:9001")
    protocol.request_next()
    protocol.receive_data(NEXT)
    return protocol


def read(data: bytes) -> tuple[h11.Request, bytes, dict[str, str]]:
    """Parse these bytes with h11 as the server: request, body, trailers."""
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
    Trigger.CALL: lambda protocol: protocol.call(INIT_ERROR, REPORT),
    Trigger.REQUEST_NEXT: lambda protocol: protocol.request_next(),
    Trigger.START_RESPONSE: lambda protocol: protocol.start_response("text/plain", b"prelude"),
    Trigger.CHUNK: lambda protocol: protocol.transition(Trigger.CHUNK),
    Trigger.END_RESPONSE: lambda protocol: protocol.end_response(),
    Trigger.FAIL_RESPONSE: lambda protocol: protocol.fail_response(REPORT),
    Trigger.SEND_RESPONSE: lambda protocol: protocol.send_response(b"{}", "application/json"),
    Trigger.SEND_ERROR: lambda protocol: protocol.send_error(REPORT),
    Trigger.CONNECTION_LOST: lambda protocol: protocol.connection_lost(),
}
STEPS_TO: dict[State, list[Any]] = {
    State.IDLE: [],
    State.CALLING: [STEPS[Trigger.CALL]],
    State.POLLING: [STEPS[Trigger.REQUEST_NEXT]],
    State.HANDLING: [STEPS[Trigger.REQUEST_NEXT], lambda protocol: protocol.receive_data(NEXT)],
}
STEPS_TO[State.STREAMING] = [*STEPS_TO[State.HANDLING], STEPS[Trigger.START_RESPONSE]]
STEPS_TO[State.AWAITING_ACK] = [*STEPS_TO[State.HANDLING], STEPS[Trigger.SEND_RESPONSE]]


class TestTransitions:
    @pytest.mark.parametrize("state", State)
    @pytest.mark.parametrize("step", STEPS)
    def test_any_trigger_in_any_state_is_a_listed_transition_or_illegal(self, state: State, step: Trigger) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        for move in STEPS_TO[state]:
            move(protocol)
        assert protocol.state is state
        if (state, step) in TRANSITIONS:
            STEPS[step](protocol)
            assert protocol.state is TRANSITIONS[state, step]
        else:
            with pytest.raises(IllegalTransition):
                STEPS[step](protocol)
            assert protocol.state is state

    @given(st.lists(st.sampled_from([*STEPS, Trigger.ACCEPTED, Trigger.REJECTED]), max_size=30))
    def test_any_sequence_of_triggers_follows_the_table(self, steps: list[Trigger]) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        for step in steps:
            before = protocol.state
            if step in STEPS and (before, step) in TRANSITIONS:
                STEPS[step](protocol)
                assert protocol.state is TRANSITIONS[before, step]
            elif step in STEPS:
                with pytest.raises(IllegalTransition):
                    STEPS[step](protocol)
                assert protocol.state is before
            elif (before, step) in TRANSITIONS:
                reply = protocol.receive_data(
                    REJECTED_REPLY if step is Trigger.REJECTED else NEXT if before is State.POLLING else ACCEPTED_REPLY
                )
                assert protocol.state is TRANSITIONS[before, step]
                assert reply is not None
                if not reply.keeps_connection and protocol.state is not State.HANDLING:
                    protocol.connection_lost()

    def test_every_state_can_be_left_and_reached(self) -> None:
        assert {state for state, _ in TRANSITIONS} == set(State)
        assert set(TRANSITIONS.values()) == set(State)


class TestBytesOfARequest:
    def test_next_is_a_get_without_a_body(self) -> None:
        request, body, _ = read(RuntimeApiProtocol("127.0.0.1:9001").request_next())
        assert (request.method, request.target) == (b"GET", b"/2018-06-01/runtime/invocation/next")
        assert header(request, "host") == "127.0.0.1:9001"
        assert body == b""

    @pytest.mark.parametrize("step", [Trigger.START_RESPONSE, Trigger.SEND_RESPONSE, Trigger.SEND_ERROR])
    def test_every_request_names_the_client_and_its_version(self, step: Trigger) -> None:
        for data in (RuntimeApiProtocol("h:1").request_next(), STEPS[step](handling_protocol())):
            assert header(read(data)[0], "user-agent") == f"winterbourne/{__version__}"

    def test_a_stream_announces_its_mode_and_its_trailers_up_front(self) -> None:
        request, _, _ = read(handling_protocol().start_response("text/event-stream"))
        assert request.target == b"/2018-06-01/runtime/invocation/r-1/response"
        assert header(request, "lambda-runtime-function-response-mode") == "streaming"
        assert header(request, "transfer-encoding") == "chunked"
        assert header(request, "content-type") == "text/event-stream"
        announced = header(request, "trailer")
        assert announced == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"

    @given(st.lists(st.binary(min_size=1, max_size=5000), max_size=10))
    def test_the_body_is_the_prelude_and_the_chunks(self, chunks: list[bytes]) -> None:
        protocol = handling_protocol()
        sent = (
            protocol.start_response("text/plain", b"prelude")
            + b"".join(CHUNK % (len(chunk), chunk) for chunk in chunks)
            + protocol.end_response()
        )
        _, body, trailers = read(sent)
        assert body == b"prelude" + b"".join(chunks)
        assert trailers == {}

    def test_an_error_after_the_first_byte_comes_in_real_trailers(self) -> None:
        protocol = handling_protocol()
        _, body, trailers = read(protocol.start_response("text/plain", b"half") + protocol.fail_response(REPORT))
        assert body == b"half"
        assert trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
        error = json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"]))
        assert error == {"errorMessage": "no", "errorType": "ValueError", "requestId": "r-1", "stackTrace": []}

    def test_a_buffered_response_has_its_length_and_no_mode(self) -> None:
        request, body, _ = read(handling_protocol().send_response(b'{"ok":1}', "application/json"))
        assert header(request, "content-length") == "8"
        assert header(request, "lambda-runtime-function-response-mode") is None
        assert body == b'{"ok":1}'

    def test_an_error_before_the_first_byte_goes_to_its_own_path_with_the_cause_for_xray(self) -> None:
        request, body, _ = read(handling_protocol().send_error(REPORT))
        assert request.target == b"/2018-06-01/runtime/invocation/r-1/error"
        assert header(request, "lambda-runtime-function-error-type") == "Function.ValueError"
        cause = json.loads(header(request, "lambda-runtime-function-xray-error-cause") or "")
        assert cause["exceptions"] == [{"message": "no", "type": "ValueError", "stack": []}]
        assert json.loads(body)["errorMessage"] == "no"

    @pytest.mark.parametrize("step", [Trigger.START_RESPONSE, Trigger.SEND_RESPONSE, Trigger.SEND_ERROR])
    def test_the_invocation_id_is_echoed(self, step: Trigger) -> None:
        request, _, _ = read(STEPS[step](handling_protocol()))
        assert header(request, "lambda-runtime-invocation-id") == "attempt-1"

    def test_an_init_error_has_the_type_it_is_given(self) -> None:
        request, _, _ = read(RuntimeApiProtocol("h:1").call(INIT_ERROR, REPORT, "Runtime.BeforeSnapshotError"))
        assert header(request, "lambda-runtime-function-error-type") == "Runtime.BeforeSnapshotError"


class TestBytesFromTheRuntimeApi:
    @pytest.mark.parametrize("cut", range(1, len(NEXT)))
    def test_a_reply_split_anywhere_is_parsed_the_same(self, cut: int) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        protocol.request_next()
        assert protocol.receive_data(NEXT[:cut]) is None
        reply = protocol.receive_data(NEXT[cut:])
        assert reply is not None
        assert (reply.status, reply.body) == (200, b'{"a":1}')
        assert protocol.state is State.HANDLING

    @given(st.lists(st.integers(1, 40), max_size=60))
    def test_a_reply_in_many_pieces_is_parsed_the_same(self, sizes: list[int]) -> None:
        protocol, rest, replies = RuntimeApiProtocol("127.0.0.1:9001"), NEXT, []
        protocol.request_next()
        for size in [*sizes, len(NEXT)]:
            piece, rest = rest[:size], rest[size:]
            if piece and (reply := protocol.receive_data(piece)):
                replies.append(reply.body)
        assert replies == [b'{"a":1}']

    def test_a_chunked_reply_is_parsed_too(self) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        protocol.request_next()
        reply = protocol.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert reply is not None
        assert reply.body == b"abc"

    @given(st.binary(min_size=1, max_size=200))
    def test_anything_else_is_a_runtime_api_error_or_an_incomplete_reply(self, data: bytes) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        protocol.request_next()
        try:
            reply = protocol.receive_data(data)
        except RuntimeApiError:
            return
        assert reply is None or reply.status >= 200

    @pytest.mark.parametrize(("size", "is_accepted"), [(900_000, True), (2 * MAX_HEADER_BYTES, False)])
    def test_headers_up_to_a_megabyte_are_accepted_however_they_arrive(self, size: int, *, is_accepted: bool) -> None:
        protocol = RuntimeApiProtocol("127.0.0.1:9001")
        protocol.request_next()
        data = b"HTTP/1.1 200 OK\r\nClient: " + b"x" * size + b"\r\nContent-Length: 0\r\n\r\n"
        pieces = (data[at : at + 65536] for at in range(0, len(data), 65536))  # as asyncio reads them
        if is_accepted:
            *_, reply = map(protocol.receive_data, pieces)
            assert reply is not None
            assert reply.headers["client"] == "x" * size
        else:
            with pytest.raises(RuntimeApiError):
                list(map(protocol.receive_data, pieces))

    def test_a_connection_is_reusable_after_a_complete_exchange(self) -> None:
        protocol = handling_protocol()
        protocol.start_response("text/plain", b"x")
        protocol.end_response()
        reply = protocol.receive_data(ACCEPTED_REPLY)
        assert reply is not None
        assert reply.keeps_connection
        protocol.request_next()

    def test_a_rejection_during_the_response_makes_the_connection_unusable(self) -> None:
        protocol = handling_protocol()
        protocol.start_response("text/plain", b"x")
        reply = protocol.receive_data(REJECTED_REPLY)
        assert reply is not None
        assert reply.status == 413
        assert not reply.keeps_connection


@given(st.text(st.characters(), max_size=6000), st.integers(1, 300))
def test_trailers_fit_the_parser_that_reads_them_names_and_all(message: str, name_length: int) -> None:
    protocol = handling_protocol()
    data = protocol.start_response("text/plain")
    end = protocol.fail_response(ErrorReport(type("E" * name_length, (Exception,), {})(message), "r-1"))
    assert end.startswith(b"0\r\n")
    assert len(end) - len(b"0\r\n") <= 4000
    _, _, trailers = read(data + end)
    document = json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"]))
    assert message.startswith(document["errorMessage"].removesuffix("…")) or document["errorMessage"] == message
