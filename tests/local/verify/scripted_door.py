"""A door that answers by a script, on a clock of its own: bytes on a connection, and nobody sleeps."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import h11

from winterbourne.local.verify.deployment import Aws, Deployment

__all__ = ["KEY", "ORIGIN", "STARTED", "TIMEOUT_S", "Door", "Request", "Response", "healthy"]

KEY: Final = "sesame"
ORIGIN: Final = "https://app.example"
TIMEOUT_S: Final = 15.0
STARTED: Final = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)
MB: Final = 1 << 20
BLOCK: Final = b"." * (1 << 16)
_REQUESTS: Final = itertools.count()


@dataclass(frozen=True)
class Request:
    """A request, its body decoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"]) if self.body else ""


@dataclass(frozen=True)
class Response:
    """A response: seconds that pass, and chunks of its body.

    Attributes:
        raw: Sent as it is in the place of all others.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[float | bytes, ...] = ()
    is_whole: bool = True
    trailers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None


Script = Callable[[Request], Response]


@dataclass
class Door:
    """A server.

    Attributes:
        script: What it answers.
        distort: What it does to each answer.
        now_s: Its clock.
    """

    script: Script
    distort: Callable[[Response], Response] = lambda response: response
    now_s: float = 0.0
    asked: list[Request] = field(default_factory=list)

    def deployment(self, aws: Aws | None = None, **more: Any) -> Deployment:
        """What a measurement is given."""
        given: dict[str, Any] = {"url": "http://door", "api_key": KEY, "token": "t", "origin": ORIGIN, **more}
        return Deployment(
            **given,
            timeout_s=TIMEOUT_S,
            aws=aws,
            connect=lambda *_: Wire(self),
            clock=lambda: self.now_s,
            now=self.now,
            sleep=self.sleep,
        )

    def now(self) -> datetime:
        return STARTED + timedelta(seconds=self.now_s)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        return self.distort(self.script(request))


class Wire:
    """The client's end of a connection to a door."""

    def __init__(self, door: Door) -> None:
        self._door, self._http = door, h11.Connection(h11.SERVER)
        self._sent: Iterator[bytes] = iter(())

    def sendall(self, data: bytes, /) -> None:
        list(self._sent)  # what is left of the answer before, of which nobody had to read more
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        self._http.receive_data(data)
        if self._http.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._read()

    def recv(self, _: int, /) -> bytes:
        return next(self._sent, b"")

    def close(self) -> None:
        pass

    def _read(self) -> None:
        while isinstance(event := self._http.next_event(), h11.Request | h11.Data):
            if isinstance(event, h11.Request):
                self._request, self._body = event, b""
            else:
                self._body += event.data
        if isinstance(event, h11.EndOfMessage):
            target = urlsplit(self._request.target.decode())
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            headers = {name.decode(): value.decode() for name, value in self._request.headers}
            body = json.loads(self._body) if self._body else None
            request = Request(self._request.method.decode(), target.path, query, headers, body)
            self._sent = self._encode(self._door.answer(request))

    def _encode(self, response: Response) -> Iterator[bytes]:
        if response.raw is not None:
            yield response.raw
            return
        waits = [step for step in response.body if isinstance(step, float)]
        begun = not all(isinstance(step, float) for step in response.body)
        if not begun:  # there is nothing to send but a head, at last
            self._door.now_s += sum(waits)
        yield self._http.send(h11.Response(status_code=response.status, headers=list(response.headers))) or b""
        for step in response.body if begun and self._request.method != b"HEAD" else ():
            if isinstance(step, float):
                self._door.now_s += step
            else:
                yield self._http.send(h11.Data(data=step)) or b""
        if response.is_whole:
            yield self._http.send(h11.EndOfMessage(headers=list(response.trailers))) or b""


def healthy(request: Request) -> Response:
    """What a deployment answers as it should."""
    if request.method == "OPTIONS":
        return _preflight(request)
    if request.path == "/chat":
        return _chat(request)
    name = request.path.removeprefix("/verify/")
    return _PROBES[name](request) if name in _PROBES else Response(body=(b"{}",))


def _words(request: Request) -> Response:
    steps: list[float | bytes] = []
    pause_s = int(request.query.get("pause_ms", 0)) / 1000
    for number in range(int(request.query["count"])):
        steps += [pause_s] if number else []
        steps.append((request.query.get("text") or f"{number * pause_s:.4f}").encode() + b"\n")
    return Response(body=(0.02, *steps))


def _bytes(request: Request) -> Response:
    size, steps = 0, list[float | bytes]()
    for _ in range(int(request.query["size"]) // len(BLOCK)):
        size += len(BLOCK)
        steps += [0.001 if size <= 6 * MB else len(BLOCK) / (2 * MB), BLOCK]
    return Response(body=tuple(steps))


def _empty(request: Request) -> Response:
    status = int(request.query["status"])
    return Response(status, body=() if status in {204, 304} or request.method == "HEAD" else (b"x",))


def _hang(request: Request) -> Response:
    begun = "begin" in request.query
    return Response(
        200 if begun else 502, body=(0.02, b"begun\n", TIMEOUT_S) if begun else (TIMEOUT_S,), is_whole=not begun
    )


def _environment(_: Request) -> Response:
    return Response(body=(json.dumps({"request_id": f"r-{next(_REQUESTS)}"}).encode(),))


_PROBES: Final[dict[str, Script]] = {
    "words": _words,
    "bytes": _bytes,
    "empty": _empty,
    "hang": _hang,
    "environment": _environment,
    "fail": lambda _: Response(body=(b"begun\n",), is_whole=False),
    "crash": lambda _: Response(502),
    "role": lambda _: Response(body=(b'{"dynamodb:ListTables": "AccessDeniedException"}',)),
}


def _preflight(request: Request) -> Response:
    if request.headers["origin"] != ORIGIN:
        return Response()
    methods, headers = "GET,POST", "content-type,x-api-key"
    allows = {"origin": ORIGIN, "methods": methods, "headers": headers}
    return Response(headers=tuple((f"access-control-allow-{name}", value) for name, value in allows.items()))


def _chat(request: Request) -> Response:
    if request.headers.get("x-api-key") != KEY:
        return Response(401)
    done = {"type": "done", "usage": {"output": 20}}
    error = {"type": "error", "code": "deadline_reached"}
    called = {"type": "tool_call", "name": "reach", "status": "completed"}
    result = {"environment": "e-1", "status": 200, "ms": 12}
    script: dict[str, list[float | dict[str, Any]]] = {
        "Please fail halfway": [0.1, error],
        "Count to 99999": [TIMEOUT_S - 2, error],
        "Call reach": [0.3, {**called, "result": result}, done],
    }
    steps = [{"type": "start"}, *script.get(request.question, [0.1, {"type": "content", "delta": "one"}, done])]
    body = tuple(s if isinstance(s, float) else f"data: {json.dumps(s)}\n\n".encode() for s in steps)
    cors = (("access-control-allow-origin", ORIGIN), ("access-control-expose-headers", "x-amzn-requestid"))
    return Response(headers=cors if request.headers.get("origin") == ORIGIN else (), body=body)


def changed(response: Response, **fields: Any) -> Response:
    """A response with other fields."""
    return replace(response, **fields)
