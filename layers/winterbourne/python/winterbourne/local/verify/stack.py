"""The stacks that `verify` makes in the account, and their end, whatever happens."""

import itertools
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from winterbourne.local.doctor.on_aws import Stack
from winterbourne.local.verify.deployment import Rollback
from winterbourne.local.verify.on_aws import DENIAL
from winterbourne.local.verify.sam import Sam, SamFailed
from winterbourne.local.verify.template import failing_template, read_template, with_function

__all__ = ["LASTS", "PREFIX", "TAG", "Leftover", "Stacks", "delete_stack", "find_leftovers"]

PREFIX: Final = "winterbourne-verify-"
"""How the name of every stack of ours begins."""

TAG: Final = "winterbourne:verify-until"
"""The tag of every stack of ours; its value is when the run is over at the latest."""

LASTS: Final = timedelta(hours=6)
"""How long a run may take."""

FUNCTION: Final = Path(__file__).parents[1] / "files" / "verify"
"""What is deployed in the place of the chat."""

_POLL_S: Final = 5
_POLLS: Final = 720
_DELETIONS: Final = 3
"""How often CloudFormation is asked to delete a stack."""


@dataclass(frozen=True)
class Leftover:
    """A stack that a run has not deleted.

    Attributes:
        name: Its name.
        until: When its run is over at the latest, as its tag says.
    """

    name: str
    until: datetime


def find_leftovers(client: Any) -> list[Leftover]:
    """The stacks of ours in an account and region, those of runs under way included. Exceptions of boto3 propagate."""
    stacks = client("cloudformation").get_paginator("describe_stacks").paginate().search("Stacks")
    stacks = [each for each in stacks if each["StackName"].startswith(PREFIX)]
    tagged = [(each["StackName"], {tag["Key"]: tag["Value"] for tag in each["Tags"]}) for each in stacks]
    return [Leftover(name, datetime.fromisoformat(tags[TAG])) for name, tags in tagged if TAG in tags]


@dataclass
class Stacks:
    """The stacks of one run.

    Attributes:
        sam: Runs `sam`.
        client: Creates a boto3 client for a service name.
        region: Where they are.
        folder: A scratch folder for what is built.
        template: The project's template.
        parameters: Of the template, by name.
        say: Is told what goes on.
        name: Of the stack under measurement.
        token: Opens the probes of its function.
    """

    sam: Sam
    client: Callable[[str], Any]
    region: str
    folder: Path
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    say: Callable[[str], None]
    name: str = field(default_factory=lambda: PREFIX + secrets.token_hex(3))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def names(self) -> tuple[str, str]:
        """All stacks that may be there: the one under measurement, and the one that fails."""
        return self.name, f"{self.name}-fails"

    def build(self) -> None:
        """Build the template and the layers, apart from what the project has built. Raises what `Sam.run` does."""
        function, template = self.folder / "function", self.folder / "template.yaml"
        shutil.copytree(FUNCTION, function, ignore=shutil.ignore_patterns("__pycache__"))
        template.write_text(json.dumps(with_function(self.template, function, self.token)), encoding="utf-8")
        where = {"template-file": template, "base-dir": self.sam.cwd, "build-dir": self._built.parent}
        flags = [word for name, path in where.items() for word in (f"--{name}", str(path))]
        self.sam.run("build", *flags, *_overrides({"Architecture": self.parameters["Architecture"]}))

    @property
    def _built(self) -> Path:
        return self.folder / "build" / "template.yaml"

    def deploy(self, changed: Mapping[str, str] | None = None) -> None:
        """Deploy the stack, or deploy it anew with parameters changed. Raises what `Sam.run` does."""
        self._deploy(self.name, self._built, {**self.parameters, **(changed or {})})

    def _deploy(self, name: str, template: Path, parameters: Mapping[str, str]) -> None:
        until = datetime.now(UTC).replace(microsecond=0) + LASTS
        where = ("--template-file", str(template), "--stack-name", name, "--region", self.region)
        uploads = ("--resolve-s3", "--s3-prefix", name, "--capabilities", "CAPABILITY_IAM", "--no-progressbar")
        asks = ("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--on-failure", "ROLLBACK")
        tags = ("--tags", f"{TAG}={until.isoformat()}")
        self.sam.run("deploy", *where, *uploads, *asks, *tags, *_overrides(parameters))

    def fail_first_deployment(self) -> Rollback:
        """Deploy a stack of Stage prod that cannot be made, and wait for its end; see `deployment.Aws`."""
        name, template = self.names[1], self._built.with_name("fails.yaml")
        built = read_template(self._built)
        template.write_text(json.dumps(failing_template(built)), encoding="utf-8")
        with suppress(SamFailed):
            self._deploy(name, template, {**self.parameters, "Stage": "prod"})
        polls = itertools.count()
        while _is_busy(status := _status(self.client, name)) and next(polls) < _POLLS:
            time.sleep(_POLL_S)
        return Rollback(status, [*Stack(name, self.client).physical_ids()])

    def delete(self, kept: str = "") -> list[str]:
        """Delete all that the run has made but the one to keep; returns the names of those that are still there."""
        return [name for name in reversed(self.names) if not self._delete(name, keep=name == kept)]

    def _delete(self, name: str, *, keep: bool) -> bool:
        try:
            with suppress(BotoCoreError):  # the network may come back
                if not _status(self.client, name):
                    return True
            if keep:
                return False
            self.say(f"deleting the stack {name}")
            delete_stack(self.sam, self.client, name, self.region)
        except Exception as error:  # noqa: BLE001 - the other stack has to be deleted too, and both told of
            self.say(f"the stack {name} is not deleted: {error}")
            return False
        return True


