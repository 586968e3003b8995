"""A chat behind servers of other people, each as a process with two workers: uvicorn, granian and hypercorn."""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.doors

ROOT = Path(__file__).parents[3]
APP = "tests.chat.http.asgi_server_app:app"
WAIT_S = 20.0
JSON = {"content-type": "application/json"}

COMMANDS = {
    "uvicorn": ["uvicorn", APP, "--port={port}", "--workers=2", "--lifespan=on", "--ws=none"],
    "uvicorn without a lifespan": ["uvicorn", APP, "--port={port}", "--workers=2", "--lifespan=off", "--ws=none"],
    "granian": ["granian", APP, "--port={port}", "--workers=2", "--interface=asgi", "--no-ws"],
    "granian without a lifespan": ["granian", APP, "--port={port}", "--workers=2", "--interface=asginl", "--no-ws"],
    "hypercorn": ["hypercorn", APP, "--bind=127.0.0.1:{port}", "--workers=2"],
}


class Running:
    """A server's process, its URL and what it prints."""

    def __init__(self, name: str) -> None:
        self.has_lifespan = "without" not in name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", *(part.format(port=self.port) for part in COMMANDS[name])]
        path = os.pathsep.join((str(ROOT), str(ROOT / "layers" / "winterbourne" / "python")))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **streams)  # type: ignore[call-overload]
        self.printed: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self.printed.put(line.strip())

    def wait_for(self, line: str) -> None:
        """Wait until the server has printed this line; each counts once."""
        while (printed := self.printed.get(timeout=WAIT_S)) != line:
            self.lines.append(printed)

    def wait_until_open(self) -> None:
        for _ in range(int(WAIT_S / 0.05)):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise TimeoutError(self.lines)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)

    def send(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)
        connection.sendall(data)
        return connection


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(request.param)
    try:
        running.wait_until_open()
        if running.has_lifespan:
            running.wait_for("STARTED")
            running.wait_for("STARTED")
        yield running
    finally:
        running.stop()


def question(text: str, **fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


def request_of(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def test_a_chat_is_answered_to_its_end(server: Running) -> None:
    response = httpx.post(f"{server.url}/chat", content=question("hello"), headers=JSON, timeout=WAIT_S)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-request-id"]
    assert json.loads(response.text.split("data: ")[-1])["type"] == "done"


def test_paths_stay_encoded_and_queries_as_they_are(server: Running) -> None:
    missing = httpx.get(f"{server.url}/conversations/a%2Fb%20c", timeout=WAIT_S)
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "conversation_not_found")
    wrong = httpx.get(f"{server.url}/conversations?limit=%2B1", timeout=WAIT_S)
    assert (wrong.status_code, wrong.headers["x-error-code"]) == (400, "invalid_limit")


def test_head_has_the_headers_of_get_and_no_body(server: Running) -> None:
    full, head = (httpx.request(method, server.url, timeout=WAIT_S) for method in ("GET", "HEAD"))
    own = {"content-length", "transfer-encoding", "date", "x-request-id", "connection"}
    assert {n: v for n, v in head.headers.items() if n not in own} == {
        name: value for name, value in full.headers.items() if name not in own
    }
    assert (head.status_code, head.content) == (200, b"")


def test_a_body_that_is_too_large_is_refused(server: Running) -> None:
    with httpx.Client(timeout=WAIT_S) as client:
        large = client.post(f"{server.url}/chat", content=question("x" * 200_000), headers=JSON)
        assert (large.status_code, large.headers["x-error-code"]) == (413, "body_too_large")


def test_an_answer_that_breaks_is_cut_and_does_not_look_whole(server: Running) -> None:
    with httpx.Client(timeout=WAIT_S) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{server.url}/broken")


@pytest.mark.parametrize("seen", [0, 1, 200])
def test_a_client_that_hangs_up_ends_the_model_and_its_tools(server: Running, seen: int) -> None:
    """Before it has read anything, after one byte of the answer's head, and in its body."""
    with server.send(request_of(question("linger, please"))) as connection:
        server.wait_for("LINGERS")
        if seen:
            assert connection.recv(seen)
    server.wait_for("CANCELLED")


def test_a_client_that_hangs_up_in_its_request_is_forgotten(server: Running) -> None:
    body = question("linger, please")
    for sent in (0, 1, len(body) - 1):
        server.send(request_of(body[:sent], len(body))).close()
    assert httpx.get(f"{server.url}/healthz", timeout=WAIT_S).json() == {"status": "ok"}


def test_an_answer_that_is_kept_goes_on_without_its_client(server: Running) -> None:
    with server.send(request_of(question("nap, please", store=True, conversation_id="c-kept"))) as connection:
        server.wait_for("NAPS")
        assert connection.recv(1)
    server.wait_for("AWAKE")
