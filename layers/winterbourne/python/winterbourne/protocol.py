"""Sans-I/O protocol for the Lambda Runtime API: a state machine that builds requests and parses replies.

Methods return the bytes to send, and `receive_data` takes the bytes received; there are no sockets and no clocks here.
h11 writes and parses the HTTP, except for the chunk framing of a body, which is a format here: it takes 0.2 µs instead
of h11's 2.4 µs, and the rest of a chunk's path to the socket takes about 3 µs.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

import base64
from dataclasses import dataclass
from enum import Enum
from typing import Final

import h11

from winterbourne import __version__
from winterbourne.errors import ErrorReport, IllegalTransition, RuntimeApiError

__all__ = ["CHUNK", "TRANSITIONS", "Reply", "RuntimeApiProtocol", "State", "Trigger", "append_data"]

API_BASE_PATH = "/2018-06-01/runtime"
INVOCATION_NEXT = f"{API_BASE_PATH}/invocation/next"
INIT_ERROR = f"{API_BASE_PATH}/init/error"
RESTORE_NEXT = f"{API_BASE_PATH}/restore/next"
RESTORE_ERROR = f"{API_BASE_PATH}/restore/error"
ERROR_TYPE_HEADER = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY_HEADER = "Lambda-Runtime-Function-Error-Body"
XRAY_CAUSE_HEADER = "Lambda-Runtime-Function-XRay-Error-Cause"
RESPONSE_MODE_HEADER = "Lambda-Runtime-Function-Response-Mode"
INVOCATION_ID_HEADER = "Lambda-Runtime-Invocation-Id"

# The reply to `next` carries the client context and the identity in its headers, several kilobytes each.
MAX_HEADER_BYTES = 1024 * 1024

# All trailers together. Go's HTTP server, of which AWS's emulator is made, finds their end only within 4,096 bytes.
MAX_TRAILER_BYTES = 4000

END_OF_MESSAGE: Final = h11.EndOfMessage()

CHUNK: Final = b"%x\r\n%b\r\n"
"""Frames a chunk of a streamed body from its length and its data, which must not be empty: that would end the body."""

_PIECE_BYTES: Final = 128 * 1024  # what is this large, the allocator gives back as soon as it is freed

Headers = list[tuple[str, str]]


class State(Enum):
    """The states; error messages read "cannot <trigger> while <state>"."""

    IDLE = "idle"
    CALLING = "reporting an init error or waiting for a restore"
    POLLING = "waiting for the next invocation"
    HANDLING = "handling an invocation, before its response"
    STREAMING = "streaming a response"
    AWAITING_ACK = "waiting for the response or error to be acknowledged"


class Trigger(Enum):
    """The events that change the state."""

    CALL = "call an init or restore endpoint"
    REQUEST_NEXT = "request the next invocation"
    START_RESPONSE = "start a streamed response"
    CHUNK = "send a chunk"
    END_RESPONSE = "end a streamed response"
    FAIL_RESPONSE = "end a streamed response with error trailers"
    SEND_RESPONSE = "send a buffered response"
    SEND_ERROR = "send an error"
    ACCEPTED = "receive a 2xx reply"
    REJECTED = "receive a reply that is not 2xx"
    CONNECTION_LOST = "lose the connection"


TRANSITIONS: Final = {
    # What is in flight ends with its connection and with its reply, even with one that comes before a streamed body has
    # ended: the rest would be discarded.
    **{(state, Trigger.CONNECTION_LOST): State.IDLE for state in State},
    **{(state, Trigger.ACCEPTED): State.IDLE for state in (State.CALLING, State.STREAMING, State.AWAITING_ACK)},
    **{(state, Trigger.REJECTED): State.IDLE for state in State if state not in {State.IDLE, State.HANDLING}},
    (State.IDLE, Trigger.CALL): State.CALLING,
    (State.IDLE, Trigger.REQUEST_NEXT): State.POLLING,
    (State.POLLING, Trigger.ACCEPTED): State.HANDLING,
    (State.HANDLING, Trigger.START_RESPONSE): State.STREAMING,
    (State.HANDLING, Trigger.SEND_RESPONSE): State.AWAITING_ACK,
    (State.HANDLING, Trigger.SEND_ERROR): State.AWAITING_ACK,
    # The handler keeps running; its response goes out on a new connection.
    (State.HANDLING, Trigger.CONNECTION_LOST): State.HANDLING,
    (State.STREAMING, Trigger.CHUNK): State.STREAMING,
    (State.STREAMING, Trigger.END_RESPONSE): State.AWAITING_ACK,
    (State.STREAMING, Trigger.FAIL_RESPONSE): State.AWAITING_ACK,
}


@dataclass(slots=True)
class Reply:
    """One reply of the Runtime API.

    Attributes:
        path: Path of the request.
        status: HTTP status.
        headers: Names in lower case.
        pieces: The complete body, as it arrived.
        keeps_connection: Whether the connection can carry another request.
    """

    path: str
    status: int
    headers: dict[str, str]
    pieces: list[bytearray]
    keeps_connection: bool

    @property
    def body(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.pieces)


def append_data(pieces: list[bytearray], data: bytes | bytearray) -> None:
    """Add to the pieces what has arrived of a body."""
    if not pieces or len(pieces[-1]) >= _PIECE_BYTES:
        pieces.append(bytearray())
    pieces[-1] += data


class RuntimeApiProtocol:
    """The protocol of one poller's connection.

    Methods that build requests raise `IllegalTransition`, before producing any bytes, if `TRANSITIONS` does not allow
    the step.

    Args:
        host: `AWS_LAMBDA_RUNTIME_API`, for the Host header.
    """

    def __init__(self, host: str) -> None:
        self.state = State.IDLE
        self._common_headers = [("Host", host), ("User-Agent", f"winterbourne/{__version__}")]
        self._request_id = self._invocation_id = ""  # of the current invocation; the second one is its attempt's
        self._request_path = ""
        self._next_request = self._build_request("GET", INVOCATION_NEXT, [])
        self.connection_lost()

    def connection_lost(self) -> None:
        """Reset the HTTP state for a new connection; anything in flight on the old one is lost."""
        self.transition(Trigger.CONNECTION_LOST)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._reply_head: h11.Response | None = None
        self._reply_body: list[bytearray] = []

    def call(self, path: str, error: ErrorReport | None = None, error_type: str = "") -> bytes:
        """Build a request to `/init/error` or `/restore/error` (both with an error), or to `/restore/next`."""
        self.transition(Trigger.CALL)
        if error is None:
            return self._send(self._build_request("GET", path, [])) + self._send(END_OF_MESSAGE)
        return self._post(path, [(ERROR_TYPE_HEADER, error_type or error.error_type)], error.body(), "application/json")

    def request_next(self) -> bytes:
        """Build the request to `/invocation/next`."""
        self.transition(Trigger.REQUEST_NEXT)
        self._request_path = INVOCATION_NEXT
        return self._send(self._next_request) + self._send(END_OF_MESSAGE)

    def start_response(self, content_type: str, prelude: bytes = b"") -> bytes:
        """Build the head of a streamed response, with the prelude as its first chunk."""
        self.transition(Trigger.START_RESPONSE)
        headers = [
            (RESPONSE_MODE_HEADER, "streaming"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", f"{ERROR_TYPE_HEADER}, {ERROR_BODY_HEADER}"),
            ("Content-Type", content_type),
        ]
        head = self._send(self._build_request("POST", self._invocation_path("response"), headers))
        return head + CHUNK % (len(prelude), prelude) if prelude else head

    def end_response(self) -> bytes:
        """Build the end of the body."""
        self.transition(Trigger.END_RESPONSE)
        return self._send(END_OF_MESSAGE)

    def fail_response(self, error: ErrorReport) -> bytes:
        """Build the end of the body, with the error in the trailers, shortened to `MAX_TRAILER_BYTES`."""
        self.transition(Trigger.FAIL_RESPONSE)
        framing = len(f"{ERROR_TYPE_HEADER}: {error.error_type}\r\n{ERROR_BODY_HEADER}: \r\n\r\n")
        body = base64.b64encode(error.body((MAX_TRAILER_BYTES - framing) // 4 * 3)).decode()
        return self._send(h11.EndOfMessage(headers=[(ERROR_TYPE_HEADER, error.error_type), (ERROR_BODY_HEADER, body)]))

    def send_response(self, body: bytes, content_type: str) -> bytes:
        """Build a buffered response."""
        self.transition(Trigger.SEND_RESPONSE)
        return self._post(self._invocation_path("response"), [], body, content_type)

    def send_error(self, error: ErrorReport) -> bytes:
        """Build an error report, sent instead of a response."""
        self.transition(Trigger.SEND_ERROR)
        headers = [(ERROR_TYPE_HEADER, error.error_type)]
        if cause := error.xray_cause:
            headers.append((XRAY_CAUSE_HEADER, cause))
        return self._post(self._invocation_path("error"), headers, error.body(), "application/json")

    def receive_data(self, data: bytes) -> Reply | None:
        """Parse bytes from the Runtime API; return the reply once it is complete.

        Raises:
            RuntimeApiError: The bytes are not valid HTTP.
        """
        try:
            self._h11.receive_data(data)
            while (event := self._h11.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._reply_head = event
                elif isinstance(event, h11.Data):
                    append_data(self._reply_body, event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return self._complete_reply()
                elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    break
        except h11.RemoteProtocolError as error:
            raise RuntimeApiError(self._request_path, 0, str(error).encode()) from error
        return None

    def transition(self, trigger: Trigger) -> None:
        """Change the state. `Trigger.CHUNK` keeps it: whoever knows that it is STREAMING need not ask."""
        new_state = TRANSITIONS.get((self.state, trigger))
        if new_state is None:
            raise IllegalTransition(f"cannot {trigger.value} while {self.state.value}")
        self.state = new_state

    def _complete_reply(self) -> Reply:
        head = self._reply_head
        assert head is not None  # noqa: S101 - h11 emits the response head before the end of the message
        headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in head.headers}
        self.transition(Trigger.ACCEPTED if head.status_code // 100 == 2 else Trigger.REJECTED)
        if self.state is State.HANDLING:
            ids = ("lambda-runtime-aws-request-id", "lambda-runtime-invocation-id")
            self._request_id, self._invocation_id = (headers.get(name, "") for name in ids)
        keeps_connection = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if keeps_connection:
            self._h11.start_next_cycle()
        pieces, self._reply_head, self._reply_body = self._reply_body, None, []
        return Reply(self._request_path, head.status_code, headers, pieces, keeps_connection)

    def _invocation_path(self, endpoint: str) -> str:
        return f"{API_BASE_PATH}/invocation/{self._request_id}/{endpoint}"

    def _post(self, path: str, headers: Headers, body: bytes, content_type: str) -> bytes:
        headers = [*headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))]
        head = self._send(self._build_request("POST", path, headers))
        return head + self._send(h11.Data(data=body)) + self._send(END_OF_MESSAGE)

    def _build_request(self, method: str, path: str, headers: Headers) -> h11.Request:
        self._request_path = path
        if method == "POST" and self._invocation_id:
            headers = [*headers, (INVOCATION_ID_HEADER, self._invocation_id)]
        return h11.Request(method=method, target=path, headers=[*self._common_headers, *headers])

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bytes:
        return self._h11.send(event) or b""
