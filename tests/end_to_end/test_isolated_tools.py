"""Tools in processes of their own, behind the local function URL: frozen and ended with their environment."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.native_client import chat
from tests.local_server import local_server

pytestmark = pytest.mark.slow

APP = """
import harbour
from winterbourne.chat import Chat

handler = Chat(tools=harbour).handler
"""

TOOLS = '''
import os
import re

from winterbourne.chat import tool


@tool(isolation="process")
def harbour_office() -> int:
    """The process of the office."""
    return os.getpid()


@tool(isolation="process", timeout_s=1)
def parse_manifest() -> str:
    """Hold the interpreter's lock for ages."""
    return str(re.match(r"(\\w+\\s?)+$", "x" * 60 + "!"))
'''


def finished(answer: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(frame for frame in reversed(answer) if frame.get("name") == name)


def becomes_true(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False


def state(process_id: int) -> str:
    """The letter of a process's state, `T` for stopped; empty if there is none."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return ""


def test_a_process_serves_call_after_call_is_frozen_between_and_ends_with_its_environment(tmp_path: Path) -> None:
    (tmp_path / "function").mkdir()
    (tmp_path / "function" / "app.py").write_text(APP)
    (tmp_path / "function" / "harbour.py").write_text(TOOLS)
    flags = ["--task-root", str(tmp_path / "function"), "--handler", "app.handler", "--no-practice"]
    with local_server(tmp_path, *flags, "--env", "AUTH=none", "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
        process_id = finished(chat(server.url, "harbour_office"), "harbour_office")["result"]
        assert becomes_true(lambda: state(process_id) == "T")
        answer = chat(server.url, "parse_manifest and harbour_office")
        assert finished(answer, "parse_manifest")["status"] == "timed_out"
        assert finished(answer, "harbour_office")["result"] == process_id
        assert "/dev/shm" not in Path(f"/proc/{process_id}/maps").read_text()
    assert becomes_true(lambda: state(process_id) in {"", "Z"})
