"""`winterbourne verify` as a whole, with a stand-in for sam and moto for AWS: whatever happens, nothing is left."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse

from tests.local.verify.account import REGION, ROOT, SESSION, VARIABLES, client, roll_back
from tests.local.verify.sam_stand_in import KEYS, Refused, StandIn
from winterbourne.local.new import engine_files
from winterbourne.local.verify import command, stack
from winterbourne.local.verify.claims import CLAIMS, Claim
from winterbourne.local.verify.deployment import Deployment, Rollback, Verdict, judge
from winterbourne.local.verify.on_aws import Account
from winterbourne.local.verify.sam import Sam, SamFailed
from winterbourne.local.verify.stack import PREFIX, TAG

URL = "https://made-up.lambda-url.eu-central-1.on.aws/"


class Run:
    """A run of the command in this process.

    Attributes:
        asked: The deployments that claims were measured on.
    """

    def __init__(self, sam: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sam, self._folder, self._monkeypatch = sam, folder, monkeypatch
        self.asked: list[Deployment] = []

    def claims(self, **measures: Callable[[Deployment], Verdict]) -> None:
        """The claims that there are."""
        claims = [
            Claim(id=name, title=f"It is {name}", page="https://docs.aws.amazon.com/", measure=measure, lasts_s=1)
            for name, measure in measures.items()
        ]
        self._monkeypatch.setattr(command, "CLAIMS", claims)

    def holds(self, deployment: Deployment) -> Verdict:
        """A claim that is proved."""
        self.asked.append(deployment)
        return judge({"first_byte_ms": 12.5})

    def verify(self, *arguments: str) -> int:
        return command.main(["--report", str(self._folder / "report"), *arguments])

    @property
    def commands(self) -> list[str]:
        return [each[0] for each in self.sam.calls]

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "report.json").read_text())
        return found

    @property
    def verdicts(self) -> dict[str, str]:
        return {each["id"]: each["verdict"] for each in self.report["claims"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    sam = StandIn(client, lambda *_: URL, roll_back)
    monkeypatch.setattr(boto3, "Session", lambda **_: SESSION())

    def stand_in(_: Sam, *words: str) -> None:
        try:
            sam.run(*words)
        except Refused as error:
            raise SamFailed(str(error)) from None

    monkeypatch.setattr(Sam, "run", stand_in)
    monkeypatch.setattr("winterbourne.local.verify.stack._POLL_S", 0)
    with mock_aws():
        client("secretsmanager").create_secret(Name=KEYS, SecretString='{"first": "k-1"}')
        yield Run(sam, tmp_path, monkeypatch)
        assert stacks() == [], "nothing is left behind"


def stacks() -> list[str]:
    return [each["StackName"] for each in client("cloudformation").describe_stacks()["Stacks"]]


def on(name: str, action: Callable[[], object]) -> Callable[[str], None]:
    """What goes wrong in this command of sam's."""

    def goes_wrong(command: str) -> None:
        if command == name:
            action()

    return goes_wrong


def impatient() -> None:
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)


def fail() -> None:
    raise Refused("it went wrong, as it was asked to")


