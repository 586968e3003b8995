"""ASGI: a chat behind uvicorn, with clients that stay and clients that hang up; and servers that tell it otherwise."""

import asyncio
import contextlib
import json
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
import uvicorn

from tests import emf
from tests.chat.http.test_titles import says
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event
from tests.chat.test_app import make_service
from tests.clock import jumping
from tests.upstream import Exchange, Script, Upstream, saying, upstream
from winterbourne import lifecycle, on_shutdown, on_startup
from winterbourne.asgi import Message
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import ChatError
from winterbourne.chat.http import asgi
from winterbourne.chat.http.asgi import AsgiApplication
from winterbourne.chat.http.request import Request
from winterbourne.chat.infra import http_pool
from winterbourne.chat.settings import DoorSettings
from winterbourne.handlers import adapt_handler
from winterbourne.large_body import LargeBody

WAIT_S = 10.0
DOORS = DoorSettings()
ANSWER = saying(says("It is sunny."))


class SlowAnswer:
    """A provider that says one word, and the rest when it is told to; it knows when the chat has hung up on it."""

    def __init__(self) -> None:
        self.goes_on, self.was_cut = asyncio.Event(), asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        first, rest = says("It is ").partition(b"\n\n")[0] + b"\n\n", says("sunny.")
        await exchange.start()
        await exchange.send(first)
        gone, told = asyncio.create_task(exchange.gone()), asyncio.create_task(self.goes_on.wait())
        await asyncio.wait((gone, told), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.was_cut.set()
            return
        gone.cancel()
        await asyncio.wait((gone,))
        await exchange.send(rest)
        await exchange.end()


class Running:
    """A chat behind uvicorn, and its provider."""

    def __init__(self, url: str, provider: Upstream) -> None:
        self.url = url
        self.provider = provider

    async def ask(self, **fields: object) -> httpx.Response:
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            return await client.post(f"{self.url}/chat", json=question(**fields))

    async def hang_up(self, *, path: str = "/chat", method: str = "POST", **fields: object) -> None:
        """Ask, read the beginning of the answer, and close the connection."""
        body = question(**fields) if method == "POST" else None
        async with (
            httpx.AsyncClient(timeout=WAIT_S) as client,
            client.stream(method, f"{self.url}{path}", json=body) as response,
        ):
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if "It is" in line:
                    return

    async def conversation(self) -> Any:
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            return (await client.get(f"{self.url}/conversations/c")).json()

    async def ended(self) -> Any:
        """The conversation once nothing runs in it any more."""
        return await self.until(lambda conversation: not conversation["running"])

    async def until(self, holds: Callable[[Any], bool]) -> Any:
        """The conversation once this is true of it."""
        for _ in range(int(WAIT_S / 0.02)):
            if holds(conversation := await self.conversation()):
                return conversation
            await asyncio.sleep(0.02)
        raise TimeoutError


def question(**fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "How is it?"}], "conversation_id": "c", **fields}


@contextlib.contextmanager
def own_lifecycle() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "_startup_hooks", [])
        patch.setattr(lifecycle, "_shutdown_hooks", [])
        patch.setattr(asgi, "_process", asgi._Process())
        patch.setattr(lifecycle._Startup, "has_begun", False)
        yield


@contextlib.asynccontextmanager
async def behind_uvicorn(application: Any) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, ws="none", lifespan="on"))
    serving = asyncio.create_task(server.serve())
    for _ in range(int(WAIT_S / 0.01)):
        if server.started or serving.done():
            break
        await asyncio.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def running(*scripts: Script, **settings: object) -> AsyncIterator[Running]:
    with own_lifecycle():
        async with upstream(*scripts) as provider:
            values: dict[str, object] = {
                "max_body_bytes": 1000,
                "model_provider": "openai",
                "openai_base_url": f"{provider.url}/v1",
                "title_model": "off",
            }
            application = AsgiApplication(make_service(**{**values, **settings}))
            async with behind_uvicorn(application) as url:
                yield Running(url, provider)
            await http_pool.close()


