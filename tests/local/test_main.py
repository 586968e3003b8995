"""`python -m winterbourne.local` as a real process: starting, stopping, flags and error messages."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.local_server import ROOT, LocalServer, local_server
from winterbourne.local.__main__ import _server_config
from winterbourne.local.command_line import parse
from winterbourne.local.cors import Cors
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.server import ServerConfig

pytestmark = pytest.mark.slow

FUNCTIONS = Path(__file__).parent / "functions"
FLAGS = ("--task-root", str(FUNCTIONS), "--handler", "app.handler")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server shared by the tests that do not stop it."""
    with local_server(tmp_path_factory.mktemp("local"), *FLAGS) as running:
        yield running


@pytest.fixture
def disposable_server(tmp_path: Path) -> Iterator[LocalServer]:
    """A server for a test that stops it."""
    with local_server(tmp_path, *FLAGS) as running:
        yield running


def process_of(server: LocalServer) -> int:
    return int(httpx.get(server.url, timeout=30).text.split()[1])


def state(pid: int) -> str:
    """The state as shown by ps: R running, S sleeping, T stopped, Z zombie; empty if there is no such process."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()[:1]


def is_gone(pid: int) -> bool:
    return state(pid) in {"", "Z"}


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until another process has met the condition; False if it never does."""
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_ends_its_processes_even_if_they_are_frozen(
        self, disposable_server: LocalServer, number: signal.Signals
    ) -> None:
        pid = process_of(disposable_server)
        assert eventually(lambda: state(pid) == "T")
        disposable_server.process.send_signal(number)
        assert disposable_server.process.wait(timeout=10) == 0
        assert is_gone(pid)

    def test_during_a_stream_ends_them_too(self, disposable_server: LocalServer) -> None:
        with httpx.stream("GET", disposable_server.url + "/slow", timeout=30) as response:
            pid = int(next(response.iter_text()).split()[1])
            disposable_server.process.send_signal(signal.SIGINT)
            assert disposable_server.process.wait(timeout=10) == 0
        assert is_gone(pid)


class TestBeingKilled:
    def test_leaves_no_frozen_process_behind(self, disposable_server: LocalServer) -> None:
        pid = process_of(disposable_server)
        assert eventually(lambda: state(pid) == "T")
        disposable_server.process.kill()
        disposable_server.process.wait()
        assert eventually(lambda: is_gone(pid))


class TestAPortInUse:
    def test_is_one_line_and_exit_code_1(self, server: LocalServer) -> None:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "winterbourne.local", "--port", port, "--log", os.devnull]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr == f"python -m winterbourne.local: 127.0.0.1:{port} is in use\n"
        assert ended.stdout == ""


