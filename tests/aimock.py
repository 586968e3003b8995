"""aimock, an independent server that speaks the formats of many model providers, as a process on a free port.

https://github.com/CopilotKit/aimock
"""

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import requirements
from tests.npm import clients

__all__ = ["aimock"]


@contextlib.contextmanager
def aimock(folder: Path, fixtures: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Serve these fixtures; yields the base URL."""
    script = clients() / "node_modules/@copilotkit/aimock/dist/cli.js"
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    command = [requirements.node(), str(script), "--port", "0", "--fixtures", str(file), "--strict"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    output = []
    for line in process.stdout or ():
        output.append(line)
        if match := re.search(r"listening on (http://\S+)", line):
            return match[1]
    pytest.fail("aimock did not start:\n" + "".join(output))
