"""The runtime under AWS's own Runtime Interface Emulator, the binary that aws-sam-cli ships."""

import asyncio
import importlib.util
import json
import os
import platform
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.opt import WRAPPER

APP = """
import asyncio, os
from winterbourne import Response
async def stream(event, context):
    yield Response(201, {"content-type": "text/plain"})
    yield "hello "
    yield "world"
def handler(event, context):
    what = event["do"]
    if what == "fail":
        raise ValueError("no")
    if what == "crash":
        os._exit(3)
    if what == "large":
        return "x" * (7 << 20)
    return {"pid": os.getpid(), "id": context.aws_request_id}
async def breaks(event, context):
    yield "port,tide\\n"
    raise RuntimeError("the gauge said: " + "z" * event["length"])
async def hangs(event, context):
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return "last words"
async def stubborn(event, context):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


def _emulator() -> str:
    found = importlib.util.find_spec("samcli")
    assert found is not None
    assert found.submodule_search_locations is not None
    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    return str(Path(found.submodule_search_locations[0]) / "local" / "rapid" / f"aws-lambda-rie-{machine}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Emulator:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"

    async def invoke(self, event: Any) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._post, json.dumps(event).encode())

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self._url, body, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()


@asynccontextmanager
async def emulator(folder: Path, handler: str, **environ: str) -> AsyncIterator[Emulator]:
    (folder / "app.py").write_text(APP)
    port, api = _free_port(), _free_port()
    addresses = [
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{port}",
        "--runtime-api-address",
        f"127.0.0.1:{api}",
    ]
    process = await asyncio.create_subprocess_exec(
        _emulator(),
        *addresses,
        WRAPPER,
        sys.executable,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LAMBDA_TASK_ROOT": str(folder), "_HANDLER": handler} | environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _accepting(port)
        yield Emulator(port)
    finally:
        process.terminate()
        await process.wait()


async def _accepting(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@pytest.mark.slow
@pytest.mark.doors
class TestTheEmulator:
    async def test_gets_a_value(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.handler") as rie:
            status, body = await rie.invoke({"do": "answer"})
        assert status == 200
        assert json.loads(body)["id"]

    async def test_gets_a_stream_in_one_piece_with_its_prelude(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.stream") as rie:
            _, body = await rie.invoke({})
        prelude, _, payload = body.partition(b"\0" * 8)
        assert json.loads(prelude)["statusCode"] == 201
        assert payload == b"hello world"

    async def test_gets_what_was_streamed_before_an_error_of_any_length_and_the_same_process_keeps_serving(
        self, tmp_path: Path
    ) -> None:
        async with emulator(tmp_path, "app.breaks") as rie:
            for length in (10, 2000, 3500, 200_000):
                assert await rie.invoke({"length": length}) == (200, b"port,tide\n")

    async def test_gets_an_error_and_the_same_process_keeps_serving(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.handler") as rie:
            _, before = await rie.invoke({"do": "answer"})
            _, error = await rie.invoke({"do": "fail"})
            _, after = await rie.invoke({"do": "answer"})
        assert json.loads(error)["errorType"] == "ValueError"
        assert json.loads(before)["pid"] == json.loads(after)["pid"]

    async def test_gets_an_init_error(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.missing") as rie:
            _, body = await rie.invoke({})
        assert json.loads(body)["errorType"] == "Runtime.HandlerNotFound"

    async def test_restarts_the_process_after_a_crash(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.handler") as rie:
            _, before = await rie.invoke({"do": "answer"})
            _, crash = await rie.invoke({"do": "crash"})
            _, after = await rie.invoke({"do": "answer"})
        assert b"Runtime.ExitError" in crash
        assert json.loads(before)["pid"] != json.loads(after)["pid"]

    async def test_rejects_a_response_that_is_too_large_and_keeps_serving(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.handler") as rie:
            _, before = await rie.invoke({"do": "answer"})
            _, large = await rie.invoke({"do": "large"})
            _, after = await rie.invoke({"do": "answer"})
        assert b"Function.ResponseSizeTooLarge" in large
        assert json.loads(before)["pid"] == json.loads(after)["pid"]

    async def test_gets_the_final_frame_before_a_timeout(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.hangs", AWS_LAMBDA_FUNCTION_TIMEOUT="1") as rie:
            assert await rie.invoke({}) == (200, b'"last words"')

    async def test_kills_a_handler_that_does_not_end(self, tmp_path: Path) -> None:
        async with emulator(tmp_path, "app.stubborn", AWS_LAMBDA_FUNCTION_TIMEOUT="1") as rie:
            _, body = await rie.invoke({})
        assert b"Task timed out after 1.00 seconds" in body
