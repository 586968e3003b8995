"""Runs code in a process of its own: importing an app starts an execution environment, which no two tests may share."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

PREAMBLE = """
import asyncio, json, threading, types
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne import lifecycle

retired = []
lifecycle.on_retire(lambda: retired.append(True))
CONTEXT = types.SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 60_000)


@tool(timeout_s=0.05)
def hang() -> None:
    \"\"\"Never come back.\"\"\"
    threading.Event().wait()
"""


def run(code: str, *, preamble: str = PREAMBLE, **environment: str) -> str:
    """Run the code after the preamble in a new process with only these environment variables; returns its output."""
    path = os.pathsep.join((str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")))
    completed = subprocess.run(
        [sys.executable, "-c", preamble + textwrap.dedent(code)],
        env={"PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.strip()
