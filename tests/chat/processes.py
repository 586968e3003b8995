"""A function's own process for a test: importing an app starts an environment, which no other test may see."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

BEGIN = """
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


def run(code: str, *, begin: str = BEGIN, **environment: str) -> str:
    """What the code prints, after what it begins with, in a process with this environment and nothing else of ours."""
    path = os.pathsep.join((str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")))
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(code)],
        env={"PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
