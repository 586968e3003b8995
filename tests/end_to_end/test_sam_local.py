"""`sam local` runs the built function, in Lambda's image or a stand-in for it."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests import requirements
from tests.artifact import BIN, MACHINE, ROOT, Artifact, built, environment, sam
from winterbourne.local import sam_output

pytestmark = [pytest.mark.slow, pytest.mark.doors]

EVENTS = ROOT / "tests/events"


@pytest.fixture(scope="session")
def artifact(run: Path) -> Artifact:
    requirements.docker()
    return built(run, MACHINE)


def flags(artifact: Artifact) -> list[str]:
    return [
        *("--template", str(artifact.template)),
        *("--env-vars", str(EVENTS / "environment.json")),
        *("--parameter-overrides", f"Architecture={MACHINE}"),
    ]


def frames(body: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]


class TestInvoke:
    @pytest.fixture
    def invoke(self, artifact: Artifact) -> Any:
        def invoke(event: str) -> dict[str, Any]:
            done = sam("local", "invoke", "ChatFunction", "--event", str(EVENTS / event), *flags(artifact))
            try:
                sam_output.format_response(done.stdout)  # the exit code says nothing about the function
            except ValueError as error:
                pytest.fail(f"{error}\n{done.stderr}")
            return dict(json.loads(done.stdout))

        return invoke

    def test_answers_a_chat_in_one_piece_that_can_be_read(self, invoke: Any) -> None:
        answer = invoke("chat.json")
        assert answer["statusCode"] == 200
        assert answer["headers"]["content-type"].startswith("text/event-stream")
        spoken = frames(answer["body"])
        completed = {f["name"] for f in spoken if f["type"] == "tool_call" and f["status"] == "completed"}
        assert completed == {"calculate", "current_time"}
        assert spoken[-1]["type"] == "done"

    def test_answers_bad_json_with_a_400(self, invoke: Any) -> None:
        answer = invoke("bad.json")
        assert answer["statusCode"] == 400
        assert set(json.loads(answer["body"])["error"]) == {"code", "message", "request_id"}


class TestStartLambda:
    @pytest.fixture
    def client(self, artifact: Artifact, tmp_path: Path) -> Iterator[Any]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["local", "start-lambda", "--port", str(port), "--warm-containers", "EAGER", *flags(artifact)]
        log = tmp_path / "log"
        with log.open("wb") as written:
            server = subprocess.Popen([str(BIN / "sam"), *command], cwd=ROOT, env=environment(), stderr=written)
            try:
                _await(port, server, log)
                yield boto3.client(
                    "lambda",
                    endpoint_url=f"http://127.0.0.1:{port}",
                    region_name="us-east-1",
                    aws_access_key_id="none",
                    aws_secret_access_key="none",
                    config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
                )
            finally:
                server.terminate()
                server.wait(timeout=30)

    def test_answers_boto3_repeatedly(self, client: Any) -> None:
        for _ in range(2):
            answer = client.invoke(FunctionName="ChatFunction", Payload=(EVENTS / "chat.json").read_bytes())
            payload = json.loads(answer["Payload"].read())
            assert payload["statusCode"] == 200
            assert frames(payload["body"])[-1]["type"] == "done"


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it listens; sam's own message changes from version to version."""
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(log.read_text())


class TestMakeInvoke:
    def test_shows_the_answer_as_curl_would(self, artifact: Artifact) -> None:
        done = make("invoke", "EVENT=tests/events/healthz.json")
        assert done.stdout.startswith("200 OK\n"), done.stdout + done.stderr
        assert done.returncode == 0

    def test_says_in_one_line_that_there_is_no_docker(self, tmp_path: Path) -> None:
        done = make("invoke", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
        assert done.stdout == "make invoke needs Docker, and none answers here; make run does without\n"
        assert done.returncode != 0


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a target of the project's Makefile, whose `.venv` exists since it runs this test."""
    return subprocess.run(
        ["make", "--silent", "--old-file=.venv/dev", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
