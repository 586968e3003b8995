"""Runtime API client: reused connections, rejections, disconnects, backpressure, and an unavailable Runtime API."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.runtime.harness import serving
from tests.runtime.runtime_api import RuntimeApi
from winterbourne import ResponseStream, StreamLost, connection, streamify_response
from winterbourne.connection import MAX_BACKLOG_BYTES, RuntimeClient
from winterbourne.errors import RuntimeApiUnavailable
from winterbourne.handlers import adapt_handler
from winterbourne.loop import Poller


async def echo(event: Any, context: Any) -> Any:
    return event


async def stream_of(event: Any, context: Any) -> AsyncIterator[str]:
    for piece in event:
        yield piece


def is_writer_paused(api: RuntimeApi) -> bool:
    """Whether the socket buffer is full, so that writing is paused."""
    line = api.clients[0]._connection
    return line is not None and len(line._backlog) > MAX_BACKLOG_BYTES


async def until(condition: Callable[[], bool]) -> None:
    """Run the event loop and its sockets until the condition holds."""
    while not condition():  # noqa: ASYNC110 - the condition has no event
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "INITIAL_BACKOFF_S", 0.0)


class TestOneConnection:
    async def test_carries_one_invocation_after_the_other(self) -> None:
        async with serving(stream_of) as api:
            for number in range(5):
                assert (await api.invoke([str(number)])).body == str(number).encode()
            assert api.connections == 1

    async def test_closed_between_invocations_is_reopened(self) -> None:
        async with serving(echo) as api:
            await api.invoke(1)
            api.hang_up()
            assert (await api.invoke(2)).json == 2
            assert api.connections == 2

    async def test_closed_while_the_handler_ran_is_reopened_for_the_response(self) -> None:
        go_on = asyncio.Event()

        async def slow(event: Any, context: Any) -> AsyncIterator[str]:
            await go_on.wait()
            yield "late"

        async with serving(slow) as api:
            invocation = api.submit()
            await api.handed_out.wait()
            api.hang_up()
            await until(lambda: api.clients[0]._connection is None)
            go_on.set()
            assert (await invocation.outcome).body == b"late"


class TestRejections:
    """The Runtime API rejects a request; the next invocation is still served."""

    @pytest.mark.parametrize("status", [400, 403, 404, 413])
    @pytest.mark.parametrize("handler", [echo, stream_of])
    async def test_of_a_response_are_logged(self, handler: Any, status: int, logged: list[str]) -> None:
        async with serving(handler, RuntimeApi(reject={"response": status})) as api:
            await api.invoke(["x"])
            await api.invoke(["y"])
        assert any(f"answered {status} to /2018-06-01/runtime/invocation/request-1/response" in line for line in logged)

    async def test_of_an_error_are_logged(self, logged: list[str]) -> None:
        async def fails(event: Any, context: Any) -> None:
            raise ValueError("no")

        async with serving(fails, RuntimeApi(reject={"error": 403})) as api:
            await api.invoke()
            await api.invoke()
        assert any("could not be delivered" in line for line in logged)

    async def test_while_the_response_is_sent_stop_the_handler_with_stream_lost(self, logged: list[str]) -> None:
        lost, why = asyncio.Event(), []

        @streamify_response
        async def endless(event: Any, response_stream: ResponseStream, context: Any) -> None:
            try:
                while True:
                    await response_stream.write(b"x")
                    await asyncio.sleep(0)
            except StreamLost as error:
                why.append(str(error))
                lost.set()
                raise

        async with serving(endless, RuntimeApi(reject_after=(100, 413))) as api:
            await api.invoke()
            await lost.wait()
            assert "413" in why[0]
            assert (await api.invoke(deadline_s=0.3)).trailing_error["errorType"] == "DeadlineReached"
        assert any("StreamLost" in line for line in logged)

    async def test_of_next_are_retried(self) -> None:
        async with serving(echo, RuntimeApi(reject={"next": 403})) as api:
            assert (await api.invoke(1)).json == 1


class TestDisconnects:
    async def test_during_a_stream_reach_the_writer_but_not_the_next_invocation(self) -> None:
        async with serving(stream_of, RuntimeApi(cut_after=50)) as api:
            cut = await api.invoke(["x" * 60, "y", "z"])
            assert not cut.complete
            assert (await api.invoke(["whole"])).body == b"whole"

    async def test_while_the_reader_is_behind_wake_the_writer(self) -> None:
        woken = asyncio.Event()

        @streamify_response
        async def floods(event: Any, response_stream: ResponseStream, context: Any) -> None:
            try:
                while True:
                    await response_stream.write(b"x" * 65536)
            except StreamLost:
                woken.set()

        api = RuntimeApi()
        async with serving(floods, api):
            invocation = api.submit()
            await api.handed_out.wait()
            api.reads_on.clear()
            await until(lambda: is_writer_paused(api))
            assert not woken.is_set()
            api.hang_up()
            await woken.wait()
            invocation.outcome.cancel()


class TestBackpressure:
    async def test_a_writer_waits_for_a_reader_that_is_behind(self) -> None:
        written = 0

        @streamify_response
        async def floods(event: Any, response_stream: ResponseStream, context: Any) -> None:
            nonlocal written
            for _ in range(400):
                await response_stream.write(b"x" * 65536)
                written += 1

        async with serving(floods) as api:
            invocation = api.submit()
            await api.handed_out.wait()
            api.reads_on.clear()
            await until(lambda: is_writer_paused(api))
            behind = written
            assert behind < 400
            api.reads_on.set()
            assert len((await invocation.outcome).body) == 400 * 65536


class TestUnavailableRuntimeApi:
    async def test_is_tried_five_times(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RuntimeApiUnavailable, match="no invocation after 5 attempts"):
            await RuntimeClient(address).next_invocation()

    async def test_that_answers_500_ends_the_poller(self) -> None:
        async with RuntimeApi(reject={"response": 500}) as api:
            api.submit()
            poller = Poller(RuntimeClient(api.address), adapt_handler(echo), margin_ms=100)
            with pytest.raises(RuntimeApiUnavailable, match="500"):
                await poller.run()


class TestWithdrawing:
    """The request for the next invocation is taken back, without losing one that has just been handed out."""

    async def test_a_poller_that_drains_leaves_the_next_invocation_to_others(self) -> None:
        async with RuntimeApi() as api:
            poller = Poller(RuntimeClient(api.address), adapt_handler(echo), margin_ms=100)
            running = asyncio.create_task(poller.run())
            await api.polled.wait()
            poller.drain()
            api.hang_up()  # as a Runtime API does that notices
            await running
            assert api.connections == 1

    async def test_what_was_handed_out_at_that_moment_is_served(self) -> None:
        async with RuntimeApi() as api:
            poller = Poller(RuntimeClient(api.address), adapt_handler(echo), margin_ms=100)
            running = asyncio.create_task(poller.run())
            await api.polled.wait()
            poller.drain()
            assert (await api.invoke("late")).json == "late"
            await running

    async def test_a_stream_that_was_handed_out_at_that_moment_is_whole(self) -> None:
        async with RuntimeApi() as api:
            poller = Poller(RuntimeClient(api.address), adapt_handler(stream_of), margin_ms=100)
            running = asyncio.create_task(poller.run())
            await api.polled.wait()
            poller.drain()
            outcome = await api.invoke(["a", "b"])
            assert (outcome.body, outcome.trailers) == (b"ab", {})
            await running

    async def test_stopping_afterwards_ends_it_at_once(self) -> None:
        async with RuntimeApi() as api:
            poller = Poller(RuntimeClient(api.address), adapt_handler(echo), margin_ms=100)
            running = asyncio.create_task(poller.run())
            await api.polled.wait()
            poller.drain()
            poller.stop()
            await asyncio.wait_for(running, 10)
