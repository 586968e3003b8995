"""`docs/how-to/other-doors.md`: its container and its zip answer as AgentCore asks; made of what `sam build` makes."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import httpx
import pytest

from tests import requirements
from tests.artifact import MACHINE, built
from tests.doc_pages import blocks, commands

pytestmark = [pytest.mark.slow, pytest.mark.doors]

PAGE = "docs/how-to/other-doors.md"
START_S = 30
INPUT = {
    "threadId": "t-1",
    "runId": "r-1",
    "messages": [{"id": "m-1", "role": "user", "content": "What time is it in Rome?"}],
    "state": {},
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


def dockerfile() -> dict[str, list[str]]:
    """The arguments of each instruction; the last of each kind."""
    (text,) = [block.text for block in blocks(PAGE) if block.language == "dockerfile"]
    instructions = (line.partition(" ") for line in text.splitlines())
    return {name: json.loads(rest) if rest.startswith("[") else shlex.split(rest) for name, _, rest in instructions}


def variables() -> dict[str, str]:
    """What the image and the line that runs it set."""
    (line,) = [command.text for command in commands(PAGE) if command.text.startswith("docker run")]
    words = shlex.split(line)
    given = [words[at + 1] for at, word in enumerate(words) if word == "--env"]
    return dict(each.split("=", 1) for each in (*dockerfile()["ENV"], *given))


@pytest.fixture(scope="module")
def image(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the container works in, and the zip consists of."""
    folder = tmp_path_factory.mktemp("srv")
    *sources, _ = dockerfile()["COPY"]
    for source in sources:
        name = source.removeprefix(".aws-sam/build/")
        shutil.copytree(built(run, MACHINE).folder / name, folder, dirs_exist_ok=True)
    for package in ("uvicorn", "click"):  # which the page says to add to what the tools import
        shutil.copytree(str(distribution(package).locate_file(package)), folder / package)
    return folder


@pytest.fixture
def serve(image: Path) -> Callable[..., contextlib.AbstractContextManager[httpx.Client]]:
    @contextlib.contextmanager
    def serving(*command: str) -> Iterator[httpx.Client]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = str(listener.getsockname()[1])
        words = [port if word == "8080" else word for word in command]
        environ = {"PATH": os.environ["PATH"], **variables(), "PORT_OF_THE_TEST": port}
        process = subprocess.Popen([requirements.python("3.14"), *words], cwd=image, env=environ)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                _await(client, process)
                yield client
        finally:
            process.terminate()
            assert process.wait(timeout=20) in {0, -15}

    return serving


def _await(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(START_S * 20):
        assert process.poll() is None, "the server did not start"
        with contextlib.suppress(httpx.TransportError):
            client.get("/ping")
            return
        time.sleep(0.05)
    pytest.fail("the server did not start")


def answers(client: httpx.Client) -> None:
    assert client.get("/ping").json()["status"] == "Healthy"
    frames = client.post("/invocations", json=INPUT).raise_for_status().text
    events = [json.loads(line[6:]) for line in frames.splitlines() if line.startswith("data: ")]
    assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert "Rome" in "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def test_the_container_answers(serve: Callable[..., contextlib.AbstractContextManager[httpx.Client]]) -> None:
    python, *rest = dockerfile()["CMD"]
    assert python == "python"
    with serve(*rest) as client:
        answers(client)


def test_the_zips_entry_point_answers(
    serve: Callable[..., contextlib.AbstractContextManager[httpx.Client]], image: Path
) -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.text.startswith("# main.py\n")]
    own_port = text.replace("port=8080", 'port=int(__import__("os").environ["PORT_OF_THE_TEST"])')
    assert own_port != text
    (image / "main.py").write_text(own_port)
    with serve("main.py") as client:
        answers(client)
