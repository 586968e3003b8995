"""The supervisor: heartbeats, deadline, stop requests and the terminal event."""

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest

from tests.chat.log_lines import log_lines
from tests.clock import jumping
from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationFailed,
    ConversationStopped,
    EventBatch,
    TextDelta,
    Usage,
)
from winterbourne.chat.core.supervisor import CANCEL_GRACE_S, EventWriter, supervise
from winterbourne.chat.errors import ChatError, ModelBusy, ModelContentRefused, ModelInputTooLong, RateLimitExceeded
from winterbourne.chat.infra import telemetry

DUE, LAST = False, True  # what `last_words` is asked for


class RecordingWriter:
    """An event writer that encodes events with `repr`; records what was written in `lines` and when in `at`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.at: list[float] = []
        self.writer = EventWriter(self.encode, self.write, b": beat", "r-7")

    def encode(self, batch: EventBatch) -> bytes:
        return "|".join(map(repr, batch)).encode()

    async def write(self, data: bytes) -> None:
        self.lines.append(data.decode())
        self.at.append(asyncio.get_running_loop().time())


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def broken() -> None:
    raise ValueError("broken")


async def after(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def run(
    conversation: Coroutine[Any, Any, None], wire: RecordingWriter, stop_after_s: float = 1e9, time_s: float = 1e9
) -> None:
    deadline = asyncio.get_running_loop().time() + time_s
    await supervise(
        conversation,
        wire.writer,
        wait_for_stop=lambda: after(stop_after_s),
        deadline=deadline,
        heartbeat_interval_s=10,
    )


class TestHeartbeat:
    @jumping
    async def test_is_sent_after_each_interval_of_silence_even_before_the_first_event(self) -> None:
        wire = RecordingWriter()
        await run(after(35), wire)
        assert wire.lines == [": beat"] * 3

    @jumping
    async def test_is_timed_from_the_last_event(self) -> None:
        wire, began = RecordingWriter(), asyncio.get_running_loop().time()

        async def conversation() -> None:
            await asyncio.sleep(6)
            await wire.writer.emit((TextDelta("a"),))
            await asyncio.sleep(11)

        await run(conversation(), wire)
        assert [line == ": beat" for line in wire.lines] == [False, True]
        assert wire.at[1] - began == pytest.approx(16, abs=0.1)

    @jumping
    async def test_ends_with_the_conversation(self) -> None:
        wire = RecordingWriter()
        await run(after(1), wire)
        await asyncio.sleep(100)
        assert wire.lines == []


class TestTerminalEvent:
    @jumping
    async def test_is_the_conversations_own_if_it_emits_one(self) -> None:
        wire, ended = RecordingWriter(), ConversationEnded("stop", Usage(), 1)
        await run(wire.writer.emit((ended,)), wire)
        assert wire.lines == [repr(ended)]

    @jumping
    async def test_is_an_error_if_the_provider_failed(self) -> None:
        wire = RecordingWriter()

        async def conversation() -> None:
            raise ModelBusy("the model is overloaded", 3)

        await run(conversation(), wire)
        told = ConversationFailed(
            "model_busy", ModelBusy.public_message, "r-7", 503, is_transient=True, retry_after_s=3
        )
        assert wire.lines == [repr(told)]

    @jumping
    async def test_that_is_an_error_counts_as_one(self) -> None:
        wire = RecordingWriter()

        async def conversation() -> None:
            raise ModelBusy("the model is overloaded")

        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE) as record:
            await run(conversation(), wire)
        assert ("Errors", 1, "") in record.measurements
        assert record.fields["error_type"] == "ModelBusy"

    @jumping
    @pytest.mark.parametrize(
        "mistake",
        [ModelInputTooLong("too long"), ModelContentRefused("flagged"), RateLimitExceeded("9 tokens per day", 60)],
    )
    async def test_that_is_a_mistake_of_the_callers_counts_as_a_rejection(self, mistake: ChatError) -> None:
        wire = RecordingWriter()

        async def conversation() -> None:
            raise mistake

        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE) as record:
            record.is_chat = True
            await run(conversation(), wire)
        assert [name for name, *_ in record.measurements if name in {"Chats", "Errors", "Rejections"}] == ["Rejections"]

    @jumping
    async def test_hides_the_details_of_an_internal_error(self, caplog: pytest.LogCaptureFixture) -> None:
        wire = RecordingWriter()

        async def conversation() -> None:
            raise ZeroDivisionError("secret detail")

        await run(conversation(), wire)
        assert "internal_error" in wire.lines[0]
        assert "secret detail" not in wire.lines[0]
        assert "secret detail" in caplog.text

    @jumping
    async def test_is_sent_before_the_deadline_cuts_the_stream(self) -> None:
        wire, began = RecordingWriter(), asyncio.get_running_loop().time()
        await run(never(), wire, time_s=5)
        assert "deadline_reached" in wire.lines[-1]
        assert wire.at[-1] - began == pytest.approx(5, abs=0.1)

    @jumping
    async def test_is_stopped_if_the_user_stopped_the_conversation(self) -> None:
        wire = RecordingWriter()
        await run(never(), wire, stop_after_s=2)
        assert wire.lines == [repr(ConversationStopped("user"))]

    @jumping
    async def test_is_followed_by_nothing(self) -> None:
        wire = RecordingWriter()
        await run(never(), wire, stop_after_s=2)
        await wire.writer.emit((TextDelta("late"),))
        assert len(wire.lines) == 1

    @jumping
    async def test_is_sent_once_even_if_the_deadline_passes_while_a_slow_client_reads_it(self) -> None:
        wire, ended, read = RecordingWriter(), ConversationEnded("stop", Usage(), 1), asyncio.Event()

        async def write(data: bytes) -> None:
            await wire.write(data)
            await read.wait()

        wire.writer = EventWriter(wire.encode, write, b": beat", "r-7")
        await run(wire.writer.emit((ended,)), wire, time_s=25)
        assert wire.lines == [repr(ended)]

    @jumping
    async def test_is_sent_on_cancellation_which_is_then_raised(self) -> None:
        wire = RecordingWriter()
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE) as record:
            supervising = asyncio.create_task(run(never(), wire))
            await asyncio.sleep(1)
            supervising.cancel()
            with pytest.raises(asyncio.CancelledError):
                await supervising
        assert wire.lines == [repr(ConversationStopped("shutdown"))]
        assert record.fields["stop_reason"] == "shutdown"

    @jumping
    async def test_is_not_told_again_if_the_client_is_slow_to_read_it_until_the_cancellation(self) -> None:
        wire, read = RecordingWriter(), asyncio.Event()

        async def write(data: bytes) -> None:
            await wire.write(data)
            await read.wait()

        wire.writer = EventWriter(wire.encode, write, b": beat", "r-7")
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE) as record, log_lines() as lines:
            supervising = asyncio.create_task(run(broken(), wire))
            await asyncio.sleep(1)
            supervising.cancel()
            cancelled_at = asyncio.get_running_loop().time()
            with pytest.raises(asyncio.CancelledError):
                await supervising
        assert asyncio.get_running_loop().time() == cancelled_at, "the deadline is near"
        assert [line for line in wire.lines if "ConversationStopped" in line] == []
        assert "stop_reason" not in record.fields
        assert len([line for line in lines if '"ERROR"' in line]) == 1

    @pytest.mark.parametrize("passes", range(1, 9))
    @jumping
    async def test_of_a_failure_is_logged_once_whenever_the_cancellation_comes(self, passes: int) -> None:
        wire, loop = RecordingWriter(), asyncio.get_running_loop()
        lost: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: lost.append(context))

        async def conversation() -> None:
            await asyncio.sleep(0)
            raise ValueError("broken")

        with log_lines() as lines:
            supervising = asyncio.create_task(run(conversation(), wire))
            for _ in range(passes):
                await asyncio.sleep(0)
            supervising.cancel()
            await asyncio.wait((supervising,))
            del supervising
            gc.collect()
        failures = [line for line in lines if "broken" in line]
        stopped = wire.lines == [repr(ConversationStopped("shutdown"))]
        assert (len(failures), len(wire.lines), lost) == (0 if stopped else 1, 1, [])

    @jumping
    async def test_is_sent_on_cancellation_even_before_the_conversation_has_begun(self) -> None:
        wire = RecordingWriter()
        supervising = asyncio.create_task(run(never(), wire))
        await asyncio.sleep(0)
        supervising.cancel()
        with pytest.raises(asyncio.CancelledError):
            await supervising
        assert wire.lines == [repr(ConversationStopped("shutdown"))]

    @jumping
    async def test_that_cannot_be_sent_is_the_error_of_the_supervisor(self) -> None:
        async def write(_: bytes) -> None:
            raise ConnectionResetError

        writer = EventWriter(lambda _: b"x", write, b"")
        supervising = supervise(
            never(), writer, wait_for_stop=lambda: after(1), deadline=float("inf"), heartbeat_interval_s=10
        )
        with pytest.raises(ConnectionResetError):
            await supervising


class TestUncancellableConversation:
    @jumping
    async def test_delays_the_terminal_event_by_no_more_than_the_grace_period(self) -> None:
        wire, began, free = RecordingWriter(), asyncio.get_running_loop().time(), asyncio.Event()

        async def stubborn() -> None:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        await run(stubborn(), wire, stop_after_s=2)
        assert wire.at[-1] - began == pytest.approx(2 + CANCEL_GRACE_S, abs=0.1)
        free.set()
        await asyncio.sleep(0)


class TestBrokenStopSignal:
    @jumping
    async def test_does_not_stop_the_conversation(self, caplog: pytest.LogCaptureFixture) -> None:
        wire, ended = RecordingWriter(), ConversationEnded("stop", Usage(), 1)

        async def conversation() -> None:
            await asyncio.sleep(5)
            await wire.writer.emit((ended,))

        async def broken() -> None:
            raise ConnectionError("no store")

        await supervise(
            conversation(), wire.writer, wait_for_stop=broken, deadline=float("inf"), heartbeat_interval_s=10
        )
        assert wire.lines == [repr(ended)]
        assert "no store" in caplog.text


class TestLastWords:
    """What the runtime's watchdog sends from its thread while the event loop stands still."""

    def writer(self, log: list[EventBatch] | None = None) -> EventWriter:
        wire = RecordingWriter()
        append = log.append if log is not None else None
        return EventWriter(wire.encode, wire.write, b": beat", "r-7", append, heartbeat_interval_s=10)

    def test_are_a_heartbeat_when_one_is_due(self, monkeypatch: pytest.MonkeyPatch) -> None:
        writer, now = self.writer(), [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        writer.last_write_at = 995
        said = []
        for now[0] in (1004, 1005, 1006, 1014, 1015):
            said.append(writer.last_words(DUE))
        assert said == [b"", b": beat", b"", b"", b": beat"]

    def test_are_nothing_in_a_format_without_heartbeats(self) -> None:
        writer = self.writer()
        writer.heartbeat = b""
        assert writer.last_words(DUE) == b""

    async def test_are_the_deadline_at_last_and_nothing_after_it(self) -> None:
        log: list[EventBatch] = []
        writer = self.writer(log)
        await writer.emit((TextDelta("a"),))
        assert b"deadline_reached" in writer.last_words(LAST)
        assert writer.last_words(LAST) == writer.last_words(DUE) == b""
        await writer.emit((ConversationEnded("stop", Usage(), 1),))
        assert log == [(TextDelta("a"),)]  # the log is not told another end than the client

    async def test_are_nothing_after_the_conversations_own_end(self) -> None:
        writer = self.writer()
        await writer.emit((ConversationEnded("stop", Usage(), 1),))
        assert writer.last_words(LAST) == b""

    async def test_wait_until_a_batch_is_encoded_and_sent(self) -> None:
        """The lock is held for both, and not while the writer waits for a slow reader."""
        lock, held = threading.Lock(), []

        def encode(batch: EventBatch) -> bytes:
            held.append(lock.locked())
            return b"x"

        def write(data: bytes) -> Awaitable[None]:
            held.append(lock.locked())
            return drain()

        async def drain() -> None:
            held.append(lock.locked())

        await EventWriter(encode, write, b"", lock=lock).emit((TextDelta("a"),))
        assert held == [True, True, False]