class TestAClientThatStays:
    async def test_gets_the_answer_as_it_comes(self) -> None:
        script = SlowAnswer()
        async with (
            running(script) as chat,
            httpx.AsyncClient(timeout=WAIT_S) as client,
            client.stream("POST", f"{chat.url}/chat", json=question()) as response,
        ):
            assert response.headers["content-type"] == "text/event-stream"
            lines = response.aiter_lines()
            assert any([json.loads(line[6:])["type"] == "content" async for line in _until_content(lines)])
            script.goes_on.set()
            rest = [line async for line in lines]
        assert '"done"' in rest[-2]

    async def test_gets_errors_and_other_pages_too(self) -> None:
        async with running(ANSWER) as chat, httpx.AsyncClient(timeout=WAIT_S) as client:
            assert (await client.get(f"{chat.url}/healthz")).json() == {"status": "ok"}
            missing = await client.get(f"{chat.url}/conversations/a%2Fb")
            assert (missing.status_code, missing.headers["x-error-code"]) == (404, "conversation_not_found")
            head = await client.head(f"{chat.url}/healthz")
            assert (head.status_code, head.content) == (200, b"")
            long = await client.post(f"{chat.url}/chat", json=question(system="x" * 200_000), timeout=WAIT_S)
            assert (long.status_code, long.json()["error"]["code"]) == (413, "body_too_large")
            deleted = await client.delete(f"{chat.url}/conversations/none")
            assert deleted.status_code == 404

    async def test_is_cut_off_if_something_breaks_in_mid_answer(self) -> None:
        """The end of the body would be taken for the end of the answer."""

        async def broken(_request: object, stream: Any) -> None:
            await stream.write(b"half")
            raise ZeroDivisionError

        with own_lifecycle():
            application = AsgiApplication(_Handling(broken))  # type: ignore[arg-type]
            async with behind_uvicorn(application) as url, httpx.AsyncClient(timeout=WAIT_S) as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(url)

    async def test_does_not_cancel_what_is_done_after_the_end_of_the_response(self) -> None:
        """Servers say of every client that has its answer that it has gone."""
        is_done, may_end = asyncio.Event(), asyncio.Event()

        async def tidy(_request: object, stream: Any) -> None:
            await stream.write(b"all")
            await stream.end()
            await may_end.wait()
            is_done.set()

        with own_lifecycle():
            application = AsgiApplication(_Handling(tidy))  # type: ignore[arg-type]
            async with behind_uvicorn(application) as url, httpx.AsyncClient(timeout=WAIT_S) as client:
                assert (await client.get(url)).text == "all"
                assert (await client.get(url)).text == "all"  # by now it has been told of the first
                may_end.set()
        assert is_done.is_set()


def failures(capsys: pytest.CaptureFixture[str]) -> list[float]:
    """Of each chat, whether it counts as failed."""
    return [value for one in emf.read(capsys.readouterr().out) for value in one.get("FailedChats", ())]


class _Handling:
    def __init__(self, handle: Callable[..., Any]) -> None:
        self.handle = handle


