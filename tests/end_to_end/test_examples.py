"""`docs/examples`: each is asked as far as that goes here, and passes what teams check such files with."""

import asyncio
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types
from moto.server import ThreadedMotoServer

from tests import requirements
from tests.artifact import BIN, sam
from tests.bench.models.runtime_api import FakeRuntimeApi, chat_event
from tests.contract.clients import environment
from tests.doc_pages import ROOT
from tests.end_to_end.test_wheel import build, checkout
from tests.local_server import local_server
from tests.stack import source

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs/examples"
APPLICATION, IMAGE, GITHUB = (EXAMPLES / name for name in ("sam-application", "container-image", "github-actions"))
LOCK = Path(environment.__file__).with_name("linters.txt")


def linter(*command: str | Path) -> str:
    """What a linter prints, which must find nothing."""
    program = environment.python(LOCK, "linters").with_name(str(command[0]))
    words = [program, *command[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class TestAnApplicationOfYourOwn:
    @pytest.fixture
    def aws(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
        """Variables of a function with a table of orders."""
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        variables = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "ORDERS_TABLE": "orders", "AWS_REGION": "eu-west-1"}
        variables |= {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        key: Any = {"AttributeName": "number", "AttributeType": "S"}
        boto3.client("dynamodb").create_table(
            TableName="orders",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[key],
            KeySchema=[{"AttributeName": "number", "KeyType": "HASH"}],
        )
        yield variables
        server.stop()

    def test_has_an_assistant_that_finds_what_its_own_function_has_kept(
        self, aws: dict[str, str], tmp_path: Path
    ) -> None:
        take_order = runpy.run_path(str(APPLICATION / "orders/app.py"))["handler"]
        number = take_order({"article": "a rope"}, None)["number"]
        orders = boto3.resource("dynamodb").Table("orders")
        # The scripted model looks for what it was asked, so the order gets that for its number.
        orders.put_item(Item={**orders.get_item(Key={"number": number})["Item"], "number": "find_order"})
        declared = source(APPLICATION / "template.yaml")["Resources"]["AssistantFunction"]["Properties"]
        assert set(declared["Environment"]["Variables"]) - set(aws) == {
            *("AWS_LAMBDA_EXEC_WRAPPER", "AUTH", "METRICS", "MODEL_PROVIDER", "SERVICE_NAME")
        }
        variables = {**aws, "MODEL_PROVIDER": "scripted", "AUTH": "none", "METRICS": "lean"}
        flags = [flag for name, value in variables.items() for flag in ("--env", f"{name}={value}")]
        flags += ["--task-root", str(APPLICATION / "assistant"), "--handler", declared["Handler"]]
        with local_server(tmp_path, *flags) as server:
            body = {"messages": [{"role": "user", "content": "find_order"}]}
            answer = httpx.post(f"{server.url}/chat", json=body, timeout=30).text
        assert '"name":"find_order","status":"completed"' in answer, answer
        assert "a rope" in answer
        assert '{"type":"done"' in answer

    def test_has_a_template_in_which_sam_and_cfn_lint_find_nothing(self) -> None:
        done = sam("validate", "--lint", "--template", str(APPLICATION / "template.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr


class TestAnImage:
    def dockerfile(self) -> dict[str, str]:
        """The instructions; of several of a kind the last."""
        lines = (IMAGE / "Dockerfile").read_text().replace("\\\n", "").splitlines()
        return {name: rest for name, _, rest in (line.partition(" ") for line in lines if line[:1].isupper())}

    async def ask(self, python: Path, folder: Path) -> None:
        """Start what the image would, and ask it."""
        arrived = bytearray()
        entry_point: list[str] = json.loads(self.dockerfile()["ENTRYPOINT"])
        command: list[str] = json.loads(self.dockerfile()["CMD"])
        program, *words = (*entry_point, *command)
        assert program == "python"
        async with FakeRuntimeApi(arrived.extend) as lambda_api:
            environ = {"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": lambda_api.address, "AUTH": "none"}
            environ |= {"MODEL_PROVIDER": "scripted", "LAMBDA_TASK_ROOT": str(folder), "SCRIPTED_WORDS_PER_SECOND": "0"}
            process = await asyncio.create_subprocess_exec(python, *words, cwd=folder, env=environ)
            try:
                await asyncio.wait_for(lambda_api.invoke(chat_event("What is the current_time?")), 30)
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
        assert b'"name":"current_time","status":"completed"' in arrived
        assert b'{"type":"done"' in arrived

    def test_streams_a_chat_from_its_entry_point(self) -> None:
        asyncio.run(self.ask(Path(sys.executable), IMAGE))

    @pytest.mark.doors
    def test_has_all_that_it_needs_by_what_it_installs_itself(self, tmp_path: Path) -> None:
        """Its own lines, in an environment that has nothing but the Python that is deployed and pip."""
        build(checkout(tmp_path / "source"), tmp_path / "source")
        subprocess.run([requirements.python("3.14"), "-m", "venv", tmp_path / "image"], check=True)
        for path in (*(tmp_path / "source/dist").glob("*.whl"), IMAGE / "requirements.txt", IMAGE / "app.py"):
            shutil.copy(path, tmp_path)
        run = self.dockerfile()["RUN"].replace("/tmp/image/", f"{tmp_path}/")
        environ = {**os.environ, "PATH": f"{tmp_path / 'image/bin'}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-euc", run], env=environ, check=True, timeout=100, capture_output=True)
        asyncio.run(self.ask(tmp_path / "image/bin/python", tmp_path))

    @pytest.mark.clients
    def test_has_a_file_in_which_hadolint_finds_nothing(self) -> None:
        assert linter("hadolint", "--failure-threshold", "style", IMAGE / "Dockerfile") == ""


class TestAWorkflow:
    def jobs(self) -> Any:
        return yaml.safe_load((GITHUB / "deploy.yaml").read_text())["jobs"]

    def test_tests_what_it_deploys_by_a_role_and_without_a_key(self) -> None:
        deploy = self.jobs()["deploy"]
        assert deploy["needs"] == "test"
        assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
        (credentials,) = [step["with"] for step in deploy["steps"] if "aws-actions" in step.get("uses", "")]
        assert set(credentials) == {"role-to-assume", "aws-region"}
        assert "secrets." not in (GITHUB / "deploy.yaml").read_text()

    def test_runs_targets_that_there_are_for_a_stage_that_there_is(self) -> None:
        lines = [step["run"] for job in self.jobs().values() for step in job["steps"] if "run" in step]
        assert lines == ["make test", "make build", "make deploy STAGE=prod", "make doctor STACK=winterbourne"]
        stage = tomllib.loads((ROOT / "samconfig.toml").read_text())["prod"]["global"]["parameters"]
        assert stage["stack_name"] == "winterbourne"

    def test_pins_every_action_to_a_commit(self) -> None:
        used = re.findall(r"uses: (\S+)(.*)", (GITHUB / "deploy.yaml").read_text())
        assert used
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action, _ in used)
        assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", comment) for _, comment in used)

    def test_has_a_role_for_one_environment_of_one_repository(self) -> None:
        resources = source(GITHUB / "role.yaml")["Resources"]
        (statement,) = resources["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        issuer = "token.actions.githubusercontent.com"
        assert statement["Condition"] == {
            "StringEquals": {
                f"{issuer}:aud": "sts.amazonaws.com",
                f"{issuer}:sub": {
                    "Fn::Sub": f"repo:${{Repository}}:environment:{self.jobs()['deploy']['environment']}"
                },
            }
        }

    def test_has_a_role_in_which_cfn_lint_finds_nothing(self) -> None:
        done = subprocess.run(
            [BIN / "cfn-lint", GITHUB / "role.yaml"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.clients
    def test_is_what_github_takes_and_zizmor_finds_nothing_in_it(self) -> None:
        workflow = GITHUB / "deploy.yaml"
        assert "ok" in linter("check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)
        assert "No findings" in linter("zizmor", "--offline", "--persona", "pedantic", workflow)