def delete_stack(sam: Sam, client: Callable[[str], Any], name: str, region: str) -> None:
    """Delete a stack of ours and its uploads by `sam delete`, and where that does not, by CloudFormation alone.

    Raises:
        SamFailed: It is still there.
        ClientError: AWS refuses.
    """
    with suppress(BotoCoreError, ClientError):  # what is not released keeps it perhaps from being deleted, or not
        _release(client, name)
    with suppress(SamFailed, OSError):  # it has said why, or cannot be started, or the disk is full
        sam.run("delete", "--stack-name", name, "--region", region, "--no-prompts")
    asked, status = 0, "not known"
    for _ in range(_POLLS):
        with suppress(BotoCoreError):  # the network may come back
            if not (status := _status(client, name)):
                return
            if not _is_busy(status):
                if (asked := asked + 1) > _DELETIONS:
                    break
                client("cloudformation").delete_stack(StackName=name)
        time.sleep(_POLL_S)
    raise SamFailed(f"the stack {name} is still there, its status is {status}")


def _is_busy(status: str) -> bool:
    """Whether CloudFormation works on it. In REVIEW_IN_PROGRESS it waits for somebody, as after a deployment cut short:

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html
    """
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def _release(client: Callable[[str], Any], name: str) -> None:
    """Take away what would keep it from being deleted: protection of a table, a policy that is not CloudFormation's."""
    resources = client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    for resource in resources:
        with suppress(ClientError, KeyError):  # it is not there, or not any more
            kind, id_ = resource["ResourceType"], resource["PhysicalResourceId"]
            if kind == "AWS::DynamoDB::Table":
                client("dynamodb").update_table(TableName=id_, DeletionProtectionEnabled=False)
            elif kind == "AWS::IAM::Role":
                client("iam").delete_role_policy(RoleName=id_, PolicyName=DENIAL)


def _status(client: Callable[[str], Any], name: str) -> str:
    """CloudFormation's status of a stack; empty if there is none of that name."""
    try:
        return str(client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return ""
        raise


def _overrides(parameters: Mapping[str, str]) -> tuple[str, ...]:
    return ("--parameter-overrides", *(f'{name}="{value}"' for name, value in parameters.items()))
