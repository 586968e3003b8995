"""The watchdog: a loop that stands still is named in the log, its streams go on and end, and the process with them.

What blocks the loop here holds until the test has seen what it waits for, or until the process is gone.
"""

import asyncio
import contextlib
import faulthandler
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.harness import program, serving, url_event
from tests.runtime.runtime_api import Outcome, RuntimeApi
from winterbourne import ResponseStream, on_stall, streamify_response, watchdog
from winterbourne import loop as pollers
from winterbourne.connection import RuntimeClient, _Connection
from winterbourne.override import override
from winterbourne.protocol import RuntimeApiProtocol
from winterbourne.watchdog import EXIT_STALLED, InFlight, Watchdog
from winterbourne.write_lock import LOCK

UVLOOP = "import asyncio, uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
BLOCKS = """
import asyncio, socket, time
from winterbourne import on_stall, on_stream_error, streamify_response

on_stall(lambda task, has_ended: print("ended by:" if has_ended else "stalled:", task))
left, right = socket.socketpair()

def block(how):
    time.sleep(60) if how == "sleep" else left.recv(1)

async def plain(event, context):
    asyncio.current_task().set_name("dredging")
    block("sleep")

async def pieces(event, context):
    yield "begun "
    block(event)

@on_stream_error
def frame(error):
    return f"[{type(error).__name__}]"

@streamify_response
async def talks(event, stream, context):
    spoken = []
    def last_words(is_last):
        if is_last:
            return b"bye"
        spoken.append(1)
        return b"beat " if len(spoken) < 3 else b""
    stream.last_words = last_words
    if event.get("begins"):
        await stream.write("begun ")
    if event.get("blocks"):
        await asyncio.sleep(0.05)  # for the neighbours to begin
        block("socket")
    await asyncio.Event().wait()
"""


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], Path]:
    def write(code: str) -> Path:
        (tmp_path / "app.py").write_text(code)
        return tmp_path

    return write


earlier: list[Watchdog] = []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watchdog]:
    """A watchdog of this test's own, on its loop, that ticks fast and ends no process; the only one."""
    for each in earlier:
        each.wake.set()  # its loop is closed, so its thread ends
    wait_for_the_end_of("watchdog")
    own = Watchdog(end_process=lambda _: None)
    earlier[:] = [own]
    monkeypatch.setattr(watchdog, "TICK_S", 0.001)
    monkeypatch.setattr(pollers, "WATCHDOG", own)
    yield own
    own._report = lambda *_: None  # type: ignore[method-assign]
    wait_for_the_end_of("watchdog's log")  # else the next test would be told


def wait_for_the_end_of(name: str) -> None:
    while any(thread.name == name for thread in threading.enumerate()):  # one that is just starting cannot be joined
        time.sleep(0.001)


