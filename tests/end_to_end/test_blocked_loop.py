"""A tool that blocks the event loop: each client is kept waiting with heartbeats, and told the end before the deadline.

Under the local function URL, which ends a process at its timeout. A neighbour shares the process, as on Lambda Managed
Instances; its model is silent when the loop stops.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.artifact import ROOT
from tests.local_server import LocalServer, local_server
from tests.provider import Provider, provider

pytestmark = pytest.mark.slow

TOOL = """
import time
from winterbourne.chat import tool

@tool(timeout_s=1)
async def dredge(seconds: float) -> str:
    \"\"\"Dredge.\"\"\"
    time.sleep(seconds)
    return "dredged"
"""
UVLOOP = "import asyncio, uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
CALL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"k0","type":"function",'
    b'"function":{"name":"dredge","arguments":"{\\"seconds\\": 30}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
)
MESSAGE: dict[str, Any] = {"role": "user", "content": "Dredge the harbour."}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "native": ("/chat", {"messages": [MESSAGE]}),
    "ai_sdk": (
        "/api/chat",
        {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Dredge."}]}]},
    ),
    "ag_ui": ("/agui", {"threadId": "t", "runId": "r", "messages": [{**MESSAGE, "id": "m"}], "tools": []}),
    "v1_stream": ("/v1/chat/completions", {"model": "any", "messages": [MESSAGE], "stream": True}),
    "v1": ("/v1/chat/completions", {"model": "any", "messages": [MESSAGE]}),
}
DREDGE = {"name": "dredge", "arguments": {"seconds": 30}, "_meta": {"progressToken": 1}}
CALLERS = BODIES | {"mcp": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": DREDGE})}
ENDS = {
    "native": '"type":"error","code":"deadline_reached"',
    "ai_sdk": '"type":"error"',
    "ag_ui": '"type":"RUN_ERROR"',
    "v1_stream": '"code":"deadline_reached"',
    "v1": '"code":"deadline_reached"',
    "mcp": '"code":-32603',
}


@pytest.fixture
def model() -> Iterator[Provider]:
    """Calls the tool for whoever asks first with `Dredge first.`; to all others it says nothing."""
    with provider() as known:
        silent = threading.Event()

        def answer(request: dict[str, Any]) -> tuple[int, Iterable[bytes]]:
            known.requests.append(request)
            calls = "first" in json.dumps(request["messages"])
            return 200, [CALL] if calls else iter(lambda: (silent.wait(60) and b"") or b"", b"")

        known.answer = answer  # type: ignore[method-assign]
        yield known
        silent.set()


@pytest.fixture(params=[pytest.param("", id="asyncio"), pytest.param(UVLOOP, id="uvloop")])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The functions, with the tool, on one of the loops."""
    if request.param:
        pytest.importorskip("uvloop", reason="uvloop is not installed; it is no dependency")
    folder = shutil.copytree(ROOT / "functions", tmp_path / "functions")
    (folder / "chat" / "tools" / "dredge.py").write_text(request.param + TOOL)
    return folder


def serve(folder: Path, project: Path, model: Provider, *flags: str) -> Any:
    wanted = {
        "MODEL_PROVIDER": "openai",
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "unused",
        "MODEL_ID": "any",
        "HEARTBEAT_INTERVAL": "1",
        "TOOL_ANSWER_RESERVE": "1",
        "MCP_ENDPOINT": "on",
    }
    settings = [flag for name, value in wanted.items() for flag in ("--env", f"{name}={value}")]
    return local_server(folder, "--timeout", "8", "--task-root", str(project), *settings, *flags)


def ask(server: LocalServer, name: str, *, first: bool) -> httpx.Response:
    path, body = CALLERS[name]
    text = json.dumps(body).replace("Dredge", "Dredge first" if first else "Wait")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        return client.post(
            path, content=text, headers={"content-type": "application/json", "accept": "text/event-stream"}
        )


def check(name: str, response: httpx.Response) -> None:
    """It ended in its own format, whole, after heartbeats."""
    assert ENDS[name] in response.text
    if name == "v1":
        assert response.status_code == 504
        assert response.headers["x-error-code"] == "deadline_reached"
        return
    assert response.status_code == 200
    assert response.text.count(": keep-alive") >= 4
    last = response.text.rstrip().rpartition("\n\n")[2]
    assert ENDS[name] in last or (last == "data: [DONE]" and name in {"ai_sdk", "v1_stream"})


def test_every_format_has_its_heartbeats_and_its_end(project: Path, model: Provider, tmp_path: Path) -> None:
    with serve(tmp_path, project, model, "--concurrency", "6") as server, ThreadPoolExecutor(6) as pool:
        asked = {name: pool.submit(ask, server, name, first=True) for name in CALLERS}
        for name, response in asked.items():
            check(name, response.result())
        while (log := server.log.read_text()).count("Runtime exited with error: exit status 70") < len(CALLERS):
            time.sleep(0.05)
    assert log.count("tool dredge blocks it") == len(CALLERS)
    assert '"ToolStalls"' in log
    lines = [json.loads(line[line.index("{") :]) for line in log.splitlines() if '"message":"request"' in line]
    assert [line.get("error_type") for line in lines] == ["DeadlineReached"] * len(CALLERS)
    assert "Task timed out" not in log


def test_so_have_neighbours_in_the_same_process(project: Path, model: Provider, tmp_path: Path) -> None:
    with serve(tmp_path, project, model, "--managed-instances", "6") as server, ThreadPoolExecutor() as pool:
        asked = {name: pool.submit(ask, server, name, first=False) for name in BODIES}
        while len(model.requests) < len(BODIES):
            assert not any(response.done() for response in asked.values())
        blocker = pool.submit(ask, server, "native", first=True)
        for name, response in asked.items():
            check(name, response.result())
        check("native", blocker.result())
