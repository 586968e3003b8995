"""The whole path: function URL, Runtime API, layer, chat function, provider, tools, and back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.end_to_end.native_client import FIVE_TOOLS, chat, frames, text_of
from tests.local_server import ROOT, local_server
from tests.weather_server import weather_server

pytestmark = pytest.mark.slow


def calls(answer: list[dict[str, Any]], status: str) -> list[str]:
    return [frame["id"] for frame in answer if frame["type"] == "tool_call" and frame["status"] == status]


@pytest.fixture(scope="module")
def answer(function_url: str) -> list[dict[str, Any]]:
    return chat(function_url, FIVE_TOOLS)


class TestFiveTools:
    def test_all_start_before_the_last_one_ends(self, answer: list[dict[str, Any]]) -> None:
        kinds = [frame.get("status") for frame in answer]
        last_start = len(kinds) - 1 - kinds[::-1].index("started")
        last_end = len(kinds) - 1 - kinds[::-1].index("completed")
        assert len(calls(answer, "started")) == 5
        assert last_start < last_end

    def test_each_has_one_final_frame_with_its_duration(self, answer: list[dict[str, Any]]) -> None:
        finished = [frame for frame in answer if frame.get("status") == "completed"]
        assert sorted(frame["id"] for frame in finished) == sorted(calls(answer, "started"))
        assert all(frame["duration_ms"] >= 0 for frame in finished)

    def test_the_answer_uses_their_results_and_names_practice_data(self, answer: list[dict[str, Any]]) -> None:
        said = text_of(answer)
        rate = next(
            frame["result"]["result"]
            for frame in answer
            if frame.get("name") == "convert_currency" and "result" in frame
        )
        assert f"{rate:g}" in said.replace(",", "")
        assert "practice data" in said

    def test_the_last_frame_is_done(self, answer: list[dict[str, Any]]) -> None:
        assert answer[-1]["type"] == "done"
        assert answer[-1]["stop_reason"] == "stop"


class TestAStream:
    def test_can_be_stopped_after_its_first_words(self, tmp_path: Path) -> None:
        with local_server(tmp_path, "--env", "SCRIPTED_WORDS_PER_SECOND=50") as server:
            received: list[dict[str, Any]] = []
            for frame in frames(server.url, "count to 5000", conversation_id="c-1"):
                received.append(frame)
                if len(received) == 5:
                    assert httpx.post(f"{server.url}/chat/c-1/stop", timeout=30).status_code == 202
        assert received[-1] == {"type": "stopped", "reason": "user"}

    def test_ends_with_a_terminal_event_before_the_functions_deadline(self, tmp_path: Path) -> None:
        flags = ("--timeout", "2", "--env", "DEADLINE_MARGIN=1", "--env", "SCRIPTED_WORDS_PER_SECOND=50")
        with local_server(tmp_path, *flags) as server:
            answer = chat(server.url, "count to 5000")
        assert (answer[-1]["type"], answer[-1]["code"]) == ("error", "deadline_reached")

    def test_has_heartbeats_while_it_is_silent(self, tmp_path: Path) -> None:
        flags = ("--env", "HEARTBEAT_INTERVAL=0.1", "--env", "SCRIPTED_WORDS_PER_SECOND=2")
        with local_server(tmp_path, *flags) as server:
            body = {"messages": [{"role": "user", "content": "hi"}]}
            with httpx.stream("POST", f"{server.url}/chat", json=body, timeout=30) as response:
                lines = response.iter_lines()
                assert any(line.startswith(":") for line in lines)

    def test_is_sent_as_server_sent_events_that_are_not_cached(self, function_url: str) -> None:
        response = httpx.post(
            f"{function_url}/chat", json={"messages": [{"role": "user", "content": "hi"}]}, timeout=30
        )
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in response.headers["cache-control"]


class TestOtherRoutes:
    def test_health_and_readiness_report_what_is_configured(self, function_url: str) -> None:
        assert httpx.get(f"{function_url}/healthz", timeout=30).json() == {"status": "ok"}
        ready = httpx.get(f"{function_url}/readyz", timeout=30).json()
        assert ready["model"] == "scripted"
        assert {"get_stock_quote", "get_weather", "convert_currency", "calculate", "current_time"} <= set(
            ready["tools"]
        )

    def test_an_unknown_path_is_404_in_json(self, function_url: str) -> None:
        response = httpx.get(f"{function_url}/nowhere", timeout=30)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")

    def test_a_wrong_method_is_405_and_names_the_allowed_ones(self, function_url: str) -> None:
        response = httpx.get(f"{function_url}/chat", timeout=30)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert response.json()["error"]["code"] == "method_not_allowed"


JSON = {"content-type": "application/json"}
BAD_REQUESTS = {
    "not JSON": (b"{", JSON, 400),
    "not an object": (b"[]", JSON, 400),
    "without messages": (b"{}", JSON, 400),
    "with an unknown role": (b'{"messages":[{"role":"oracle","content":"x"}]}', JSON, 400),
    "with no message": (b'{"messages":[]}', JSON, 400),
    "with another content type": (b"{}", {"content-type": "text/plain"}, 415),
    "too large": (b" " * (1024 * 1024 + 1), JSON, 413),
    "not UTF-8": (b'{"messages":"\xff"}', JSON, 400),
}


@pytest.mark.parametrize(("body", "headers", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_an_invalid_body_is_a_4xx_in_json(function_url: str, body: bytes, headers: dict[str, str], status: int) -> None:
    response = httpx.post(f"{function_url}/chat", content=body, headers=headers, timeout=30)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"code", "message", "request_id"}


@pytest.fixture
def weather() -> Iterator[tuple[str, list[Any]]]:
    with weather_server() as served:
        yield served


class TestTheHttpPool:
    def test_opens_no_connection_in_the_second_invocation(self, weather: tuple[str, list[Any]], tmp_path: Path) -> None:
        url, connections = weather
        flags = (
            "--no-practice",
            "--env",
            f"OPEN_METEO_BASE_URL={url}",
            "--env",
            f"OPEN_METEO_GEOCODING_BASE_URL={url}",
        )
        with local_server(tmp_path, *flags, "--concurrency", "1", "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
            assert "-3.5" in text_of(chat(server.url, "the weather in Oslo"))
            opened = len(connections)
            assert "-3.5" in text_of(chat(server.url, "the weather in Bergen"))
        assert opened >= 1
        assert len(connections) == opened

    def test_survives_connections_that_the_server_closed_during_a_freeze(
        self, weather: tuple[str, list[Any]], tmp_path: Path
    ) -> None:
        url, connections = weather
        flags = (
            "--no-practice",
            "--env",
            f"OPEN_METEO_BASE_URL={url}",
            "--env",
            f"OPEN_METEO_GEOCODING_BASE_URL={url}",
        )
        with local_server(tmp_path, *flags, "--concurrency", "1", "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
            chat(server.url, "the weather in Oslo")
            for connection in connections:
                connection.shutdown(2)
            assert "-3.5" in text_of(chat(server.url, "the weather in Bergen"))


class TestManyAtOnce:
    def test_each_gets_its_own_answer(self, function_url: str) -> None:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: chat(function_url, f"count to {number}"), range(20, 28)))
        counted = [text_of(answer).split()[-1].rstrip(".") for answer in answers]
        assert [answer[-1]["type"] for answer in answers] == ["done"] * 8
        assert len(set(counted)) == 8


class TestStarting:
    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ("MAX_TURNS=many", "MAX_TURNS: expected int, got str"),
            ("MODEL_PROVIDER=opnai", "MODEL_PROVIDER: expected one of scripted, openai, anthropic, bedrock"),
            ("STORE=fiel:x", "STORE: expected one of memory, file, dynamodb"),
            ("AUTH=maybe", "AUTH: expected one of api_key, jwt, iam, none"),
            ("AUTH=jwt", "AUTH=jwt needs JWT_ISSUER and JWT_AUDIENCE"),
            (
                "MODEL_PROVIDER=openai",
                (
                    "OPENAI_API_KEY: needed for api.openai.com; "
                    "on AWS set MODEL_API_KEY_SECRET_ARN instead, or for MODEL_FALLBACK OPENAI_API_KEY_SECRET_ARN"
                ),
            ),
        ],
    )
    def test_with_a_wrong_setting_is_one_line_that_names_it(self, tmp_path: Path, wrong: str, sentence: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "winterbourne.local", "--port", "0", "--log", str(tmp_path / "log"), "--env", wrong],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"winterbourne run: {sentence}\n")
        assert sentence in (tmp_path / "log").read_text()

    def test_a_port_in_use_is_one_line_that_says_so(self, function_url: str) -> None:
        port = str(urlsplit(function_url).port)
        done = subprocess.run(
            [sys.executable, "-m", "winterbourne.local", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == (
            f"winterbourne run: 127.0.0.1:{port} is in use: choose another port (--port; make run PORT=3001)\n"
        )

    def test_ctrl_c_ends_everything_that_was_started(self, tmp_path: Path) -> None:
        with local_server(tmp_path) as server:
            chat(server.url, "hi")
            started = _children(server.process.pid)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(timeout=10) == 0
        assert started
        assert not [pid for pid in started if _runs(pid)]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
