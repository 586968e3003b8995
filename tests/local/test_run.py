"""`winterbourne run` as a real process: starting, stopping, flags and error messages."""

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
from winterbourne.local.command_line import parse
from winterbourne.local.cors import Cors
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.run import _server_config
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
        assert ended.stderr == (
            f"winterbourne run: 127.0.0.1:{port} is in use: choose another port (--port; make run PORT=3001)\n"
        )
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
            "winterbourne run: /no/such/folder/log: No such file or directory\n",
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
                wrapper=str(tmp_path / "opt" / "winterbourne"),
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

    def test_of_the_chat_has_a_signing_key_that_lasts_as_long_as_the_store(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing of it is left in the folder where somebody works, or beside the log."""

        def key(scratch: str, *flags: str) -> str:
            (tmp_path / scratch).mkdir()
            args = parse(["--task-root", str(ROOT / "functions"), "--log", "log", *flags])
            return _server_config(args, tmp_path / scratch).function.variables["SIGNING_KEY"]

        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        own_store = ("--env", "STORE=file:chat.sqlite3")
        assert key("1") != key("2")
        assert not (tmp_path / "state").exists()
        assert key("3", *own_store) == key("4", *own_store)
        assert list((tmp_path / "here").iterdir()) == []


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
        shutil.copy(ROOT / "functions" / "chat" / "tools" / "convert_currency.py", task / "chat" / "tools")
        (task / "chat" / "tools" / "order.py").write_text("KEYS = ['SHOP_API_KEY']")
        (task / "app.py").write_text("import os\nasync def handler(event, context): return dict(os.environ)\n")
        monkeypatch.setenv("MODEL_ID", "of-the-user")
        monkeypatch.setenv("AUTH", "none")
        monkeypatch.setenv("SHOP_API_KEY", "of-the-shop")
        monkeypatch.setenv("SECRET_OF_THE_USER", "x")
        flags = ("--task-root", str(task), "--handler", "app.handler", "--env", "MAX_TURNS=3", "--timeout", "7")
        with local_server(tmp_path, *flags) as server:
            seen = httpx.get(server.url, timeout=30).json()
        assert (seen["MODEL_ID"], seen["MAX_TURNS"], seen["AUTH"]) == ("of-the-user", "3", "none")
        assert seen["STORE"].startswith("file:")
        assert seen["FRANKFURTER_BASE_URL"].startswith("http://127.0.0.1:")
        assert seen["SHOP_API_KEY"] == "of-the-shop"
        assert "SECRET_OF_THE_USER" not in seen


def test_the_ready_file_is_complete_once_it_exists(server: LocalServer) -> None:
    assert json.loads((server.log.parent / "ready.json").read_text()) == {
        "url": server.url,
        "invoke_url": "",
        "log": str(server.log),
    }


def test_a_tool_without_its_key_is_named_on_the_screen_and_the_chat_starts(chat_folder: Path, tmp_path: Path) -> None:
    (chat_folder / "functions/chat/tools/moor.py").write_text(TOOL.replace("@tool", "@tool(keys=['PIER_API_KEY'])"))
    with local_server(tmp_path, "--task-root", str(chat_folder / "functions")) as server:
        screen = (tmp_path / "screen.log").read_text()
        assert "moor (not available: PIER_API_KEY is not set)" in screen
        assert "moor" in httpx.get(f"{server.url}/readyz", timeout=30).text


@pytest.fixture
def chat_folder(tmp_path: Path) -> Path:
    """A copy of the chat, whose files a test may change."""
    shutil.copytree(ROOT / "functions", tmp_path / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


TOOL = '''
from winterbourne.chat import tool

@tool
async def moor(ship: str) -> str:
    """Moor a ship."""
    return ship
'''


def ended(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "winterbourne.local", "--port", "0", "--log", str(folder / "log"), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


class TestAFunctionThatDoesNotStart:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import no_such_module", ", line 1: ModuleNotFoundError: No module named 'no_such_module'"),
            (TOOL.replace("@tool", "@tool(timeout=5)"), ", line 4: Tool moor has no option timeout; there are "),
            (TOOL.replace("moor", "get_weather"), ": Two tools are named get_weather: "),
        ],
    )
    def test_with_all_its_tools_is_one_line(self, chat_folder: Path, text: str, reason: str) -> None:
        (chat_folder / "functions/chat/tools/moor.py").write_text(text)
        done = ended(chat_folder, "--task-root", str(chat_folder / "functions"))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("winterbourne run: chat/tools/moor.py")
        assert reason in done.stderr

    def test_for_want_of_a_right_setting_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SETTINGS", "MAX_TURNS")
        done = ended(tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("winterbourne run: SETTINGS: entry 1 is not NAME=value")

    def test_at_all_is_one_line_too(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("def handler(event, context): ...\nraise KeyError('it')")
        done = ended(tmp_path, "--task-root", str(tmp_path), "--handler", "broken.handler")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "winterbourne run: KeyError: 'it'\n"

    def test_because_its_handler_has_no_module_is_a_wrong_flag(self, tmp_path: Path) -> None:
        done = ended(tmp_path, "--handler", "x")
        assert done.returncode == 2
        assert "'x' is not MODULE.FUNCTION, such as app.handler" in done.stderr


class TestAChangeWhileItRuns:
    def test_is_what_the_next_request_gets(self, chat_folder: Path) -> None:
        tool = chat_folder / "functions/chat/tools/moor.py"
        with local_server(chat_folder, "--task-root", str(chat_folder / "functions")) as server:

            def tools() -> list[str]:
                return list(httpx.get(server.url + "/readyz", timeout=30).json()["tools"])

            assert "moor" not in tools()
            tool.write_text(TOOL)
            assert "moor" in tools()
            tool.write_text(TOOL.replace("moor", "sail"))  # as long, and in the same second
            assert {"moor", "sail"} & set(tools()) == {"sail"}
            tool.write_text("import no_such_module")
            assert {"moor", "sail"} & set(tools()) == set()
            screen = chat_folder / "screen.log"
            assert eventually(lambda: "left out: chat/tools/moor.py, line 1" in screen.read_text())

    def test_leaves_an_answer_under_way_alone(self, chat_folder: Path) -> None:
        with local_server(chat_folder, "--task-root", str(chat_folder / "functions")) as server:
            asked = {"messages": [{"role": "user", "content": "count to 20"}]}
            with httpx.stream("POST", server.url + "/chat", json=asked, timeout=30) as response:
                pieces = response.iter_text()
                first = next(pieces)
                (chat_folder / "functions/chat/tools/moor.py").write_text(TOOL)
                assert "moor" in httpx.get(server.url + "/readyz", timeout=30).text
                assert '"type":"done"' in first + "".join(pieces)

    def test_that_breaks_the_function_is_the_sentence_that_requests_get(self, chat_folder: Path) -> None:
        app = chat_folder / "functions/chat/app.py"
        with local_server(chat_folder, "--task-root", str(chat_folder / "functions")) as server:
            text = app.read_text()
            app.write_text(text + "\nimport no_such_module")
            broken = httpx.get(server.url + "/readyz", timeout=30)
            assert (broken.status_code, "No module named 'no_such_module'" in broken.text) == (502, True)
            app.write_text(text)
            assert httpx.get(server.url + "/readyz", timeout=30).status_code == 200


class TestTheBanner:
    def test_lists_the_tools_and_warns_of_what_is_misspelt(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODEL_PROVDER", "openai")
        with local_server(tmp_path, "--env", "MAX_TRUNS=3"):
            screen = (tmp_path / "screen.log").read_text()
        assert "tools         calculate, convert_currency, current_time, get_stock_quote, get_weather\n" in screen
        assert "WARNING MODEL_PROVDER is not a setting; is MODEL_PROVIDER meant?\n" in screen
        assert "WARNING MAX_TRUNS is not a setting; is MAX_TURNS meant?\n" in screen
        assert "pages         of localhost, on any port, may call (CORS)\n" in screen
        assert "AUTH=none" not in screen


class TestOutputThatNobodyReads:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stops_neither_the_answers_nor_the_end(self, tmp_path: Path, number: signal.Signals) -> None:
        ready = tmp_path / "ready.json"
        flags = ["--port", "0", "--ready-file", str(ready), "--log", str(tmp_path / "log")]
        command = [sys.executable, "-m", "winterbourne.local", *FLAGS, *flags]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                assert eventually(ready.exists)
                url = json.loads(ready.read_text())["url"]
                with httpx.Client(base_url=url, timeout=30) as client:
                    for _ in range(60):  # a line of 2 KB each: more than a pipe holds
                        client.get("/" + "x" * 2000)
                process.send_signal(number)
                assert process.wait(timeout=10) == 0
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/chat", {"content-type": "application/json", "x-api-key": "KEY"}),
        ("/api/chat", {"content-type": "application/json", "x-api-key": "KEY", "user-agent": "ai-sdk"}),
        ("/chat/c_1/stop", {"x-api-key": "KEY"}),
        ("/agui", {"content-type": "application/json", "x-api-key": "KEY", "accept": "text/event-stream"}),
        ("/agui", {"content-type": "application/json", "x-amz-content-sha256": "0"}),
        ("/v1/chat/completions", {"content-type": "application/json", "authorization": "Bearer KEY"}),
        ("/v1/chat/completions", {"x-stainless-lang": "js", "x-stainless-retry-count": "0", "x-stainless-os": "x"}),
    ],
)
@pytest.mark.parametrize("origin", ["http://localhost:4173", "http://127.0.0.1:8080", "http://[::1]:1"])
def test_pages_of_this_machine_may_call_a_chat(
    shared_chat: LocalServer, path: str, headers: dict[str, str], origin: str
) -> None:
    asking = {"origin": origin, "access-control-request-method": "POST"}
    asking["access-control-request-headers"] = ",".join(headers)
    preflight = httpx.options(shared_chat.url + path, headers=asking, timeout=30)
    allowed = preflight.headers["access-control-allow-headers"].split(",")
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, origin)
    assert "POST" in preflight.headers["access-control-allow-methods"].split(",")
    assert set(headers) - {"accept"} <= set(allowed)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = httpx.post(shared_chat.url + path, json=body, headers={**headers, "origin": origin}, timeout=30)
    assert response.headers["access-control-allow-origin"] == origin
    assert response.status_code < 500


@pytest.fixture(scope="module")
def shared_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The chat, as `make run` starts it."""
    with local_server(tmp_path_factory.mktemp("chat"), "--env", "SCRIPTED_WORDS_PER_SECOND=0") as running:
        yield running


class TestCorsOfAChat:
    def test_with_one_origin_has_the_methods_and_headers_of_the_template(self, tmp_path: Path) -> None:
        cors = _server_config(parse(["--cors-allow-origin", "https://a.example"]), tmp_path).cors
        assert (cors.allow_origins, cors.allow_local_origins) == (("https://a.example",), False)
        assert "POST" in cors.allow_methods
        assert "x-api-key" in cors.allow_headers

    def test_is_not_that_of_any_other_function(self, tmp_path: Path) -> None:
        assert _server_config(parse([*FLAGS]), tmp_path).cors == Cors()
        assert "*" in _server_config(parse([*FLAGS, "--cors-allow-origin", "*"]), tmp_path).cors.allow_methods


def test_a_further_host_is_served_if_a_flag_names_it(tmp_path: Path) -> None:
    with local_server(tmp_path, *FLAGS, "--allow-host", "box.example") as server:
        for host, status in (("box.example:3000", 200), ("evil.example", 421)):
            assert httpx.get(server.url, headers={"host": host}, timeout=30).status_code == status