class TestARunThatGoesWell:
    def test_builds_deploys_measures_reports_and_deletes(self, run: Run) -> None:
        run.claims(good=run.holds)
        assert run.verify("--yes") == 0
        assert run.commands == ["build", "deploy", "delete"]
        (claim,) = run.report["claims"]
        assert (claim["verdict"], claim["figures"]) == ("proved", {"first_byte_ms": 12.5})
        assert run.report["counts"] == {"proved": 1, "failed": 0, "not measured": 0}
        assert run.report["left_behind"] == []

    def test_hands_a_claim_the_url_the_key_and_what_opens_the_probes(self, run: Run) -> None:
        run.claims(good=run.holds)
        run.verify("--yes")
        (deployment,) = run.asked
        assert (deployment.url, deployment.api_key, deployment.door) == (URL.rstrip("/"), "k-1", "url")
        assert run.sam.tokens == [deployment.token]
        assert len(deployment.token) > 20
        assert deployment.token not in str(run.sam.calls), "which sam prints"

    def test_says_what_it_costs_and_names_no_other_parameters_of_the_stage_than_harmless_ones(
        self, run: Run, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run.claims(good=run.holds)
        given = (
            "Architecture=x86_64 MemorySize=1024 ModelApiKeySecretArn=arn:aws:ssm:x AlarmEmail=a@b.example Auth=none"
        )
        run.verify("--yes", "--parameters", given)
        assert re.search(r"It costs about \$0\.\d\d, and \$\d\.\d\d if it takes the 6 hours", capfd.readouterr().out)
        parameters = run.report["parameters"]
        assert (parameters["Architecture"], parameters["MemorySize"]) == ("x86_64", "1024")
        assert (parameters["Auth"], parameters["ModelProvider"]) == ("api_key", "scripted")
        assert not {"ModelApiKeySecretArn", "AlarmEmail"} & parameters.keys()

    def test_has_the_projects_door_and_the_claims_that_concern_it(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, content in engine_files("rest").items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        monkeypatch.chdir(tmp_path)
        run.claims(good=run.holds)
        (claim,) = vars(command)["CLAIMS"]
        monkeypatch.setattr(command, "CLAIMS", [claim, replace(claim, id="permissions", doors=("url",))])
        assert run.verify("--yes") == 0
        assert run.verdicts == {"good": "proved"}
        assert run.asked[0].door == "rest"
        assert run.verify("--yes", "--only", "permissions") == 2, "there is nothing to deploy for"

    def test_keeps_the_stack_if_it_is_to_and_says_how_to_delete_it(
        self, run: Run, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run.claims(good=run.holds)
        assert run.verify("--yes", "--keep") == 0
        (name,) = stacks()
        assert f"sam delete --no-prompts --stack-name {name} --region {REGION}" in capfd.readouterr().out
        assert run.report["left_behind"] == [name]
        client("cloudformation").delete_stack(StackName=name)

    def test_keeps_no_other_stack_than_that(self, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
        def first_deployment_fails(deployment: Deployment) -> Verdict:
            assert deployment.aws
            deployment.aws.fail_first_deployment()
            return run.holds(deployment)

        run.claims(rollback=first_deployment_fails)
        assert run.verify("--yes", "--keep") == 0
        (name,) = stacks()
        assert run.report["left_behind"] == [name]
        assert not name.endswith("-fails")
        client("cloudformation").delete_stack(StackName=name)

    def test_keeps_none_that_was_not_made(self, run: Run) -> None:
        run.sam.goes_wrong = on("build", fail)
        run.claims(good=run.holds)
        assert run.verify("--yes", "--keep") == 2
        assert run.report["left_behind"] == []

    def test_names_the_profile_without_which_the_stack_would_not_be_found(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def as_of_a_stage_with_a_profile(deployment: Deployment) -> Verdict:
            monkeypatch.setenv("AWS_PROFILE", "mine")
            return run.holds(deployment)

        run.claims(good=as_of_a_stage_with_a_profile)
        run.verify("--yes", "--keep", "--stage", "prod")
        (name,) = stacks()
        said = capfd.readouterr().out
        assert f"sam delete --no-prompts --stack-name {name} --region {REGION} --profile mine" in said
        assert f"winterbourne verify --leftovers --stage prod --region {REGION}" in said
        monkeypatch.delenv("AWS_PROFILE")
        client("cloudformation").delete_stack(StackName=name)

    def test_counts_snapshots_only_where_a_claim_is_about_them(
        self, run: Run, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run.claims(**{"good": run.holds, "cold-starts-snapstart": run.holds})
        for wanted in ("good", "good,cold-starts-snapstart"):
            run.verify("--only", wanted)
            assert ("SnapStart" in capfd.readouterr().out) == (wanted != "good")


class TestTheExitStatus:
    def test_is_one_if_a_claim_failed(self, run: Run) -> None:
        run.claims(good=run.holds, bad=lambda _: judge({}, (False, "it is late")))
        assert run.verify("--yes") == 1
        assert run.verdicts == {"good": "proved", "bad": "failed"}

    def test_is_three_if_a_claim_could_not_be_measured_and_the_others_are(self, run: Run) -> None:
        def breaks(_: Deployment) -> Verdict:
            raise ZeroDivisionError("of the measurement's own")

        run.claims(broken=breaks, good=run.holds)
        assert run.verify("--yes") == 3
        assert run.verdicts == {"broken": "not measured", "good": "proved"}
        assert "ZeroDivisionError" in run.report["claims"][0]["words"]

    def test_is_two_if_it_cannot_be_deployed_and_what_there_is_of_it_is_deleted(self, run: Run) -> None:
        run.sam.goes_wrong = on("deploy", fail)
        run.claims(good=run.holds)
        assert run.verify("--yes") == 2
        assert run.commands == ["build", "deploy", "delete"]
        assert run.report["claims"][0]["words"] == "the stack could not be deployed"


class TestNothingIsMade:
    def test_if_nobody_agrees(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        run.claims(good=run.holds)
        assert run.verify() == 2
        assert "nobody agreed" in capsys.readouterr().err
        assert run.commands == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--stage", "nope"), "there is no stage nope in samconfig.toml; there are: default dev prod"),
            (("--only", "good,worse"), "there is no claim worse; --list names them"),
            (("--parameters", "nonsense"), "nonsense is not a valid format"),
        ],
    )
    def test_if_what_is_wanted_does_not_exist(
        self, run: Run, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run.claims(good=run.holds)
        assert run.verify("--yes", *arguments) == 2
        assert words in capsys.readouterr().err

    def test_without_credentials(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run.claims(good=run.holds)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        monkeypatch.setattr(boto3, "Session", boto3.session.Session)
        assert run.verify("--yes") == 2
        assert "no AWS credentials found" in capsys.readouterr().err


class TestTheStage:
    @pytest.mark.parametrize("door", ["region", "profile"])
    def test_says_where_and_as_whom(self, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        (tmp_path / "samconfig.toml").write_text(f'version = 0.1\n[dev.global.parameters]\n{door} = "mine"\n')
        given: list[dict[str, Any]] = []

        def session(**arguments: Any) -> None:
            given.append({**arguments, "profile": os.environ.pop("AWS_PROFILE", None)})
            raise command.CannotRun("this is all that is asked here")

        monkeypatch.setattr(boto3, "Session", session)
        assert command.main([]) == 2
        assert given == [
            {"region_name": "mine" if door == "region" else None, "profile": None if door == "region" else "mine"}
        ]


class TestTheStackIsDeleted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_if_a_signal_comes_while_a_claim_is_measured(self, run: Run, number: signal.Signals) -> None:
        def interrupted(_: Deployment) -> Verdict:
            signal.raise_signal(number)
            raise AssertionError("the measurement goes on")

        run.claims(good=run.holds, long=interrupted, never=run.holds)
        assert run.verify("--yes") == 128 + number
        assert run.commands == ["build", "deploy", "delete"]
        assert run.verdicts == {"good": "proved", "long": "not measured", "never": "not measured"}
        assert run.report["claims"][1]["words"] == "the run was interrupted"

    def test_if_a_signal_comes_while_it_is_deployed(self, run: Run) -> None:
        run.sam.goes_wrong = on("deploy", lambda: signal.raise_signal(signal.SIGINT))
        run.claims(good=run.holds)
        assert run.verify("--yes") == 130
        assert run.commands == ["build", "deploy", "delete"]

    def test_whatever_signals_come_while_it_is_deleted(self, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
        run.sam.goes_wrong = on("delete", impatient)
        run.claims(good=run.holds)
        assert run.verify("--yes") == 0
        assert capfd.readouterr().out.count("The stack is being deleted") == 3

    def test_by_cloudformation_if_sam_cannot(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run.sam, "delete", lambda _: fail())
        run.claims(good=run.holds)
        assert run.verify("--yes") == 0

    def test_with_a_table_that_is_protected(self, run: Run) -> None:
        def protect(deployment: Deployment) -> Verdict:
            (table,) = client("dynamodb").list_tables()["TableNames"]
            client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=True)
            return run.holds(deployment)

        run.claims(good=protect)
        assert run.verify("--yes") == 0
        assert client("dynamodb").list_tables()["TableNames"] == []

    def test_and_the_one_that_failed_to_deploy_with_it(self, run: Run) -> None:
        found = []

        def first_deployment_fails(deployment: Deployment) -> Verdict:
            assert deployment.aws
            found.append(deployment.aws.fail_first_deployment())
            return run.holds(deployment)

        run.claims(rollback=first_deployment_fails)
        assert run.verify("--yes") == 0
        assert found == [Rollback("ROLLBACK_COMPLETE", [])], "of prod, whose table is not protected yet"
        assert run.commands == ["build", "deploy", "deploy", "delete", "delete"]
        assert 'Stage="prod"' in run.sam.calls[2]

    @pytest.mark.parametrize("goes_wrong", [lambda: None, fail, lambda: signal.raise_signal(signal.SIGTERM)])
    def test_or_it_is_said_how_to_delete_it_by_hand(
        self,
        run: Run,
        goes_wrong: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        def forbidden(*_: object) -> None:
            raise PermissionError("you may not")

        run.sam.goes_wrong = on("deploy", goes_wrong)
        run.claims(good=run.holds)
        with monkeypatch.context() as patched:
            patched.setattr("winterbourne.local.verify.stack.delete_stack", forbidden)
            assert run.verify("--yes") == 1
        (name,) = stacks()
        assert run.report["left_behind"] == [name]
        assert f"The stack {name} is still there, and costs money. To delete it: sam delete" in capfd.readouterr().out
        client("cloudformation").delete_stack(StackName=name)

    def test_though_aws_throttles_for_a_while(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nine times in a row, before it answers."""
        refusals = iter([True] * 9)
        throttling = (
            b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
        )

        def throttle(**_: Any) -> AWSResponse | None:
            return AWSResponse("", 400, HTTPHeaders(), MockRawResponse(throttling)) if next(refusals, False) else None

        def begins(deployment: Deployment) -> Verdict:
            assert isinstance(deployment.aws, Account)
            made = deployment.aws._client("cloudformation")
            made.meta.events.register_first("before-send.cloudformation.DescribeStacks", throttle)
            return run.holds(deployment)

        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        run.claims(good=begins)
        assert run.verify("--yes") == 0
        assert not next(refusals, False)

    def test_though_the_network_is_away_when_it_begins(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        real, failures = stack._status, iter([True, True])

        def status(*arguments: Any) -> str:
            if next(failures, False):
                raise EndpointConnectionError(endpoint_url="https://cloudformation.example")
            return real(*arguments)

        monkeypatch.setattr(stack, "_status", status)
        run.claims(good=run.holds)
        assert run.verify("--yes") == 0

    def test_though_the_report_cannot_be_written(self, run: Run, tmp_path: Path) -> None:
        run.claims(good=lambda _: (tmp_path / "report.json").mkdir() or judge({}))  # type: ignore[func-returns-value]
        assert run.verify("--yes") == 0


class TestLeftovers:
    def make(self, name: str, until: timedelta) -> None:
        tags = [{"Key": TAG, "Value": (datetime.now(UTC) + until).isoformat(timespec="seconds")}]
        body = json.dumps({"Resources": {}})
        client("cloudformation").create_stack(StackName=name, TemplateBody=body, Tags=tags)

    def test_of_runs_that_are_over_are_found_by_their_tag_and_deleted(self, run: Run) -> None:
        self.make(f"{PREFIX}old", timedelta(hours=-1))
        assert run.verify("--leftovers", "--yes") == 0
        assert run.commands == ["delete"]

    def test_of_a_run_that_may_be_under_way_are_named_and_left_alone(
        self, run: Run, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.make(f"{PREFIX}young", timedelta(hours=1))
        assert run.verify("--leftovers", "--yes") == 0
        assert f"The stack {PREFIX}young is of a run that will be over by" in capfd.readouterr().out
        assert stacks() == [f"{PREFIX}young"]
        client("cloudformation").delete_stack(StackName=f"{PREFIX}young")

    def test_are_stacks_of_ours_alone(self, run: Run) -> None:
        self.make("somebody-elses", timedelta(hours=-1))
        client("cloudformation").create_stack(StackName=f"{PREFIX}by-hand", TemplateBody='{"Resources": {}}')
        assert run.verify("--leftovers", "--yes") == 0
        assert run.commands == []
        for name in stacks():
            client("cloudformation").delete_stack(StackName=name)


def test_every_claim_is_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == [claim.id for claim in CLAIMS]
