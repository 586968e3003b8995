"""Cold start: the time from the start of the chat function's process to its first `next`, by import.

In an environment with the function's locked packages and nothing else, as on Lambda. The Runtime API is a socket that
accepts: the first `next` has come when its request line has.
"""

import os
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.bench.figure import Figure, environment

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "winterbourne" / "python"
ROUNDS = 9
SHOWN = 14
HEAVY = ("boto3", "botocore", "jwt", "cryptography", "sqlite3")


def figures() -> Iterable[Figure]:
    """Process start to first `next`, by import."""
    python = environment("function", _locked())
    times = [_start_ms(python) for _ in range(ROUNDS + 1)][1:]
    yield Figure(
        name="process start to first next, chat function",
        ours=f"{statistics.median(times):.0f} ms",
        beside=f"min {min(times):.0f} ms, max {max(times):.0f} ms of {ROUNDS}",
    )
    loaded = _loaded(python)
    heavy = [name for name in HEAVY if name in loaded]
    yield Figure(
        name="heavy packages imported though the default path does not use them",
        ours=", ".join(heavy) or "none",
        bar="none",
        met=not heavy,
    )
    for name, own_ms in _shares(python):
        yield Figure(name=f"  import {name}", ours=f"{own_ms:.1f} ms")


def _locked() -> list[str]:
    text = (LAYER / "winterbourne" / "local" / "files" / "locks" / "chat.txt").read_text()
    return re.findall(r"^(\S+==\S+)", text, re.MULTILINE)


def _environ() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LAMBDA_TASK_ROOT": str(ROOT / "functions"),
        "AWS_LAMBDA_FUNCTION_NAME": "chat",
        "AUTH": "none",
        "MODEL_PROVIDER": "scripted",
        "_HANDLER": "chat.app.handler",
        "PYTHONPATH": str(LAYER),
    }


def _start_ms(python: Path) -> float:
    with socket.create_server(("127.0.0.1", 0)) as api:
        environ = _environ() | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.getsockname()[1]}"}
        began = time.perf_counter()
        with subprocess.Popen(
            [python, "-m", "winterbourne"], env=environ, cwd=ROOT / "functions", stdout=subprocess.DEVNULL
        ) as process:
            connection, _ = api.accept()
            with connection:
                assert b"/runtime/invocation/next" in connection.recv(4096)
                elapsed_ms = (time.perf_counter() - began) * 1000
            process.kill()
    return elapsed_ms


def _loaded(python: Path) -> set[str]:
    code = "import sys, chat.app; print(*sys.modules)"
    environ = _environ() | {"PYTHONPATH": f"{ROOT / 'functions'}:{LAYER}"}
    done = subprocess.run([python, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def _shares(python: Path) -> Iterable[tuple[str, float]]:
    """The packages whose own modules take longest to import, each with its modules added up."""
    environ = _environ() | {"PYTHONPATH": f"{ROOT / 'functions'}:{LAYER}"}
    done = subprocess.run(
        [python, "-X", "importtime", "-c", "import chat.app"], env=environ, capture_output=True, text=True, check=True
    )
    shares: dict[str, float] = {}
    for own_us, name in re.findall(r"^import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)", done.stderr, re.MULTILINE):
        package = name.partition(".")[0]
        shares[package] = shares.get(package, 0) + int(own_us) / 1000
    return sorted(shares.items(), key=lambda share: -share[1])[:SHOWN]
