"""Processes of uvicorn: started, replaced after a change, ended; and why one does not start."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.coverage_variables import COVERAGE
from winterbourne.local.asgi_servers import AsgiServers
from winterbourne.local.function_config import FunctionConfig

pytestmark = pytest.mark.slow

APP = """
import asyncio, os, signal

print("started")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if scope["path"] == "/crash":
        os._exit(3)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"slow ", "more_body": True})
        await asyncio.sleep(0.3)
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@contextlib.asynccontextmanager
async def serving(folder: Path, text: str = APP, grace_s: float = 2.0) -> AsyncIterator[tuple[AsgiServers, list[str]]]:
    (folder / "app.py").write_text(text)
    log: list[str] = []
    function = FunctionConfig(task_root=folder, handler="app:app")
    variables = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **COVERAGE}
    servers = AsgiServers(function, lambda address: {**variables, "ADDRESS": address}, grace_s, log.append)
    servers.start_environment()
    try:
        yield servers, log
    finally:
        await servers.stop()


REQUEST = b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


async def get(servers: AsgiServers, path: str = "/") -> str:
    """The body, as far as it comes."""
    async with servers.connection() as (reader, writer):
        writer.write(REQUEST % path.encode())
        return body((await reader.read()).partition(b"\r\n\r\n")[2])


def body(chunks: bytes) -> str:
    return "".join(chunks.decode().split("\r\n")[1::2])


def is_alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


class TestAServer:
    async def test_is_waited_for_and_its_output_is_logged(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (servers, log):
            assert await servers.initialized(20) is None
            pid = await get(servers)
            assert await get(servers) == pid
        assert log == ["started"]
        assert not is_alive(pid)

    async def test_that_is_replaced_finishes_what_it_does_and_ends(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (servers, _):
            async with servers.connection() as (reader, writer):
                writer.write(REQUEST % b"/slow")
                await reader.readuntil(b"slow ")
                servers.replace_environments()
                new, old = await get(servers), body((await reader.read()).removeprefix(b"\r\n"))
            assert old.isdigit()
            assert new != old
            while is_alive(old):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.01)

    async def test_that_is_replaced_before_it_has_started_ends_too(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (servers, log):
            servers.replace_environments()
            await get(servers)
        assert log.count("started") == 1

    async def test_that_has_crashed_has_a_successor(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as (servers, log):
            assert await get(servers, "/crash") == ""
            while not (pid := await try_to_get(servers)):
                pass
        assert pid.isdigit()
        assert log.count("started") == 2

    async def test_that_does_not_hear_sigterm_is_killed_after_its_grace(self, tmp_path: Path) -> None:
        async with serving(tmp_path, grace_s=0.1) as (servers, _):
            pid = await get(servers, "/deaf")
        assert not is_alive(pid)


async def try_to_get(servers: AsgiServers) -> str:
    with contextlib.suppress(ConnectionError):
        return await get(servers)
    return ""


class TestAnApplicationThatDoesNotStart:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("class SettingsError(Exception): pass\nraise SettingsError('MAX_TURNS: wrong')", "MAX_TURNS: wrong"),
            ("raise ValueError('no')", "ValueError: no"),
            ("import os; os._exit(1)", "The application did not start."),
        ],
    )
    async def test_says_why_in_a_sentence(self, tmp_path: Path, text: str, sentence: str) -> None:
        async with serving(tmp_path, text) as (servers, _):
            error = await servers.initialized(20)
        assert error
        assert error.sentence == sentence

    async def test_because_there_is_no_such_interpreter_says_so(self) -> None:
        function, log = FunctionConfig(task_root=Path(), handler="a:a", python="/no/python"), list[str]()
        servers = AsgiServers(function, lambda _: {}, 1, log.append)
        servers.start_environment()
        error = await servers.initialized(20)
        await servers.stop()
        assert error
        assert "/no/python" in error.sentence

    async def test_because_there_is_no_uvicorn_says_so(self, tmp_path: Path) -> None:
        python = tmp_path / "python3"
        python.write_text('#!/bin/sh\necho "$0: No module named $2"; exit 1\n')
        python.chmod(0o755)
        servers = AsgiServers(
            FunctionConfig(task_root=tmp_path, handler="a:a", python=str(python)), lambda _: {}, 1, print
        )
        servers.start_environment()
        error = await servers.initialized(20)
        await servers.stop()
        assert error
        assert error.sentence == "python3: No module named uvicorn"
