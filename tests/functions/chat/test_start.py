"""The start of the deployed chat: what it imports, and what importing the engine does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.coverage_variables import COVERAGE
from tests.stack import ROOT, Stack

ENGINE = "winterbourne.chat"
NOT_USED = {
    *("anyio", "httpcore"),  # of httpx's own transport, which serves where there is a proxy
    *("boto3", "botocore.session", "sqlite3", f"{ENGINE}.storage.memory", f"{ENGINE}.storage.sqlite"),
    *("cryptography", "jwt", f"{ENGINE}.auth.jwt", f"{ENGINE}.auth.iam", f"{ENGINE}.auth.none"),
    *(f"{ENGINE}.providers.{name}" for name in ("openai", "openai_chunks", "anthropic", "scripted", "failover")),
    *(f"{ENGINE}.formats.{name}.decode" for name in ("ag_ui", "ai_sdk", "openai")),
    *(f"{ENGINE}.formats.{name}.encode" for name in ("ag_ui", "ai_sdk", "openai")),
    *(f"{ENGINE}.tool_runtime.{name}" for name in ("mcp", "once", "processes", "process_worker")),
    *(f"{ENGINE}.infra.spans", f"{ENGINE}.infra.otlp"),
    *("jsonschema_rs", f"{ENGINE}.http.compaction", "winterbourne.local"),
}
"""What the chat as `template.yaml` deploys it needs in few requests, or in none."""

PRINT_MODULES = """
import winterbourne.runtime, chat.app, json, sys
from winterbourne.chat.infra import http_pool
http_pool.client()
print(json.dumps([*sys.modules]))
"""

PRINT_EVENTS = """
import sys, msgspec, orjson, httpx, aws_lambda_powertools, json
events = []
def record(event, arguments):
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "_thread.start_new_thread"):
        events.append([event, str(arguments)])
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so")):
        events.append([event, str(arguments[0])])
sys.addaudithook(record)
import winterbourne.chat.app, winterbourne.chat.providers.bedrock, winterbourne.chat.storage.dynamodb
print(json.dumps(events))
"""


def run(code: str) -> Any:
    """What a process with the deployed function's variables prints, as JSON."""
    variables = Stack().properties("ChatFunction")["Environment"]["Variables"]
    lambdas = {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_SESSION_TOKEN": "c",
    }
    path = os.pathsep.join([str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")])
    environ = {**variables, **lambdas, **COVERAGE, "PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_imports_nothing_that_it_does_not_use() -> None:
    assert NOT_USED & {*run(PRINT_MODULES)} == set()


def test_what_it_does_not_use_is_there() -> None:
    engine = Path(ROOT / "layers" / "winterbourne" / "python")
    ours = {name for name in NOT_USED if name.startswith("winterbourne")}
    paths = {name: engine / name.replace(".", "/") for name in ours}
    assert [name for name, path in paths.items() if not path.with_suffix(".py").exists() and not path.is_dir()] == []


def test_importing_the_engine_opens_no_file_or_socket_and_starts_nothing() -> None:
    assert run(PRINT_EVENTS) == []