def stand_still(own: Watchdog) -> None:
    """Block this loop while the watchdog looks nine times; how busy the machine is makes no difference."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    own._is_answered.set()

    def look() -> None:
        for _ in range(9):
            own._look(loop, thread, 0.0, is_loops=False)

    in_a_thread(look)
    wait_for_the_end_of("watchdog's log")


class TestALoopThatStandsStill:
    """In this process: the loop is blocked until the watchdog has done what the test waits for."""

    async def test_is_named_with_its_task_and_the_line(self, quick: Watchdog, logged: list[str]) -> None:
        names: list[str] = []

        @on_stall
        def hook(task: str, has_ended: object) -> None:
            names.append(f"{task} {has_ended}")

        async def handler(event: Any, context: Any) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.set_name("tool dredge")
            stand_still(quick)  # this line blocks
            return "done"

        async with serving(handler) as api:
            assert (await api.invoke()).json == "done"
        assert names == ["tool dredge False"]
        (line,) = [entry for entry in logged if "stands still" in entry]
        assert "tool dredge blocks it" in line
        assert "stand_still(quick)  # this line blocks" in line
        assert "request-1" in line

    async def test_goes_on_with_its_streams_where_the_thread_left_them(self, quick: Watchdog) -> None:
        quick.start()
        spoken = threading.Event()

        @streamify_response
        async def handler(event: Any, stream: ResponseStream, context: Any) -> None:
            def last_words(_: object) -> bytes:
                if spoken.is_set():
                    return b""
                spoken.set()
                return b"beat "

            if event == "begun":
                await stream.write("begun ")
            stream.last_words = last_words
            spoken.wait(30)
            with LOCK:
                rest = stream.put(b"after")
            if rest:
                await rest

        async with serving(handler) as api:
            assert (await api.invoke("begun")).body == b"begun beat after"
            spoken.clear()
            assert (await api.invoke("not begun")).body == b"beat after"

    async def test_is_told_once_for_each_time(self, quick: Watchdog, logged: list[str]) -> None:
        for _ in range(3):
            stand_still(quick)
            await asyncio.sleep(0)
        assert sum("stands still" in entry for entry in logged) == 3

    async def test_has_no_last_words_of_a_hook_that_fails(self, quick: Watchdog) -> None:
        quick.start()
        asked = threading.Event()

        @streamify_response
        async def handler(event: Any, stream: ResponseStream, context: Any) -> None:
            def last_words(_: object) -> bytes:
                asked.set()
                raise ZeroDivisionError

            stream.last_words = last_words
            asked.wait(30)
            await stream.write("unharmed")

        async with serving(handler) as api:
            assert (await api.invoke()).body == b"unharmed"

    @pytest.mark.parametrize(("culprit", "other"), [("tool dredge", "tool digger"), ("tool digger", "tool dredge")])
    async def test_with_every_thread_is_told_once_they_go_on(
        self, quick: Watchdog, monkeypatch: pytest.MonkeyPatch, logged: list[str], culprit: str, other: str
    ) -> None:
        """C code held the interpreter's lock: each tick lasted a second, and took as much of the CPU."""
        clock = itertools.count().__next__
        of_loop = clock if culprit == "tool dredge" else lambda: 0
        clocks = {"monotonic": clock, "process_time": clock, "clock_gettime": lambda _: of_loop()}
        monkeypatch.setattr(watchdog, "time", SimpleNamespace(**vars(time) | clocks))
        quick.start()
        told = threading.Event()
        names: set[str] = set()

        @on_stall
        def hook(suspects: str, _: object) -> None:
            names.update(suspects.split(", "))
            if culprit in names:
                told.set()

        def dig() -> None:
            told.wait(30)

        threading.Thread(target=dig, name="tool digger").start()

        async def handler(event: Any, context: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.set_name("tool dredge")
            told.wait(30)

        async with serving(handler) as api:
            await api.invoke()
        assert culprit in names
        held = [entry for entry in logged if "held the interpreter's lock" in entry]
        assert any("told.wait" in entry for entry in held)
        assert not [entry for entry in held if other in entry]


class TestBetweenInvocations:
    async def test_nothing_is_asked_of_the_loop(self, quick: Watchdog) -> None:
        sleeps: list[object] = []

        class Wake(threading.Event):
            @override
            def wait(self, timeout: float | None = None) -> bool:
                sleeps.append(1)
                return super().wait(timeout)

        quick.wake = Wake()
        quick.start()

        async def handler(event: Any, context: Any) -> None:
            return None

        async def asleep(times: int) -> None:
            while len(sleeps) < times:  # noqa: ASYNC110 - the thread has no event for it
                await asyncio.sleep(0.001)

        async with serving(handler) as api:
            await asleep(1)
            await api.invoke()
            await asleep(2)
            asked: list[object] = []
            quick._is_answered.clear = lambda: asked.append(1)  # type: ignore[method-assign]
            await asyncio.sleep(0.02)
            assert asked == []

    async def test_no_trace_is_left_that_a_process_would_write_when_it_thaws(
        self, quick: Watchdog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: calls.append("armed"))
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: calls.append("cancelled"))
        quick.start()

        async def handler(event: Any, context: Any) -> None:
            while calls[-1:] != ["armed"]:  # noqa: ASYNC110 - the thread has no event for it
                await asyncio.sleep(0.001)

        async with serving(handler) as api:
            await api.invoke()
            await api.invoke()
        assert calls == ["armed", "cancelled"] * 2

    async def test_a_process_that_was_frozen_has_not_stood_still(
        self, quick: Watchdog, monkeypatch: pytest.MonkeyPatch, logged: list[str]
    ) -> None:
        """A tick that took an hour is one tick."""
        ticks = itertools.count()
        frozen, thawed, looked, served = (threading.Event() for _ in range(4))

        def an_hour(_: float) -> None:
            if (tick := next(ticks)) == 1:
                frozen.set()
                thawed.wait(30)
            elif tick > 1:
                looked.set()
                served.wait(30)

        monkeypatch.setattr(watchdog, "time", SimpleNamespace(**vars(time) | {"sleep": an_hour}))
        quick.start()

        async def handler(event: Any, context: Any) -> str:
            frozen.wait(30)
            thawed.set()
            looked.wait(30)
            return "on time"

        async with serving(handler) as api:
            assert (await api.invoke()).json == "on time"
        assert not any("stands still" in entry for entry in logged)
        served.set()


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [pytest.param("", id="asyncio"), pytest.param(UVLOOP, id="uvloop")])
class TestAtTheDeadline:
    """In a process of its own, which the watchdog ends with status 70."""

    @pytest.fixture(autouse=True)
    def needs_uvloop(self, prefix: str) -> None:
        if prefix:
            pytest.importorskip("uvloop", reason="uvloop is not installed; it is no dependency")

    async def _ended(
        self, folder: Path, handler: str, *events: object, pollers: int = 1, **environ: str
    ) -> tuple[list[Outcome], str]:
        """The outcomes of these events, invoked at once, each with four seconds, and the log."""
        async with RuntimeApi() as api:
            environ |= {"AWS_LAMBDA_MAX_CONCURRENCY": str(pollers)}
            async with program(api, folder, f"app.{handler}", **environ) as running:
                await api.polled.wait()
                invocations = [api.submit(event, deadline_s=4) for event in events]
                outcomes = [await invocation.outcome for invocation in invocations]
                assert await running.ended() == EXIT_STALLED
        return outcomes, running.out

    async def test_a_response_that_has_not_begun_is_an_error(self, prefix: str, function: Any) -> None:
        (outcome,), out = await self._ended(function(prefix + BLOCKS), "plain", {})
        assert outcome.path.endswith("/error")
        assert outcome.json["errorType"] == "DeadlineReached"
        assert "dredging blocked it" in outcome.json["errorMessage"]
        assert "stalled: dredging" in out
        assert 'time.sleep(60) if how == "sleep"' in out
        assert "exit status 70" in out

    @pytest.mark.parametrize("how", ["sleep", "socket"])
    async def test_one_that_has_ends_with_an_error_frame_and_trailers(
        self, how: str, prefix: str, function: Any
    ) -> None:
        (outcome,), _ = await self._ended(function(prefix + BLOCKS), "pieces", how)
        assert outcome.complete
        assert outcome.body == b"begun [DeadlineReached]"
        assert outcome.trailing_error["errorType"] == "DeadlineReached"

    async def test_last_words_end_it_in_its_own_format(self, prefix: str, function: Any) -> None:
        (outcome,), _ = await self._ended(function(prefix + BLOCKS), "talks", {"begins": 1, "blocks": 1})
        assert outcome.complete
        assert outcome.body == b"begun beat beat bye"
        assert outcome.trailers == {}

    async def test_so_do_those_of_all_neighbours_begun_or_not(self, prefix: str, function: Any) -> None:
        events = [{"begins": 1}, {}, url_event(), {"begins": 1, "blocks": 1}]
        outcomes, _ = await self._ended(function(prefix + BLOCKS), "talks", *events, pollers=4)
        assert all(each.complete and each.trailers == {} for each in outcomes)
        assert [each.body for each in outcomes[:2]] == [b"begun beat beat bye", b"beat beat bye"]
        assert outcomes[2].prelude == {"statusCode": 200, "headers": {"content-type": "application/octet-stream"}}
        assert outcomes[2].payload == b"beat beat bye"

    async def test_what_holds_the_interpreter_is_named_at_least(self, prefix: str, function: Any) -> None:
        holds = "import asyncio, re\nfrom winterbourne.watchdog import LOCK, WATCHDOG\n"
        holds += (
            "async def handler(event, context):\n    while not WATCHDOG.traced:\n        await asyncio.sleep(0.01)\n"
        )
        holds += "    with LOCK:\n        re.match(r'(a+)+$', 'a' * 40 + 'b')  # for years\n"
        async with RuntimeApi() as api, program(api, function(prefix + holds), "app.handler") as running:
            await api.polled.wait()
            api.submit(deadline_s=2)
            assert running.process.stderr is not None
            seen = b""
            while b" in handler" not in seen:
                line = await running.process.stderr.readline()
                assert line
                seen += line
            running.process.kill()


