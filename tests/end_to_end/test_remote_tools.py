"""A chat and a tool worker as two local functions: progress, a stop, and partners of another age."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.native_client import frames
from tests.local_server import LocalServer, local_server

pytestmark = pytest.mark.slow

CHAT = '''
from winterbourne.chat import Chat, remote_tool


@remote_tool("worker", timeout_s=40)
async def survey_harbour(steps: int) -> None:
    """Survey the harbour."""


chat = Chat(tools=survey_harbour, model_provider="scripted", auth="none")
handler = chat.handler
'''

WORKER = '''
import asyncio
import os
import pathlib

from winterbourne.chat import ToolContext, ToolWorker, tool

FOLDER = pathlib.Path(__file__).parent


@tool(timeout_s=40)
async def survey_harbour(steps: int, context: ToolContext) -> str:
    """Survey the harbour."""
    await context.progress({"step": 0})
    try:
        for step in range(1, steps):
            while not (FOLDER / f"step-{step}").exists():
                await asyncio.sleep(0.02)
                if (FOLDER / "crash").exists():
                    os._exit(3)
            await context.progress({"step": step})
    except asyncio.CancelledError:
        (FOLDER / "stopped").touch()
        raise
    return "surveyed"


handler = ToolWorker(tools=survey_harbour).handler
'''

BUFFERED_WORKER = """
def handler(event, context):
    return {"content": '"buffered"', "is_error": event["tool"] != "survey_harbour"}
"""


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file:{tmp_path}/store.db"


def worker_server(folder: Path, source: str, store: str) -> Any:
    """A function `worker` with this source, served by the Invoke API."""
    folder.mkdir()
    (folder / "app.py").write_text(source)
    function = ("--task-root", str(folder), "--handler", "app.handler", "--name", "worker", "--invoke-port", "0")
    return local_server(folder, *function, "--env", f"STORE={store}", "--env", "STOP_POLL_INTERVAL=0.1")


def chat_server(folder: Path, worker: LocalServer, store: str) -> Any:
    """A chat that calls the worker."""
    folder.mkdir()
    (folder / "app.py").write_text(CHAT)
    environment = {
        "AWS_ENDPOINT_URL_LAMBDA": worker.invoke_url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "STORE": store,
        "STOP_POLL_INTERVAL": "0.1",
        "SCRIPTED_WORDS_PER_SECOND": "0",
    }
    flags = [flag for name, value in environment.items() for flag in ("--env", f"{name}={value}")]
    return local_server(folder, "--task-root", str(folder), "--handler", "app.handler", *flags)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the worker's code is, and the files by which a test moves its tool on."""
    return tmp_path / "worker"


@pytest.fixture
def worker(folder: Path, store: str) -> Iterator[LocalServer]:
    with worker_server(folder, WORKER, store) as server:
        yield server


@pytest.fixture
def chat(worker: LocalServer, tmp_path: Path, store: str) -> Iterator[LocalServer]:
    with chat_server(tmp_path / "chat", worker, store) as server:
        yield server


def test_each_progress_reaches_the_client_before_the_tool_takes_its_next_step(chat: LocalServer, folder: Path) -> None:
    steps, status = [], ""
    for frame in frames(chat.url, "survey_harbour 3"):
        if frame.get("status") == "progress":
            steps.append(frame["data"]["step"])
            (folder / f"step-{len(steps)}").touch()  # without which the tool does not go on
        status = frame.get("status", status)
    assert (steps[:2], status) == ([0, 1], "completed")  # the last one may give way to the result


def test_a_stop_of_the_conversation_ends_the_tool_in_the_worker(chat: LocalServer, folder: Path) -> None:
    stopper = threading.Thread(target=lambda: httpx.post(f"{chat.url}/chat/harbour/stop").raise_for_status())
    seen = []
    for frame in frames(chat.url, "survey_harbour 2", conversation_id="harbour"):
        seen.append(frame)
        if frame.get("status") == "progress":
            stopper.start()
    stopper.join()
    assert [frame["status"] for frame in seen if "status" in frame][-1] == "cancelled", seen
    wait_for(folder / "stopped")


@pytest.mark.parametrize(("loss", "reason"), [("process", "failed while it ran"), ("connection", "cannot be reached")])
def test_a_worker_that_is_lost_is_one_failed_result_and_the_answer_goes_on(
    chat: LocalServer, worker: LocalServer, folder: Path, loss: str, reason: str
) -> None:
    answer = []
    for frame in frames(chat.url, "survey_harbour 2"):
        answer.append(frame)
        if frame.get("status") == "progress":
            worker.process.kill() if loss == "connection" else (folder / "crash").touch()
    *_, finished = (frame for frame in answer if "status" in frame)
    assert (finished["status"], answer[-1]["type"]) == ("failed", "done")
    assert reason in finished["error"]


def test_an_older_worker_that_answers_in_one_piece_is_understood(tmp_path: Path, store: str) -> None:
    with (
        worker_server(tmp_path / "old", BUFFERED_WORKER, store) as worker,
        chat_server(tmp_path / "chat", worker, store) as chat,
    ):
        answer = list(frames(chat.url, "survey_harbour 1"))
    *_, finished = (frame for frame in answer if "status" in frame)
    assert (finished["status"], finished["result"]) == ("completed", "buffered")


def test_an_older_chat_gets_one_json_answer(worker: LocalServer) -> None:
    call = {"tool": "survey_harbour", "arguments": {"steps": 1}, "timeout_s": 5, "request_id": "r", "caller": ""}
    answer = httpx.post(f"{worker.invoke_url}/2015-03-31/functions/worker/invocations", json=call)
    assert json.loads(answer.content) == {"content": '"surveyed"', "is_error": False}


def wait_for(file: Path) -> None:
    for _ in range(500):
        if file.exists():
            return
        time.sleep(0.02)
    pytest.fail(f"there is no {file}")