class TestStarting:
    def test_prints_the_address_in_a_command_to_paste_and_the_log(self, server: LocalServer) -> None:
        screen = (server.log.parent / "screen.log").read_text()
        assert f"curl -N {server.url}/" in screen
        assert str(server.log) in screen

    def test_prints_a_line_per_request(self, server: LocalServer) -> None:
        httpx.get(server.url + "/x", timeout=30)
        line = re.compile(r"^GET /x 200 \d+ bytes in \d", re.MULTILINE)
        assert eventually(lambda: bool(line.search((server.log.parent / "screen.log").read_text())))

    def test_continues_after_its_output_is_closed(self, tmp_path: Path) -> None:
        ready = tmp_path / "ready.json"
        command = [
            sys.executable,
            "-m",
            "winterbourne.local",
            *FLAGS,
            "--port",
            "0",
            "--ready-file",
            str(ready),
            "--log",
            os.devnull,
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                assert eventually(ready.exists)
                assert process.stdout
                process.stdout.close()
                url = json.loads(ready.read_text())["url"]
                assert [httpx.get(url, timeout=30).status_code for _ in range(3)] == [200, 200, 200]
            finally:
                process.terminate()

    def test_with_a_log_that_cannot_be_written_is_one_line(self) -> None:
        command = [sys.executable, "-m", "winterbourne.local", "--port", "0", "--log", "/no/such/folder/log"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (
            1,
            "python -m winterbourne.local: /no/such/folder/log: No such file or directory\n",
        )

    def test_with_an_unreadable_template_is_one_line(self) -> None:
        command = [
            sys.executable,
            "-m",
            "winterbourne.local",
            "--port",
            "0",
            "--log",
            os.devnull,
            "--cors-template",
            "/none.yaml",
        ]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


class TestServerConfig:
    """Flags → configuration; all other tests in this module start processes."""

    def test_has_every_flag(self, tmp_path: Path) -> None:
        cors = [flag for name in ("origin", "method", "header") for flag in (f"--cors-allow-{name}", name[0])]
        flags = [
            *(*FLAGS, "--host", "localhost", "--port", "1", "--invoke-port", "2", "--log", str(tmp_path / "l")),
            *("--name", "f", "--timeout", "5", "--memory", "128", "--env", "A=b", "--concurrency", "9"),
            *("--managed-instances", "3", "--snap-start", "--no-freeze", "--burst", "1", "--rate", "2", "--limit", "3"),
            *(*cors, "--cors-expose-header", "e", "--cors-allow-credentials", "--cors-max-age", "7"),
        ]
        assert _server_config(parse(flags), tmp_path) == ServerConfig(
            function=FunctionConfig(
                task_root=FUNCTIONS,
                handler="app.handler",
                name="f",
                timeout_s=5,
                memory_mb=128,
                variables={"A": "b"},
                managed_instances=3,
                snap_start=True,
            ),
            host="localhost",
            port=1,
            invoke_port=2,
            concurrency=9,
            freeze_when_idle=False,
            cors=Cors(
                allow_origins=("o",),
                allow_methods=("m",),
                allow_headers=("h",),
                expose_headers=("e",),
                allow_credentials=True,
                max_age=7,
            ),
            response_limits=ResponseLimits(2**20, 2 * 2**20, 3 * 2**20),
            log_file=tmp_path / "l",
        )

    def test_of_the_chat_uses_stub_services_unless_a_flag_disables_them(self, tmp_path: Path) -> None:
        assert _server_config(parse([]), tmp_path).use_stub_services
        assert not _server_config(parse(["--no-practice"]), tmp_path).use_stub_services
        assert not _server_config(parse([*FLAGS]), tmp_path).use_stub_services


def test_flags_for_cors_are_applied(tmp_path: Path) -> None:
    cors = ("--cors-allow-origin", "https://here.example", "--cors-allow-method", "*", "--cors-max-age", "9")
    with local_server(tmp_path, *FLAGS, *cors) as server:
        preflight = {"origin": "https://here.example", "access-control-request-method": "POST"}
        assert httpx.options(server.url, headers=preflight, timeout=30).headers["access-control-max-age"] == "9"


def test_a_template_supplies_what_the_flags_omit(tmp_path: Path) -> None:
    cors = ("--cors-allow-origin", "https://here.example", "--cors-template", str(ROOT / "template.yaml"))
    with local_server(tmp_path, *FLAGS, *cors) as server:
        preflight = {"origin": "https://here.example", "access-control-request-method": "POST"}
        answer = httpx.options(server.url, headers=preflight, timeout=30)
    assert "POST" in answer.headers["access-control-allow-methods"]


class TestTheEnvironment:
    def test_has_the_chats_settings_of_the_user_and_of_the_flags(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = tmp_path / "task"
        (task / "chat" / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "functions" / "chat" / "app.py", task / "chat")
        (task / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        monkeypatch.setenv("MODEL_ID", "of-the-user")
        monkeypatch.setenv("AUTH", "none")
        monkeypatch.setenv("SECRET_OF_THE_USER", "x")
        flags = ("--task-root", str(task), "--handler", "app.handler", "--env", "MAX_TURNS=3", "--timeout", "7")
        with local_server(tmp_path, *flags) as server:
            seen = httpx.get(server.url, timeout=30).json()
        assert (seen["MODEL_ID"], seen["MAX_TURNS"], seen["AUTH"]) == ("of-the-user", "3", "none")
        assert seen["STORE"].startswith("file:")
        assert seen["FRANKFURTER_BASE_URL"].startswith("http://127.0.0.1:")
        assert "SECRET_OF_THE_USER" not in seen


def test_the_ready_file_is_complete_once_it_exists(server: LocalServer) -> None:
    assert json.loads((server.log.parent / "ready.json").read_text()) == {
        "url": server.url,
        "invoke_url": "",
        "log": str(server.log),
    }