class Wire:
    """A connection of the client on a socket pair, whose other end reads only when it is told to."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        near.settimeout(0)
        self.far.settimeout(0)
        self.connection = _Connection(near, RuntimeApiProtocol("x"), lambda *_: None)
        self.read = b""

    def take(self, size: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.read += self.far.recv(size)

    async def take_all(self) -> None:
        while self.connection._backlog:
            self.take(1 << 20)
            await asyncio.sleep(0)
        self.take(1 << 20)
        self.connection.abort()
        self.far.close()


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


STEPS = st.lists(
    st.tuples(st.sampled_from(["loop", "thread", "flush", "turn", "read"]), st.integers(1, 9000)), max_size=40
)


class TestBytes:
    @settings(max_examples=60, deadline=None)
    @given(steps=STEPS)
    def test_of_loop_and_thread_arrive_once_and_in_order(self, steps: list[tuple[str, int]]) -> None:
        """Whatever the socket takes, whoever writes and whoever sends what was left."""

        async def run() -> None:
            wire, written = Wire(), b""
            for number, (step, size) in enumerate(steps):
                data = b"%d:" % number + b"." * size
                if step in {"loop", "thread"}:
                    written += data
                if step == "loop":
                    wire.connection.write(data)
                elif step == "thread":
                    in_a_thread(lambda data=data: wire.connection.write(data))  # type: ignore[misc]
                elif step == "flush":
                    in_a_thread(wire.connection.flush)
                elif step == "turn":
                    await asyncio.sleep(0)
                else:
                    wire.take(size)
            await wire.take_all()
            assert wire.read == written

        asyncio.run(run())

    async def test_of_both_at_once_are_whole_chunks_each_in_its_own_order(self) -> None:
        """No lock is awaited and no turn given: the interpreter switches between them wherever it likes."""
        async with RuntimeApi() as api:
            client = RuntimeClient(api.address)
            invocation = api.submit()
            await client.next_invocation()
            stream = ResponseStream(client, http=False)
            state = {"next": 0}

            def encode(who: str) -> bytes:  # stateful, as encoders are
                number, state["next"] = state["next"], state["next"] + 1
                return f"{who}{number};".encode()

            stream.last_words = lambda _: encode("t")
            watched, done = InFlight(client, stream, "", 0, 0), threading.Event()

            def speak() -> None:
                while not done.is_set():
                    with LOCK:
                        watched.speak()

            thread = threading.Thread(target=speak)
            thread.start()
            for _ in range(3000):
                with LOCK:
                    rest = stream.put(encode("l"))
                if rest:
                    await rest
            done.set()
            await asyncio.to_thread(thread.join)
            await stream.end()
            frames = (await invocation.outcome).body.decode().split(";")[:-1]
            assert [int(frame[1:]) for frame in frames] == [*range(state["next"])]
            client.close()

    async def test_of_a_chunk_that_waits_for_the_start_are_not_overtaken(self) -> None:
        async with RuntimeApi() as api:
            client = RuntimeClient(api.address)
            invocation = api.submit()
            await client.next_invocation()
            client._close_connection("cut")  # so that the start has to wait for a new one
            stream = ResponseStream(client, http=False)
            stream.last_words = lambda _: b"overtaken"
            with LOCK:
                rest = stream.put(b"first ")
            assert rest
            sending = asyncio.ensure_future(rest)
            while not stream._is_open:
                assert not stream.speak(client.start_now)
                await asyncio.sleep(0)
            await sending
            assert stream.speak(client.start_now)
            await stream.end()
            assert (await invocation.outcome).body == b"first overtaken"
            client.close()

    async def test_do_not_make_a_failure_of_what_is_just_ending(self) -> None:
        async with RuntimeApi() as api:
            client = RuntimeClient(api.address)
            invocation = api.submit()
            await client.next_invocation()
            stream = ResponseStream(client, http=False)
            stream.last_words = lambda _: b"late"
            await stream.write(b"whole")
            stream.close()  # as `end` does before it sends the end of the body
            with LOCK:
                InFlight(client, stream, "", 0, 0).end(TimeoutError())
            outcome = await invocation.outcome
            assert (outcome.body, outcome.trailers) == (b"whole", {})
            client.close()
