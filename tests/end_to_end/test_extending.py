"""docs/how-to/extend.md: its provider, format, store and authentication scheme, in a chat that is a real process."""

import hashlib
import hmac
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.artifact import ROOT
from tests.doc_pages import code_blocks, load_block
from tests.local_server import LocalServer, local_server
from winterbourne.override import override

pytestmark = pytest.mark.slow

SECRET = "made-up-gateway-secret"
TOOL = """from winterbourne.chat import tool

@tool
def ring_bell(times: int) -> str:
    \"\"\"Ring the bell.\"\"\"
    return "ding " * times
"""


class Pier(ThreadingHTTPServer):
    """A model that answers as pier.py expects; `asked` has the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PierHandler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lines: list[object] = []
        self.status = 200


class _PierHandler(BaseHTTPRequestHandler):
    server: Pier

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.headers["authorization"], body))
        self.send_response(self.server.status)
        self.end_headers()
        end = {"end": "stop", "input": 3, "output": 2}
        lines = self.server.lines or [{"text": f"{body['model']} heard "}, {"text": "you."}, end]
        if "bell" in str(body["messages"][-1]) and body["messages"][-1]["role"] == "user":
            call = {"id": "c1", "name": "ring_bell", "arguments": '{"times":2}'}
            lines = [{"call": call}, {**end, "end": "tool_calls"}]
        self.wfile.write("".join(json.dumps(line) + "\n" for line in lines).encode())

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A task root with the files of the page, and a tool."""
    folder = tmp_path / "functions" / "chat"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in code_blocks("how-to/extend.md").items():
        if "/" in name:
            continue
        (folder / name).write_text(text.replace("/tmp/ledger.shelf", str(tmp_path / "ledger.shelf")))
    (folder / "bell.py").write_text(TOOL)
    app = (folder / "app.py").read_text()
    assert "chat = Chat(" in app
    app = app.replace("from chat.badge", "from chat import bell\nfrom chat.badge")
    (folder / "app.py").write_text(app.replace("chat = Chat(", "chat = Chat(\n    tools=bell,"))
    return folder.parent


@pytest.fixture
def pier() -> Iterator[Pier]:
    server = Pier()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(project: Path, pier: Pier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    monkeypatch.setenv("PIER_URL", f"http://127.0.0.1:{pier.server_port}")
    monkeypatch.setenv("PIER_API_KEY", "made-up-pier-key")
    monkeypatch.setenv("GATEWAY_SECRET", SECRET)
    choice = {"MODEL_PROVIDER": "pier", "STORE": f"ledger:{tmp_path / 'ledger.shelf'}", "AUTH": "badge"}
    choice["TITLE_MODEL"] = "off"
    flags = [flag for name, value in choice.items() for flag in ("--env", f"{name}={value}")]
    with local_server(tmp_path, "--task-root", str(project), *flags) as running:
        yield running


def ask(server: LocalServer, question: str, user: str = "nora", **more: str) -> httpx.Response:
    signature = hmac.new(SECRET.encode(), user.encode(), hashlib.sha256).hexdigest()
    headers = {"x-badge": user, "x-badge-signature": signature}
    return httpx.post(f"{server.url}/plain", json={"question": question, **more}, headers=headers, timeout=30)


def test_a_chat_answers_through_all_four_and_knows_what_was_said_before(server: LocalServer, pier: Pier) -> None:
    response = ask(server, "Anyone there?", conversation="c-1")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "\npier-small heard you.\n[done]\n"
    assert ask(server, "And now?", conversation="c-1").text.endswith("[done]\n")
    key, body = pier.asked[-1]
    assert key == "Bearer made-up-pier-key"
    assert [message["content"] for message in body["messages"]] == [
        "Anyone there?",
        "pier-small heard you.",
        "And now?",
    ]
    assert ask(server, "Me too", user="ada", conversation="c-1").status_code == 200
    assert len(pier.asked[-1][1]["messages"]) == 1, "what nora said is hers"


def test_an_answer_is_sent_again(server: LocalServer, pier: Pier) -> None:
    first = ask(server, "Anyone there?", conversation="c-1")
    signature = hmac.new(SECRET.encode(), b"nora", hashlib.sha256).hexdigest()
    headers = {"x-badge": "nora", "x-badge-signature": signature}
    again = httpx.get(f"{server.url}/plain/c-1/stream", headers=headers, timeout=30)
    assert (again.text, again.headers["content-type"]) == (first.text, first.headers["content-type"])
    assert len(pier.asked) == 1


def test_the_provider_has_tools_called(server: LocalServer, pier: Pier) -> None:
    assert ask(server, "Ring the bell").text == "\n[ring_bell: completed]\npier-small heard you.\n[done]\n"
    assert pier.asked[0][1]["tools"][0]["name"] == "ring_bell"
    assert pier.asked[1][1]["messages"][-1] == {"role": "tool", "id": "c1", "content": '"ding ding "'}


def test_nobody_is_answered_without_a_badge(server: LocalServer, pier: Pier) -> None:
    question = {"question": "Hello"}
    response = httpx.post(f"{server.url}/plain", json=question, headers={"x-badge": "nora"}, timeout=30)
    assert response.status_code == 401
    assert response.text.startswith("401 unauthorized: A badge of the gateway is needed.")
    assert not pier.asked
    strange = httpx.post(
        f"{server.url}/plain",
        json=question,
        headers=[(b"x-badge", b"nora"), (b"x-badge-signature", "é".encode())],
        timeout=30,
    )
    assert strange.status_code == 401


@pytest.mark.parametrize(
    ("status", "lines", "code"),
    [
        (503, [], "model_busy"),
        (401, [], "model_refused"),
        (422, [], "model_refused"),
        (200, [{"text": "half"}], "model_stream_truncated"),
        (200, [{"words": 1}], "model_garbled"),
    ],
)
def test_what_goes_wrong_is_told_in_the_formats_own_way(
    server: LocalServer, pier: Pier, status: int, lines: list[object], code: str
) -> None:
    pier.status, pier.lines = status, lines
    response = ask(server, "Hello")
    assert f"[error {code}: The model" in response.text
    assert "PIER_" not in response.text


def test_a_type_checker_finds_nothing(project: Path) -> None:
    files = [str(path) for path in (project / "chat").glob("*.py") if path.name != "bell.py"]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(project / "cache")]
    done = subprocess.run([*command, *files], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,UP,W",
        "--line-length",
        "120",
        *files,
    ]
    done = subprocess.run(ruff, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_worker_and_the_chat_declare_the_same_tool(tmp_path: Path) -> None:
    chat_side = load_block("how-to/extend.md", "tools/render.py", tmp_path)
    assert chat_side.render_chart.offered_if == "TOOL_WORKER_FUNCTION"
    worker = (ROOT / "functions/tool_worker/app.py").read_text()
    assert code_blocks("how-to/extend.md")["tool_worker/app.py"].splitlines()[2:] == worker.splitlines()[2:]
