"""Remote tools in processes of their own: in the worker function, and on an MCP server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.native_client import chat, text_of
from tests.local_server import ROOT, local_server

pytestmark = pytest.mark.slow

AT_ONCE = ("--env", "SCRIPTED_WORDS_PER_SECOND=0")
MCP_SERVER = ROOT / "tests" / "chat" / "tool_runtime" / "mcp" / "server.py"


def final_frame(answer: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(frame for frame in reversed(answer) if frame.get("name") == name)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "worker"
    folder.mkdir()
    with local_server(folder, "--handler", "tool_worker.app.handler", "--invoke-port", "0") as server:
        yield server.invoke_url


def test_a_tool_runs_in_another_function_and_its_result_comes_back(worker: str, tmp_path: Path) -> None:
    environment = {
        "TOOL_WORKER_FUNCTION": "local",
        "AWS_ENDPOINT_URL_LAMBDA": worker,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    flags = [flag for name, value in environment.items() for flag in ("--env", f"{name}={value}")]
    with local_server(tmp_path, *AT_ONCE, *flags) as server:
        answer = chat(server.url, "simulate_savings with 12 a month for 12 years")
    outcome = final_frame(answer, "simulate_savings")
    assert (outcome["status"], outcome.get("result", {}).get("paid_in")) == ("completed", 12 * 12 * 12), outcome


def test_a_tool_of_an_mcp_server_runs_beside_our_own(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, MCP_SERVER, "stateful"], stdout=subprocess.PIPE, text=True) as station:
        assert station.stdout
        url = f"http://127.0.0.1:{station.stdout.readline().strip()}/mcp"
        with local_server(tmp_path, *AT_ONCE, "--env", f"MCP_SERVERS=station={url}") as server:
            answer = chat(server.url, "station_say fog and the weather in Oslo")
        station.kill()
    assert final_frame(answer, "station_say")["status"] == "completed"
    assert final_frame(answer, "get_weather")["status"] == "completed"
    assert "fog" in text_of(answer)
