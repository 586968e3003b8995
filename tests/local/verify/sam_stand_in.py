"""A stand-in for `sam`: reads its command line with sam's own parser, and does in moto what CloudFormation would.

It refuses what the two refuse: unknown options, a template that is not there, parameters that the template does not
declare, or not with that value, its rules. As a process it has its orders as JSON in the variable STAND_IN.
"""

import atexit
import functools
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import boto3
import httpx

from tests import stack

__all__ = ["KEYS", "Refused", "StandIn"]

KEYS: Final = "keys-of-callers"
"""The secret that the test has made."""
MADE: Final = {"AWS::DynamoDB::Table", "AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Logs::LogGroup"}
"""The types of resources that moto's CloudFormation makes."""


class Refused(Exception):
    """The command failed."""


@dataclass
class StandIn:
    """The stand-in.

    Attributes:
        client: Creates a boto3 client for a service name, in the region that is meant.
        serve: Serves the function of a stack, whose code is in this folder, and returns its URL.
        roll_back: Does it to the stack of this name.
        goes_wrong: Called at the end of each command; may raise.
        calls: The command lines so far.
        tokens: What opened the probes of what was deployed.
    """

    client: Callable[[str], Any]
    serve: Callable[[stack.Stack, Path], str]
    roll_back: Callable[[str], None]
    goes_wrong: Callable[[str], None] = lambda _: None
    calls: list[tuple[str, ...]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def run(self, command: str, *options: str) -> None:
        """Run a command."""
        parser = importlib.import_module(f"samcli.commands.{command}.command").cli
        given = parser.make_context(command, [*options]).params
        given["region"] = options[options.index("--region") + 1] if "--region" in options else ""
        self.calls.append((command, *options))
        getattr(self, command)(given)
        self.goes_wrong(command)

    def build(self, given: Mapping[str, Any]) -> None:
        template = json.loads(Path(given["template_file"]).read_text())
        chat = template["Resources"]["ChatFunction"]
        assert chat["Metadata"] == {"SkipBuild": True}, "the stand-in builds nothing"
        module, _, handler = chat["Properties"]["Handler"].rpartition(".")
        code = Path(chat["Properties"]["CodeUri"], *module.split(".")).with_suffix(".py").read_text()
        assert re.search(rf"^{handler} = ", code, re.MULTILINE)
        for layer in ("layers/winterbourne", "layers/dependencies"):
            assert Path(given["base_dir"], layer, "Makefile").exists()
        target = Path(given["build_dir"])
        target.mkdir(parents=True)
        (target / "template.yaml").write_text(json.dumps(template))

    def deploy(self, given: Mapping[str, Any]) -> None:
        name, parameters = given["stack_name"], given["parameter_overrides"]
        path, code, token = _same_file_for_same_text(Path(given["template_file"]))
        self.tokens.append(token)
        declared = stack.source(path)["Parameters"]
        _check(declared, parameters)
        with patch.dict(stack.PSEUDO, {"AWS::StackName": name, "AWS::Region": given["region"]}):
            ours = stack.Stack(path, **parameters)
        ours.properties("ChatFunction")["Environment"]["Variables"]["VERIFY_TOKEN"] = token
        assert ours.refusals == []
        assert given["capabilities"] == ("CAPABILITY_IAM",)
        assert given["confirm_changeset"] is False, "nobody can confirm it"
        _upload(self.client("s3"), given["region"])
        outputs = {"Url": {"Value": self.serve(ours, code)}}
        body = {"Parameters": declared, "Resources": _resources(ours), "Outputs": outputs}
        cloudformation = self.client("cloudformation")
        is_there = name in {each["StackName"] for each in cloudformation.describe_stacks()["Stacks"]}
        (cloudformation.update_stack if is_there else cloudformation.create_stack)(
            StackName=name,
            TemplateBody=json.dumps(body),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Tags=[{"Key": name, "Value": value} for name, value in given["tags"].items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        if "Fails" in ours.resources:
            self.roll_back(name)
            raise Refused("the stack was rolled back")

    def delete(self, given: Mapping[str, Any]) -> None:
        assert given["no_prompts"], "nobody can answer"
        self.client("cloudformation").delete_stack(StackName=given["stack_name"])


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return folder


def _same_file_for_same_text(path: Path) -> tuple[Path, Path, str]:
    """A copy of a template, since what is known of one is kept by its path; and what differs, code and token."""
    template = json.loads(path.read_text())
    chat = template["Resources"]["ChatFunction"]["Properties"]
    code, token = Path(chat["CodeUri"]), chat["Environment"]["Variables"].pop("VERIFY_TOKEN")
    assert code.is_dir()
    chat["CodeUri"] = "function"
    text = json.dumps(template)
    (same := _folder() / hashlib.sha256(text.encode()).hexdigest()).write_text(text)
    return same, code, token


def _check(declared: Mapping[str, Any], given: Mapping[str, str]) -> None:
    assert given.keys() <= declared.keys(), f"not declared: {given.keys() - declared.keys()}"
    for name, value in given.items():
        assert value in map(str, declared[name].get("AllowedValues", [value])), name
        assert re.fullmatch(declared[name].get("AllowedPattern", ".*"), value), name
        if "MinValue" in declared[name]:
            assert declared[name]["MinValue"] <= float(value), name


def _upload(s3: Any, region: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", "")
    if "bucket" not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket="bucket", Key="key", Body=packed.getvalue())


def _resources(ours: stack.Stack) -> dict[str, Any]:
    made = {name: each for name, each in ours.resources.items() if each["Type"] in MADE}
    for name, each in made.items():
        properties = each["Properties"]
        if each["Type"] == "AWS::Lambda::Function":
            for removed in ("Layers", "SnapStart", "LoggingConfig"):
                properties.pop(removed, None)
            properties["Role"] = {"Fn::GetAtt": [f"{name.removesuffix('Function')}Role", "Arn"]}
            properties["Environment"]["Variables"]["API_KEYS_SECRET_ARN"] = KEYS
        if each["Type"] == "AWS::IAM::Role":
            properties.pop("Policies", None)
    return made


class Process:
    """What a stand-in does that is a process.

    Args:
        orders: The variable STAND_IN: `folder`, where the server of the function has its files; `key`, which opens it;
            and `wait`, a command that writes its name into the file `done` there, and waits until that is gone.
    """

    def __init__(self, orders: Mapping[str, str]) -> None:
        self._orders, self._folder = orders, Path(orders["folder"])

    def serve(self, ours: stack.Stack, code: Path) -> str:
        """Serve the function at the local URL, with the very variables that the template gives it."""
        variables = ours.properties("ChatFunction")["Environment"]["Variables"]
        kept = {n: v for n, v in variables.items() if v and not n.endswith(("_ARN", "_WRAPPER")) and n != "STORE"}
        shutil.copytree(code, self._folder / "function", dirs_exist_ok=True)
        where = ("--task-root", str(self._folder / "function"), "--handler", "app.handler", "--port", "0")
        files = ("--ready-file", str(ready := self._folder / "ready"), "--log", str(self._folder / "log"))
        cors = ("--cors-template", str(stack.TEMPLATE), "--cors-allow-origin", ours.parameters["AllowedOrigins"])
        env = [f"{name}={value}" for name, value in {**kept, "API_KEYS": self._orders["key"]}.items()]
        flags = [*where, *files, *cors, *(word for each in env for word in ("--env", each))]
        server = subprocess.Popen(
            [sys.executable, "-m", "winterbourne.local", "run", *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (self._folder / "pid").write_text(str(server.pid))
        while not ready.exists():
            assert server.poll() is None
            time.sleep(0.02)
        return str(json.loads(ready.read_text())["url"])

    def roll_back(self, name: str) -> None:
        httpx.post(f"{os.environ['AWS_ENDPOINT_URL']}/stand-in/roll-back/{name}").raise_for_status()

    def goes_wrong(self, command: str) -> None:
        if command == self._orders.get("wait"):
            (done := self._folder / "done").write_text(command)
            while done.exists():
                time.sleep(0.02)


if __name__ == "__main__":
    orders = json.loads(os.environ["STAND_IN"])
    process = Process(orders)
    try:
        make: Any = boto3.client
        StandIn(make, process.serve, process.roll_back, process.goes_wrong).run(*sys.argv[1:])
    except Refused as error:
        sys.exit(str(error))
