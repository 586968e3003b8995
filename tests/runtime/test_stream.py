"""ResponseStream: start, write and end, on a recording sink; and the buffered sink."""

import asyncio
from typing import Any, ClassVar

import pytest

from winterbourne import PreludeTooLarge, Response, ResponseStream, StreamMisused
from winterbourne.errors import ErrorReport, RuntimeFault
from winterbourne.invocation import FrontEnd
from winterbourne.prelude import PRELUDE_CONTENT_TYPE, encode_prelude
from winterbourne.stream import BufferedSink, open_stream


class RecordingSink:
    """A sink in memory; `full` makes it signal backpressure."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, bytes]] = []
        self.sent: list[bytes] = []
        self.full = False
        self.room = asyncio.Event()
        self.connected = asyncio.Event()
        self.connected.set()
        self.finished = 0
        self.failure: ErrorReport | None = None

    async def start_response(self, content_type: str, prelude: bytes) -> None:
        await self.connected.wait()
        self.heads.append((content_type, prelude))

    def write(self, data: bytes) -> bool:
        self.sent.append(data)
        return self.full

    async def drain(self) -> None:
        await self.room.wait()

    async def end_response(self, failure: ErrorReport | None) -> None:
        self.finished += 1
        self.failure = failure


class TestStart:
    async def test_sends_the_prelude_at_once(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        response = Response(204)
        await stream.start(response)
        assert stream.started
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(response))]

    async def test_once(self) -> None:
        stream = ResponseStream(RecordingSink())
        await stream.start()
        with pytest.raises(StreamMisused):
            await stream.start()

    async def test_a_prelude_that_is_too_large_leaves_the_stream_unstarted(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        with pytest.raises(PreludeTooLarge):
            await stream.start(Response(headers={"x": "y" * 20_000}))
        assert not stream.started
        await stream.start()
        assert len(sink.heads) == 1

    async def test_without_an_http_front_end_there_is_no_prelude_unless_one_is_given(self) -> None:
        bare, given = RecordingSink(), RecordingSink()
        await ResponseStream(bare, http=False).write(b"x")
        await ResponseStream(given, http=False).start(Response())
        assert bare.heads == [("application/octet-stream", b"")]
        assert given.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(Response()))]


class TestWrite:
    async def test_starts_with_status_200(self) -> None:
        sink = RecordingSink()
        await ResponseStream(sink).write("x")
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(Response()))]

    @pytest.mark.parametrize("data", ["grüß", "grüß".encode(), bytearray("grüß".encode()), memoryview("grüß".encode())])
    async def test_takes_text_and_bytes_of_any_kind(self, data: Any) -> None:
        sink = RecordingSink()
        await ResponseStream(sink).write(data)
        assert sink.sent == ["grüß".encode()]
        assert type(sink.sent[0]) is bytes

    @pytest.mark.parametrize("data", [5, None, {"a": 1}, ["x"]])
    async def test_rejects_anything_else_by_type_name(self, data: Any) -> None:
        with pytest.raises(TypeError, match=f"takes bytes or str, not {type(data).__name__}"):
            await ResponseStream(RecordingSink()).write(data)

    async def test_of_an_empty_piece_sends_nothing_since_it_would_end_the_body(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        await stream.write("")
        await stream.write(b"")
        assert stream.started
        assert sink.sent == []

    async def test_sends_before_its_first_suspension(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        await stream.start()
        with pytest.raises(StopIteration):
            stream.write(b"now").send(None)  # one step, no loop
        assert sink.sent == [b"now"]

    async def test_waits_only_while_the_reader_is_behind(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        await stream.start()
        sink.full = True
        writing = asyncio.create_task(stream.write(b"x"))
        await asyncio.sleep(0)
        assert sink.sent == [b"x"]
        assert not writing.done()
        sink.room.set()
        await writing

    async def test_from_another_task_waits_for_a_start_that_is_under_way(self) -> None:
        sink = RecordingSink()
        sink.connected.clear()
        stream = ResponseStream(sink)
        starting = asyncio.create_task(stream.start(Response(201)))
        await asyncio.sleep(0)
        writing = asyncio.create_task(stream.write(b"x"))
        await asyncio.sleep(0)
        assert sink.sent == []
        sink.connected.set()
        await asyncio.gather(starting, writing)
        assert sink.sent == [b"x"]
        assert len(sink.heads) == 1


class Head:
    """A head that learns its status late."""

    status = 200
    headers: ClassVar = {"content-type": "text/plain"}


class TestStartOnWrite:
    async def test_sends_nothing_before_the_first_write(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        stream.start_on_write(Head())
        assert not stream.started
        assert sink.heads == []

    @pytest.mark.parametrize("http", [True, False])
    async def test_sends_the_status_of_that_moment_before_the_data(self, *, http: bool) -> None:
        sink, head = RecordingSink(), Head()
        stream = ResponseStream(sink, http=http)
        stream.start_on_write(head)
        head.status = 502
        await stream.write(b"x")
        expected = Response(502, {"content-type": "text/plain"})
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(expected))]
        assert stream.response == expected
        assert sink.sent == [b"x"]

    async def test_gives_way_to_a_response_that_is_started(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        stream.start_on_write(Head())
        await stream.start(Response(404))
        await stream.write(b"x")
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(Response(404)))]


class TestResponsesWithoutABody:
    @pytest.mark.parametrize("status", [204, 304])
    async def test_of_a_status_that_has_none_nothing_else_is_sent(self, status: int) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        await stream.start(Response(status))
        await stream.write(b"data")
        with stream.lock:
            assert stream.put(b"data") is None
        await stream.end()
        assert (len(sink.heads), sink.sent, sink.finished) == (1, [], 1)

    async def test_of_an_answer_to_head_the_headers_are_sent(self) -> None:
        sink = RecordingSink()
        stream, _ = open_stream(sink, FrontEnd.FUNCTION_URL, is_head=True)
        await stream.start(Response(200, {"content-type": "text/plain"}))
        await stream.write(b"data")
        assert sink.sent == []
        assert b'"content-type":"text/plain"' in sink.heads[0][1]

    async def test_a_prelude_that_is_too_large_is_forgotten(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        with pytest.raises(PreludeTooLarge):
            await stream.start(Response(204, {"x": "y" * 20_000}))
        await stream.write(b"data")
        assert sink.sent == [b"data"]


class TestOwnHeaders:
    @pytest.mark.parametrize("headers", [{"a": "1"}, [("a", "1")]])
    async def test_stand_beside_those_of_any_response(self, headers: Any) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        stream.own_headers = {"x-request-id": "r-1"}
        await stream.start(Response(200, headers, ["c=1"]))
        expected = Response(200, {"a": "1", "x-request-id": "r-1"}, ["c=1"])
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(expected))]

    async def test_give_way_to_those_of_the_response(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        stream.own_headers = {"x-request-id": "r-1"}
        await stream.start(Response(200, {"X-Request-Id": "r-2"}))
        assert sink.heads == [(PRELUDE_CONTENT_TYPE, encode_prelude(Response(200, {"x-request-id": "r-2"})))]

    async def test_make_no_prelude_where_nobody_reads_one(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink, http=False)
        stream.own_headers = {"x-request-id": "r-1"}
        await stream.write(b"data")
        assert sink.heads[0][1] == b""


class TestEnd:
    async def test_sends_the_prelude_of_an_empty_response(self) -> None:
        sink = RecordingSink()
        await ResponseStream(sink).end()
        assert len(sink.heads) == 1
        assert sink.finished == 1

    async def test_happens_once(self) -> None:
        sink = RecordingSink()
        stream = ResponseStream(sink)
        await stream.end()
        await stream.end()
        assert sink.finished == 1

    @pytest.mark.parametrize("how", ["end", "close"])
    async def test_nothing_can_be_written_after_it(self, how: str) -> None:
        stream = ResponseStream(RecordingSink())
        await stream.start()
        if how == "end":
            await stream.end()
        else:
            stream.close()
        assert stream.ended
        with pytest.raises(StreamMisused, match="has ended"):
            await stream.write(b"late")


class TestBufferedSink:
    async def test_gives_the_response_in_one_piece(self) -> None:
        sink = BufferedSink()
        stream = ResponseStream(sink)
        await stream.start(Response(201, {"content-type": "text/plain"}))
        await stream.write("a")
        await stream.write("b")
        await stream.end()
        answer = sink.result(stream.response)
        assert (answer["statusCode"], answer["body"]) == (201, "ab")

    async def test_gives_the_bytes_alone_without_http(self) -> None:
        sink = BufferedSink()
        stream = ResponseStream(sink, http=False)
        await stream.write(b"\xff")
        assert sink.result(stream.response) == b"\xff"


async def test_a_failure_is_told_at_the_end_and_not_before() -> None:
    sink = RecordingSink()
    stream = ResponseStream(sink)
    await stream.write(b"the last word")
    stream.failure = ErrorReport(RuntimeFault("Function.gone", "It is gone."))
    assert (sink.sent, sink.finished) == ([b"the last word"], 0)
    await stream.end()
    assert (sink.finished, sink.failure) == (1, stream.failure)