async def _until_content(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        if line.startswith("data: {"):
            yield line
            if '"content"' in line:
                return


class TestAClientThatHangsUp:
    async def test_leaves_a_kept_conversation_that_is_answered_in_full(self) -> None:
        script = SlowAnswer()
        async with running(script) as chat:
            await chat.hang_up(store=True)
            script.goes_on.set()
            _, answer = (await chat.ended())["messages"]
        assert not script.was_cut.is_set()
        assert (answer["parts"], answer["incomplete"]) == ([{"type": "text", "text": "It is sunny."}], False)

    async def test_cancels_an_answer_that_nobody_can_have_any_more(self) -> None:
        script = SlowAnswer()
        async with running(script) as chat:
            await chat.hang_up()
            await asyncio.wait_for(script.was_cut.wait(), WAIT_S)

    async def test_is_no_failure_of_the_chat(self, capsys: pytest.CaptureFixture[str]) -> None:
        script = SlowAnswer()
        async with running(script) as chat:
            await chat.hang_up()
            await asyncio.wait_for(script.was_cut.wait(), WAIT_S)
        assert failures(capsys) == [0]

    async def test_leaves_an_answer_that_other_processes_can_send_again(self, tmp_path: Path) -> None:
        script = SlowAnswer()
        async with running(script, store=f"file:{tmp_path}/chat.db") as chat:
            await chat.hang_up()
            async with httpx.AsyncClient(timeout=WAIT_S) as client:
                stream = f"{chat.url}/chat/c/stream"
                while (await client.head(stream)).status_code == 204:
                    pass  # the first write of its log is under way
                reading = asyncio.create_task(client.get(stream))
                script.goes_on.set()
                again = (await reading).text
        assert "sunny." in again
        assert '"done"' in again

    async def test_cancels_what_has_no_name_even_there(self, tmp_path: Path) -> None:
        script = SlowAnswer()
        async with running(script, store=f"file:{tmp_path}/chat.db") as chat:
            await chat.hang_up(conversation_id="")
            await asyncio.wait_for(script.was_cut.wait(), WAIT_S)

    async def test_cancels_a_kept_answer_too_with_cancel_and_what_was_said_is_kept(self) -> None:
        script = SlowAnswer()
        async with running(script, on_disconnect="cancel") as chat:
            await chat.hang_up(store=True)
            await asyncio.wait_for(script.was_cut.wait(), WAIT_S)
            _, answer = (await chat.ended())["messages"]
        assert (answer["parts"], answer["incomplete"]) == ([{"type": "text", "text": "It is "}], True)

    async def test_cancels_nothing_with_run(self) -> None:
        script = SlowAnswer()
        async with running(script, on_disconnect="run") as chat:
            await chat.hang_up()
            script.goes_on.set()
        assert not script.was_cut.is_set(), "the server waits for what goes on"

    async def test_from_an_answer_that_is_sent_again_leaves_the_answer(self) -> None:
        script = SlowAnswer()
        async with running(script) as chat:
            asking = asyncio.create_task(chat.ask(store=True))
            await chat.until(lambda conversation: "It is" in str(conversation))
            await chat.hang_up(path="/chat/c/stream", method="GET")
            script.goes_on.set()
            assert "sunny." in (await asking).text


class Server:
    """A server of the specification's version 2.4: `send` raises once the client has gone."""

    def __init__(self, *received: Message) -> None:
        self.received = list(received)
        self.sent: list[Message] = []
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        if self.received:
            return self.received.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.gone.is_set():
            raise OSError
        self.sent.append(message)
        if b"It is" in message.get("body", b""):
            self.gone.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def scope(method: str = "POST", path: str = "/chat", **fields: object) -> Message:
    headers = [(b"content-type", b"application/json")]
    known = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    return {**known, **fields}


class SeenRequests:
    """A service that answers nothing and remembers the requests, and their bodies up to some bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.requests: list[tuple[Request, bytes]] = []

    async def handle(self, request: Request, *_: object) -> None:
        assert callable(request.raw_body)
        body = await request.raw_body(self.max_bytes) if self.max_bytes else LargeBody()
        self.requests.append((request, b"".join(body.pieces())))


async def seen_with_body(
    *received: Message, max_bytes: int, settings: DoorSettings = DOORS, **fields: object
) -> tuple[Request, bytes]:
    service, server = SeenRequests(max_bytes), Server(*received)
    with own_lifecycle():
        await AsgiApplication(service, settings)(scope(**fields), server.receive, server.send)  # type: ignore[arg-type]
    (request,) = service.requests
    return request


async def seen(settings: DoorSettings = DOORS, **fields: Any) -> Request:
    return (await seen_with_body(max_bytes=0, settings=settings, **fields))[0]


class TestOtherServers:
    @pytest.mark.parametrize("is_gone_at_once", [False, True])
    async def test_may_raise_when_the_client_has_gone(self, *, is_gone_at_once: bool) -> None:
        script = SlowAnswer()
        script.goes_on.set()
        body = json.dumps(question(store=True)).encode()
        with own_lifecycle():
            async with upstream(script) as provider:
                service = make_service(model_provider="openai", openai_base_url=f"{provider.url}/v1", title_model="off")
                server, later = Server({"type": "http.request", "body": body}), Server({"type": "http.request"})
                if is_gone_at_once:
                    server.gone.set()
                await AsgiApplication(service)(scope(), server.receive, server.send)
                path = {"method": "GET", "path": "/conversations/c"}
                await AsgiApplication(service)(scope(**path), later.receive, later.send)
        assert b"sunny." not in server.body
        assert json.loads(later.body)["messages"][1]["parts"] == [{"type": "text", "text": "It is sunny."}]

    async def test_cancel_what_takes_too_long_to_shut_down(self, capsys: pytest.CaptureFixture[str]) -> None:
        script = SlowAnswer()
        body = json.dumps(question(store=True)).encode()
        with own_lifecycle():
            async with upstream(script) as provider:
                service = make_service(model_provider="openai", openai_base_url=f"{provider.url}/v1", title_model="off")
                server = Server({"type": "http.request", "body": body})
                serving = asyncio.create_task(AsgiApplication(service)(scope(), server.receive, server.send))
                await asyncio.wait_for(server.gone.wait(), WAIT_S)
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
                await asyncio.wait_for(script.was_cut.wait(), WAIT_S)
        assert failures(capsys) == [1]

    async def test_send_a_body_in_pieces(self) -> None:
        pieces = [{"type": "http.request", "body": body, "more_body": True} for body in (b"", b"ab", b"cd")]
        _, body = await seen_with_body(*pieces, {"type": "http.request", "body": b"e"}, max_bytes=10)
        assert body == b"abcde"

    async def test_are_not_asked_for_more_of_a_body_that_is_too_long(self) -> None:
        pieces = [{"type": "http.request", "body": b"12345678", "more_body": True} for _ in range(100)]
        _, body = await seen_with_body(*pieces, max_bytes=10)
        assert len(body) == 16

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"path": "/a b/ü", "raw_path": b"/a%20b/%C3%BC"}, "/a%20b/%C3%BC"),
            ({"path": "/a b/ü"}, "/a%20b/%C3%BC"),
            ({"path": "/a", "raw_path": None}, "/a"),
            ({"path": "/my chat/a", "raw_path": b"/my%20chat/a%2Fb", "root_path": "/my chat"}, "/a%2Fb"),
            ({"path": "/v1:beta/chat", "raw_path": b"/v1:beta/chat", "root_path": "/v1:beta"}, "/chat"),
            ({"path": "/chat", "raw_path": b"/chat", "root_path": "/chat"}, "/"),
            ({"path": "/chat/chat", "raw_path": b"/chat/chat", "root_path": "/chat"}, "/chat"),
            ({"path": "/chats", "raw_path": b"/chats", "root_path": "/chat"}, "/chats"),
        ],
    )
    async def test_say_in_their_own_ways_which_path(self, fields: dict[str, Any], path: str) -> None:
        assert (await seen(**fields)).raw_path == path

    async def test_repeat_headers(self) -> None:
        headers = [(b"accept", b"a"), (b"x-api-key", "ü".encode("latin-1")), (b"accept", b"b")]
        request = await seen(headers=headers, query_string=b"limit=2&after=%2B")
        assert request.headers == {"accept": "a,b", "x-api-key": "ü"}
        assert request.query == {"limit": "2", "after": "+"}

    async def test_vouch_for_a_peer_and_for_nobody_s_name(self) -> None:
        request = await seen(client=("127.0.0.1", "1"))  # granian's ports are text
        assert (request.client, request.identity, request.is_bare) == ("127.0.0.1", {}, True)
        assert (await seen(client=None)).client == ""

    async def test_trace_on_what_they_are_told(self) -> None:
        traceparent = "00-6921a3f03b1c52d17e8a4f0692d5ab37-53995c3f42cd8ad8-01"
        headers = [(b"traceparent", traceparent.encode()), (b"tracestate", b"a=b"), (b"baggage", b"c=d")]
        assert (await seen(headers=headers)).trace == {"traceparent": traceparent, "tracestate": "a=b"}

    async def test_are_told_of_a_body_only_when_it_is_asked_for(self) -> None:
        """So that a caller who is refused costs nothing."""
        server = Server({"type": "http.request", "body": b"x" * 100, "more_body": True})
        with own_lifecycle():
            await AsgiApplication(make_service(auth="api_key"))(scope(), server.receive, server.send)
        assert (server.sent[0]["status"], len(server.received)) == (401, 1)

    async def test_are_not_asked_for_the_rest_of_a_body_that_is_refused(self) -> None:
        pieces = [{"type": "http.request", "body": b"x" * 600, "more_body": True} for _ in range(9)]
        server = Server(*pieces)
        with own_lifecycle():
            await AsgiApplication(make_service(max_body_bytes=1000))(scope(), server.receive, server.send)
        assert (server.sent[0]["status"], len(server.received)) == (413, 7)

    async def test_may_send_a_body_in_tiny_pieces_that_takes_no_more_memory_for_it(self) -> None:
        received = iter(range(100_000))

        async def receive() -> Message:
            at = next(received, None)
            return {"type": "http.request", "body": b"%02d" % ((at or 0) % 100), "more_body": at is not None}

        tracemalloc.start()
        body = await asgi._Inbox(receive).read_body(1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        text = b"".join(body.pieces())
        assert (len(text), text[:6]) == (200_002, b"000102")
        assert peak < 5 * len(text)

    async def test_say_that_a_client_left_in_the_middle_of_its_body(self) -> None:
        half = {"type": "http.request", "body": b'{"messages":[]', "more_body": True}
        server = Server(half, {"type": "http.disconnect"})
        with own_lifecycle():
            await asyncio.wait_for(AsgiApplication(make_service())(scope(), server.receive, server.send), WAIT_S)
        assert (server.sent[0]["status"], b"the body was not sent to its end" in server.body) == (400, True)


class TestPlatforms:
    """What stands before the server is believed because a setting says so, and never because a header does."""

    HEADERS: ClassVar = [
        (b"lambda-web-request-id", b"of-the-web"),
        (b"x-amzn-bedrock-agentcore-runtime-request-id", b"of-agentcore"),
        (b"x-amzn-bedrock-agentcore-runtime-session-id", b"session"),
        (b"x-forwarded-for", b"192.0.2.1, 203.0.113.9"),
    ]

    @pytest.mark.parametrize(
        ("door", "request_id", "client", "fields"),
        [
            ("server", None, "127.0.0.1", {}),
            ("web", "of-the-web", "203.0.113.9", {}),
            ("agentcore", "of-agentcore", "127.0.0.1", {"session_id": "session"}),
        ],
    )
    async def test_are_believed_by_configuration(
        self, door: Any, request_id: str | None, client: str, fields: dict[str, str]
    ) -> None:
        peer = ("127.0.0.1", 1)
        request = await seen(DoorSettings(asgi_door=door), headers=self.HEADERS, client=peer)
        assert (request.client, request.door_fields) == (client, fields)
        assert request.request_id == (request_id or str(uuid.UUID(request.request_id)))

    @pytest.mark.parametrize("door", ["web", "agentcore"])
    async def test_may_leave_out_what_they_add(self, door: Any) -> None:
        request = await seen(DoorSettings(asgi_door=door), headers=[], client=None)
        assert (request.client, request.door_fields) == ("", {})
        assert str(uuid.UUID(request.request_id)) == request.request_id


class Late:
    """A service that does not end in time, after it has written something or before."""

    def __init__(self, *written: bytes, last_words: bytes | None = None) -> None:
        self.written, self.last_words = written, last_words

    async def handle(self, _: Request, stream: Any) -> None:
        for piece in self.written:
            await stream.write(piece)
        if self.last_words is not None:
            stream.last_words = lambda is_last: self.last_words if is_last else b""
        await asyncio.sleep(3600)


class TestDeadlines:
    @jumping
    async def test_a_chat_ends_with_its_own_frame_before_the_door_cuts(self) -> None:
        service = make_service(scripted_words_per_second=0.01)
        body = json.dumps(question()).encode()
        server = Server({"type": "http.request", "body": body})
        started_at = asyncio.get_running_loop().time()
        with own_lifecycle():
            application = AsgiApplication(service, DoorSettings(request_timeout=30))
            await application(scope(), server.receive, server.send)
        assert json.loads(server.body.split(b"data: ")[-1])["code"] == "deadline_reached"
        assert server.sent[-1] == {"type": "http.response.body"}
        assert asyncio.get_running_loop().time() - started_at < 29

    @jumping
    async def test_what_goes_on_nevertheless_is_cancelled_and_has_last_words(self) -> None:
        server = Server({"type": "http.request"})
        with own_lifecycle():
            application = AsgiApplication(Late(b"half", last_words=b"end"), DOORS)  # type: ignore[arg-type]
            with pytest.raises(ChatError):  # so that the server cuts the connection
                await application(scope(), server.receive, server.send)
        assert server.body == b"halfend"
        assert server.sent[-1]["more_body"]

    @jumping
    async def test_what_has_not_begun_is_answered(self) -> None:
        service = msgspec.structs.replace(make_service(), authenticator=SlowAuthenticator())
        server = Server({"type": "http.request"})
        with own_lifecycle():
            await AsgiApplication(service, DOORS)(scope(), server.receive, server.send)
        assert (server.sent[0]["status"], b"deadline_reached" in server.body) == (504, True)
        assert server.sent[-1] == {"type": "http.response.body"}

    @jumping
    @pytest.mark.parametrize("written", [(b"half",), ()])
    async def test_nobody_waits_for_a_reader_who_takes_no_last_words(self, written: tuple[bytes, ...]) -> None:
        server = Server({"type": "http.request"})

        async def send(message: Message) -> None:
            await server.send(message)
            if message.get("body") == b"end":
                await asyncio.Event().wait()

        with own_lifecycle():
            application = AsgiApplication(Late(*written, last_words=b"end"), DOORS)  # type: ignore[arg-type]
            with pytest.raises(ChatError):
                await asyncio.wait_for(application(scope(), server.receive, send), DOORS.request_timeout + 1)
        assert server.sent[-1]["more_body"]

    @jumping
    async def test_without_last_words_the_connection_is_cut(self) -> None:
        server = Server({"type": "http.request"})
        with own_lifecycle(), pytest.raises(ChatError):
            await AsgiApplication(Late(b"half"), DOORS)(scope(), server.receive, server.send)  # type: ignore[arg-type]
        assert server.body == b"half"


class SlowAuthenticator:
    async def prepare(self) -> None:
        """Do nothing."""

    async def authenticate(self, _: object) -> Caller:
        await asyncio.sleep(3600)
        raise AssertionError


class TestAServerWithoutALifespan:
    async def test_starts_up_with_the_first_request_and_once(self) -> None:
        calls, may_go_on = list[str](), asyncio.Event()

        async def start() -> None:
            calls.append("startup")
            await may_go_on.wait()

        with own_lifecycle():
            application = AsgiApplication(make_service())
            on_startup(start)
            servers = [Server() for _ in range(3)]
            health = scope("GET", "/healthz")
            serving = [asyncio.create_task(application(health, one.receive, one.send)) for one in servers]
            await asyncio.sleep(0)
            assert all(not one.sent for one in servers)
            may_go_on.set()
            await asyncio.wait(serving)
        assert calls == ["startup"]
        assert all(json.loads(one.body) == {"status": "ok"} for one in servers)

    async def test_is_told_of_a_start_that_fails_and_the_next_request_tries_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        fails = [True]

        def start() -> None:
            if fails.pop():
                raise ZeroDivisionError("secret")

        with own_lifecycle():
            application, server = AsgiApplication(make_service()), Server()
            on_startup(start)
            with pytest.raises(ChatError, match="the start-up failed") as failed:
                await application(scope("GET", "/healthz"), server.receive, server.send)
            assert failed.value.__cause__ is None
            assert "the start-up failed" in caplog.text
            fails.append(False)
            await application(scope("GET", "/healthz"), server.receive, server.send)
        assert json.loads(server.body) == {"status": "ok"}


class TestOtherScopes:
    async def test_ask_for_web_sockets_in_vain(self) -> None:
        server = Server()
        with own_lifecycle():
            await AsgiApplication(make_service())({"type": "websocket"}, server.receive, server.send)
        assert server.sent == [{"type": "websocket.close"}]


class Lifespan:
    """An application's lifespan, phase by phase."""

    def __init__(self, application: AsgiApplication) -> None:
        self.told, self.heard = asyncio.Queue[Message](), asyncio.Queue[Message]()
        self.running = asyncio.create_task(application({"type": "lifespan"}, self.told.get, self.heard.put))

    async def run(self, phase: str) -> None:
        self.told.put_nowait({"type": f"lifespan.{phase}"})
        assert await self.heard.get() == {"type": f"lifespan.{phase}.complete"}


class TestTheLifespan:
    async def test_runs_the_hooks_once(self) -> None:
        calls: list[str] = []
        with own_lifecycle():
            application = AsgiApplication(make_service())
            on_startup(lambda: calls.append("startup"))
            on_shutdown(lambda: calls.append("shutdown"))
            async with behind_uvicorn(application) as url, httpx.AsyncClient(timeout=WAIT_S) as client:
                for _ in range(2):
                    await client.get(f"{url}/healthz")
                assert calls == ["startup"]
        assert calls == ["startup", "shutdown"]

    async def test_of_two_applications_in_one_process_is_begun_by_the_first_and_ended_by_the_last(self) -> None:
        calls: list[str] = []
        with own_lifecycle():
            first, second, third = (Lifespan(AsgiApplication(make_service())) for _ in range(3))
            on_startup(lambda: calls.append("startup"))
            on_shutdown(lambda: calls.append("shutdown"))
            await first.run("startup")
            await second.run("startup")
            await first.run("shutdown")
            assert calls == ["startup"]
            await second.run("shutdown")
            assert calls == ["startup", "shutdown"]
            await third.run("startup")
            await third.run("shutdown")
        assert calls == ["startup", "shutdown"] * 2

    async def test_leaves_the_hooks_to_lambdas_runtime_where_the_application_is_the_handler(self) -> None:
        calls: list[str] = []
        with own_lifecycle():
            on_startup(lambda: calls.append("startup"))
            on_shutdown(lambda: calls.append("shutdown"))
            handler = adapt_handler(AsgiApplication(make_service()))
            await asyncio.wait_for(lifecycle.run_startup(), WAIT_S)
            response: Any = RecordedResponse()
            await handler(event("GET", "/healthz"), response, FakeLambdaContext())
            assert json.loads(response.body) == {"status": "ok"}
            await asyncio.wait_for(lifecycle.run_shutdown(), WAIT_S)
        assert calls == ["startup", "shutdown"]

    @jumping
    @pytest.mark.parametrize(("saving_s", "calls"), [(1, ["saved", "shutdown"]), (3600, ["shutdown"])])
    async def test_ends_after_requests_that_the_server_has_cancelled(self, saving_s: float, calls: list[str]) -> None:
        """They save what they have: uvicorn tells of the shutdown without waiting for them."""
        called, begun = list[str](), asyncio.Event()

        async def save_at_the_end(*_: object) -> None:
            try:
                begun.set()
                await asyncio.sleep(7200)
            finally:
                await asyncio.sleep(saving_s)
                called.append("saved")

        with own_lifecycle():
            on_shutdown(lambda: called.append("shutdown"))
            application, server = AsgiApplication(_Handling(save_at_the_end)), Server()  # type: ignore[arg-type]
            lifespan = Lifespan(application)
            await lifespan.run("startup")
            serving = asyncio.create_task(application(scope("GET"), server.receive, server.send))
            await begun.wait()
            serving.cancel()
            await lifespan.run("shutdown")
            assert called == calls
            await asyncio.wait((serving,))

    async def test_ends_the_server_if_the_start_fails(self) -> None:
        server = Server({"type": "lifespan.startup"})
        with own_lifecycle():
            on_startup(lambda: 1 / 0)
            await AsgiApplication(make_service())({"type": "lifespan"}, server.receive, server.send)
        (failed,) = server.sent
        assert failed["type"] == "lifespan.startup.failed"
        assert "ZeroDivisionError" in failed["message"]
