"""The client that measures: when bytes arrive, whether a body is whole, its trailers, and what is no answer."""

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.local.verify.scripted_door import Door, Request, Response, Wire, healthy
from winterbourne.local.verify.asking import ask, connection
from winterbourne.local.verify.client import Answer, Connection, connect

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def _ask(*steps: float | bytes, is_whole: bool = True, trailers: tuple[tuple[str, str], ...] = ()) -> Answer:
    door = Door(lambda _: Response(body=steps, is_whole=is_whole, trailers=trailers))
    return ask(door.deployment(), "GET", "/")


def _raw(data: bytes) -> Answer:
    return ask(Door(lambda _: Response(raw=data)).deployment(), "GET", "/")


class TestArrival:
    def test_each_piece_has_its_time(self) -> None:
        answer = _ask(0.5, b"one", 1.0, b"two", 0.25)
        assert answer.pieces == [(0.5, b"one"), (1.5, b"two")]
        assert (answer.first_byte_s, answer.ended_s, answer.body) == (0.5, 1.75, b"onetwo")

    def test_an_empty_body_has_its_end(self) -> None:
        assert _ask(2.0).first_byte_s == 2.0

    def test_what_arrives_together_has_one_time(self) -> None:
        assert len({at_s for at_s, _ in _raw(HEAD + b"2\r\na\n\r\n2\r\nb\n\r\n0\r\n\r\n").pieces}) == 1

    def test_what_arrives_together_has_one_time_also_where_the_clock_never_stands_still(self) -> None:
        door = Door(lambda _: Response(raw=HEAD + b"2\r\na\n\r\n2\r\nb\n\r\n0\r\n\r\n"))
        ticks = itertools.count()
        with Connection(Wire(door), "door", lambda: float(next(ticks))) as connected:
            answer = connected.ask("GET", "/")
        assert len({at_s for at_s, _ in answer.pieces}) == 1

    @given(st.lists(st.binary(max_size=4), max_size=12))
    def test_lines_are_those_of_the_body_wherever_it_is_split(self, pieces: list[bytes]) -> None:
        answer = Answer(pieces=[(float(at), piece) for at, piece in enumerate(pieces)])
        assert [line for _, line in answer.lines()] == b"".join(pieces).split(b"\n")[:-1]
        assert [at_s for at_s, _ in answer.lines()] == sorted(at_s for at_s, _ in answer.lines())


class TestEnd:
    def test_a_whole_body_has_its_trailers(self) -> None:
        answer = _ask(b"x", trailers=(("Error-Type", "RuntimeError"),))
        assert (answer.is_whole, answer.trailers) == (True, [("error-type", "RuntimeError")])

    def test_a_body_that_breaks_off_is_not_whole(self) -> None:
        answer = _ask(b"x", is_whole=False)
        assert (answer.is_whole, answer.body) == (False, b"x")

    def test_a_body_that_breaks_its_framing_is_not_whole(self) -> None:
        answer = _raw(HEAD + b"2\r\nab\r\nno length\r\n")
        assert (answer.status, answer.is_whole, answer.body) == (200, False, b"ab")

    @pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", b"220 mail.example\r\n\r\n"])
    def test_without_a_head_there_is_no_answer(self, data: bytes) -> None:
        with pytest.raises(ConnectionError):
            _raw(data)

    def test_an_informational_response_is_none(self) -> None:
        assert _raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").status == 204


class TestRequests:
    def test_one_after_another_go_over_one_connection(self) -> None:
        door = Door(healthy)
        with Connection(Wire(door), "door", lambda: door.now_s, base="/prod") as connected:
            statuses = [connected.ask(method, "/healthz").status for method in ("GET", "HEAD", "GET")]
        assert statuses == [200, 200, 200]
        assert [request.path for request in door.asked] == ["/prod/healthz"] * 3

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("https://x.on.aws", ("x.on.aws", 443, True)),
            ("http://127.0.0.1:3000/prod", ("127.0.0.1", 3000, False)),
        ],
    )
    def test_go_to_the_address_of_the_url(self, url: str, address: tuple[str, int, bool]) -> None:
        asked: list[tuple[object, ...]] = []
        door = Door(lambda request: _note(request, asked))
        deployment = door.deployment(url=url)

        def connected_to(*where: object) -> Wire:
            asked.append(where)
            return Wire(door)

        with connection(replace(deployment, connect=connected_to)) as connected:
            connected.ask("GET", "/healthz")
        assert asked == [address, (url.split("/")[2], url.split("/", 3)[3:] == ["prod"])]


def _note(request: Request, asked: list[tuple[object, ...]]) -> Response:
    asked.append((request.headers["host"], request.path.startswith("/prod/")))
    return Response()


class TestSockets:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        """Of a server that answers in plain text, once."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=_serve, args=(server,))
            thread.start()
            yield server.getsockname()[1]
            thread.join()

    def test_plain(self, port: int) -> None:
        with Connection(connect("127.0.0.1", port, False), "x", lambda: 0.0) as connected:  # noqa: FBT003 - no TLS
            assert connected.ask("GET", "/").status == 204

    def test_tls_is_asked_for(self, port: int) -> None:
        with pytest.raises(ssl.SSLError):
            connect("127.0.0.1", port, True)  # noqa: FBT003 - TLS


def _serve(server: socket.socket) -> None:
    connected, _ = server.accept()
    with connected, contextlib.suppress(ConnectionError):
        connected.recv(65536)
        connected.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
