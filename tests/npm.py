"""Third-party servers and clients for Node, installed once from the lock file in tests/clients."""

import fcntl
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import requirements

__all__ = ["clients", "run"]

HOME = Path(__file__).parent / "clients"


def clients() -> Path:
    """The folder with `node_modules`, installed if the lock file is not what was installed last.

    Skips the test where Node is missing (fails in CI). Parallel test workers wait for the first one.
    """
    requirements.node()
    wanted = hashlib.sha256((HOME / "package-lock.json").read_bytes()).hexdigest()
    stamp = HOME / "node_modules" / ".installed"
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run(["npm", "ci", "--silent"], cwd=HOME, check=True)
            stamp.write_text(wanted)
    return HOME


def run(script: str, *arguments: str, given: object = None) -> Any:
    """Run a script in tests/clients and return what it prints as JSON; `given` is its input, as JSON.

    Fails the test with the script's own output if it exits with an error.
    """
    command = ["node", str(clients() / script), *arguments]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.fail(f"{script} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)
