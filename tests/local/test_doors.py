"""The doors by name, as `winterbourne run` starts them."""

from pathlib import Path

import httpx
import pytest

from tests.local.test_run import eventually, is_gone
from tests.local_server import ROOT, local_server
from winterbourne.local.command_line import parse
from winterbourne.local.cors import Cors
from winterbourne.local.doors import DOORS
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.run import _server_config
from winterbourne.local.server import ServerConfig


def config(folder: Path, *flags: str) -> ServerConfig:
    return _server_config(parse(["--task-root", str(ROOT / "functions"), *flags]), folder)


class TestTheDefaults:
    def test_are_those_of_a_function_url(self, tmp_path: Path) -> None:
        plain, url = config(tmp_path), config(tmp_path, "--door", "url")
        assert (plain.door, plain.port, plain.function.handler) == ("url", 3000, "chat.app.handler")
        assert (plain.response_limits, plain.cors) == (url.response_limits, url.cors)
        assert (plain.response_limits, plain.function.managed_instances) == (ResponseLimits(), 0)

    def test_of_others_are_the_doors_own_and_flags_win(self, tmp_path: Path) -> None:
        assert config(tmp_path, "--door", "rest").response_limits.burst_bytes == 10 * 2**20
        assert config(tmp_path, "--door", "rest", "--burst", "1").response_limits.burst_bytes == 2**20
        assert config(tmp_path, "--door", "agentcore").port == 8080
        assert config(tmp_path, "--door", "agentcore", "--port", "1").port == 1
        assert config(tmp_path, "--door", "instances").function.managed_instances == 16
        assert config(tmp_path, "--door", "instances", "--managed-instances", "2").function.managed_instances == 2

    @pytest.mark.parametrize("name", ["asgi", "web", "agentcore"])
    def test_behind_a_server_are_the_application_and_settings_that_nobody_else_tells(
        self, name: str, tmp_path: Path
    ) -> None:
        function = config(tmp_path, "--door", name, "--timeout", "7").function
        assert function.handler == "chat.app:chat.asgi"
        assert function.variables["REQUEST_TIMEOUT"] == "7"
        assert function.variables["ASGI_DOOR"] == {"asgi": "server"}.get(name, name)

    @pytest.mark.parametrize("name", DOORS)
    def test_leave_cors_to_the_chat_but_for_function_urls(self, name: str, tmp_path: Path) -> None:
        has_cors = config(tmp_path, "--door", name, "--cors-allow-origin", "*").cors != Cors()
        assert has_cors == (name in {"url", "instances"})


class TestTheCommandLine:
    def test_knows_no_other_door(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--door", "alb"])
        assert "alb" in capsys.readouterr().err

    def test_refuses_the_invoke_api_where_there_is_no_function(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--door", "web", "--invoke-port", "1"])
        assert "there is no Lambda function" in capsys.readouterr().err

    @pytest.mark.parametrize("name", [name for name in DOORS if name != "rest"])
    def test_refuses_a_base_path_where_there_is_none(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--door", name, "--base-path", "chat"])
        assert f"--base-path: only --door rest has one, not {name}" in capsys.readouterr().err
        assert parse(["--door", "rest", "--base-path", "chat"]).base_path == "chat"

    @pytest.mark.parametrize("name", DOORS)
    def test_says_what_each_is(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--help"])
        assert f"{name} ({DOORS[name].about}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_change_of_its_files_is_served_by_a_server_too(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    text = (
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await send({'type': 'http.response.start', 'status': 200})\n"
        "        await send({'type': 'http.response.body', 'body': b'one'})\n"
    )
    app.write_text(text)
    flags = ("--door", "asgi", "--task-root", str(tmp_path), "--handler", "app:app")
    (tmp_path / "run").mkdir()
    with local_server(tmp_path / "run", *flags) as server:
        assert httpx.get(server.url, timeout=30).text == "one"
        app.write_text(text.replace("one", "two, and longer"))
        assert httpx.get(server.url, timeout=30).text == "two, and longer"
        assert "app.py changed" in (tmp_path / "run" / "screen.log").read_text()
        assert httpx.get(f"{server.url}/__local/metrics", timeout=30).status_code == 200


@pytest.mark.slow
def test_a_server_ends_if_the_local_server_is_killed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await send({'type': 'http.response.start', 'status': 200})\n"
        "        await send({'type': 'http.response.body', 'body': str(os.getpid()).encode()})\n"
    )
    flags = ("--door", "web", "--task-root", str(tmp_path), "--handler", "app:app")
    (tmp_path / "run").mkdir()
    with local_server(tmp_path / "run", *flags) as server:
        pid = int(httpx.get(server.url, timeout=30).text)
        server.process.kill()
        server.process.wait()
        assert eventually(lambda: is_gone(pid))
