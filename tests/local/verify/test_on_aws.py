"""What verify does and reads on AWS: in moto, and where moto has it not, against botocore's own models."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tests.local.verify.account import REGION, SESSION, VARIABLES, client
from tests.local.verify.sam_stand_in import _upload
from winterbourne.local.doctor.on_aws import Stack
from winterbourne.local.verify.deployment import Rollback
from winterbourne.local.verify.on_aws import DENIAL, Account

NAME = "winterbourne-verify-1"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ROLE = {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}}
FUNCTION = {
    "Role": {"Fn::GetAtt": ["ChatRole", "Arn"]},
    "Code": {"S3Bucket": "bucket", "S3Key": "key"},
    "Handler": "app.handler",
    "Runtime": "python3.13",
    "Environment": {"Variables": {"SETTINGS": "a=b"}},
}
RESOURCES = {
    "ChatRole": {"Type": "AWS::IAM::Role", "Properties": ROLE},
    "ChatLog": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/lambda/chat"}},
    "ChatFunction": {"Type": "AWS::Lambda::Function", "Properties": FUNCTION},
}
URL = "https://made-up.on.aws"


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class World:
    """A stack in moto, and the account that is tested."""

    def __init__(self) -> None:
        _upload(client("s3"), REGION)
        body = json.dumps({"Resources": RESOURCES, "Outputs": {"Url": {"Value": f"{URL}/"}}})
        client("cloudformation").create_stack(StackName=NAME, TemplateBody=body)
        self.clock, self.deployed = Clock(), list[Mapping[str, str]]()
        self.account = Account(
            Stack(NAME, client),
            self.deployed.append,
            lambda: Rollback("", ()),
            lambda: self.clock.seconds,
            self.clock.sleep,
        )
        self.function = {"FunctionName": Stack(NAME, client).physical_ids()["ChatFunction"]}

    @property
    def rounds(self) -> str:
        found = client("lambda").get_function_configuration(**self.function)["Environment"]["Variables"]
        assert found.pop("SETTINGS") == "a=b", "what was there stays"
        return str(found["VERIFY_ROUND"])

    def log(self, *lines: object) -> None:
        logs, stream = client("logs"), {"logGroupName": "/aws/lambda/chat", "logStreamName": "one"}
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_stream(**stream)
        moment = int(datetime.now(UTC).timestamp() * 1000)
        events = [{"timestamp": moment, "message": json.dumps(line)} for line in lines]
        logs.put_log_events(**stream, logEvents=events)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield World()


def report(name: str, **metrics: float) -> dict[str, Any]:
    """The line that Lambda writes of an invocation."""
    record = {"requestId": name, "status": "success", "metrics": {"durationMs": 12.5, "maxMemoryUsedMB": 90, **metrics}}
    return {"time": "2026-11-27T12:00:00.000Z", "type": "platform.report", "record": record}


class TestReports:
    def test_are_found_by_their_requests_in_the_order_that_is_asked_for(self, world: World) -> None:
        said = {"message": "platform.report is a word here"}
        world.log(report("r1", initDurationMs=410.2), said, report("r2", restoreDurationMs=320.0), report("r3"))
        restored, cold = world.account.reports(["r2", "r1"])
        assert (restored.request_id, restored.restore_ms, restored.init_ms) == ("r2", 320.0, None)
        assert (cold.request_id, cold.init_ms, cold.duration_ms, cold.memory_mb) == ("r1", 410.2, 12.5, 90)

    def test_are_not_looked_for_without_a_pause(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """CloudWatch Logs refuses who asks too often, and a line takes some seconds to get there."""
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            world.log(report("r1"))

        monkeypatch.setattr(world.account, "_sleep", sleep)
        assert world.account.reports(["r1"])
        assert slept == [2]

    def test_that_do_not_come_are_left_out_after_a_while(self, world: World) -> None:
        world.log(report("r1"))
        assert [each.request_id for each in world.account.reports(["r1", "r2"])] == ["r1"]
        assert world.clock.seconds >= 120


class TestNewEnvironments:
    def test_come_with_a_changed_variable(self, world: World) -> None:
        assert world.account.renew(snap_start=False) == URL
        first = world.rounds
        world.account.renew(snap_start=False)
        assert first != world.rounds
        assert world.deployed == []

    def test_come_from_a_snapshot_after_a_deployment_and_then_with_each_new_version(self, world: World) -> None:
        functions = client("lambda")
        functions.create_alias(**world.function, Name="live", FunctionVersion="$LATEST")
        world.account.renew(snap_start=True)
        assert [each["SnapStart"] for each in world.deployed] == ["PublishedVersions"]
        assert functions.get_alias(**world.function, Name="live")["FunctionVersion"] == "$LATEST"
        for version in ("1", "2"):
            world.account.renew(snap_start=True)
            assert functions.get_alias(**world.function, Name="live")["FunctionVersion"] == version
        world.account.renew(snap_start=False)
        assert [each["SnapStart"] for each in world.deployed] == ["PublishedVersions", "None"]


class TestMetrics:
    @pytest.mark.parametrize(
        ("namespace", "dimension"), [("Winterbourne", ("service", NAME)), ("AWS/Lambda", ("FunctionName", ""))]
    )
    def test_are_summed_up_between_two_minutes(self, world: World, namespace: str, dimension: tuple[str, str]) -> None:
        name, value = dimension
        dimensions = [{"Name": name, "Value": value or world.function["FunctionName"]}]
        for minute, number in ((-1, 8.0), (0, 1.0), (1, 2.0), (2, 16.0)):
            datum = {"MetricName": "Errors", "Dimensions": dimensions, "Value": number}
            when = NOW + timedelta(minutes=minute, seconds=5)
            client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[{**datum, "Timestamp": when}])
        end = NOW + timedelta(minutes=2)
        assert world.account.metric_sum("Errors", NOW, end, namespace=namespace) == 3.0
        assert world.account.metric_sum("Chats", NOW, end, namespace=namespace) is None


def alarm(name: str) -> dict[str, Any]:
    return {
        "LogicalResourceId": name,
        "PhysicalResourceId": f"{NAME}-{name}",
        "ResourceType": "AWS::CloudWatch::Alarm",
        "ResourceStatus": "CREATE_COMPLETE",
        "LastUpdatedTimestamp": NOW,
    }


def change(state: str) -> dict[str, Any]:
    return {"HistoryData": json.dumps({"version": "1.0", "newState": {"stateValue": state}})}


class TestAlarms:
    """Of which moto's CloudFormation has none, and no history."""

    @pytest.fixture
    def account(self) -> Iterator[Account]:
        clients: dict[str, Any] = {name: SESSION().client(name) for name in ("cloudformation", "cloudwatch")}
        listed, states = Stubber(clients["cloudformation"]), Stubber(clients["cloudwatch"])
        table = {**alarm("Conversations"), "ResourceType": "AWS::DynamoDB::Table"}
        listed.add_response(
            "list_stack_resources",
            {"StackResourceSummaries": [alarm("errors"), table, alarm("store")]},
            {"StackName": NAME},
        )
        states.add_response(
            "describe_alarms",
            {
                "MetricAlarms": [
                    {"AlarmName": f"{NAME}-errors", "StateValue": "OK"},
                    {"AlarmName": f"{NAME}-store", "StateValue": "ALARM"},
                ]
            },
            {"AlarmNames": [f"{NAME}-errors", f"{NAME}-store"]},
        )
        for name, changes in (("errors", ["ALARM", "OK"]), ("store", ["OK", "INSUFFICIENT_DATA"])):
            states.add_response(
                "describe_alarm_history",
                {"AlarmHistoryItems": [change(state) for state in changes]},
                {"AlarmName": f"{NAME}-{name}", "HistoryItemType": "StateUpdate", "StartDate": NOW},
            )
        with listed, states:
            yield Account(Stack(NAME, clients.__getitem__), lambda _: None, lambda: Rollback("", ()))

    def test_have_a_state_each_by_their_names_without_the_stacks(self, account: Account) -> None:
        assert account.alarm_states() == {"errors": "OK", "store": "ALARM"}

    def test_have_fired_if_they_came_into_alarm_even_if_they_are_over(self, account: Account) -> None:
        assert account.alarms_fired(NOW) == ["errors"]


class TestWhatIsTakenAway:
    """It comes back, also if the measurement breaks, or is interrupted."""

    @pytest.mark.parametrize(
        ("action", "condition"),
        [
            ("lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
            ("lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
        ],
    )
    def test_a_permission_of_the_url_with_its_condition(
        self, world: World, action: str, condition: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        functions = client("lambda")
        for name in ("InvokeFunctionUrl", "InvokeFunction"):
            statement = {"StatementId": f"anyone-{name}", "Action": f"lambda:{name}", "Principal": "*"}
            functions.add_permission(**world.function, **statement)
        added = remember(functions.add_permission)
        monkeypatch.setattr(functions, "add_permission", added)
        with interrupted(), world.account.without_url_permission(action):
            assert action not in permissions(world)
            signal.raise_signal(signal.SIGINT)
        assert permissions(world) == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
        statement = {"StatementId": f"anyone-{action[7:]}", "Action": action, "Principal": "*"}
        assert added.calls == [{**world.function, **statement, **condition}]

    def test_rights_of_the_role(self, world: World) -> None:
        role = {"RoleName": Stack(NAME, client).physical_ids()["ChatRole"]}
        with interrupted(), world.account.denied("dynamodb:*"):
            document = client("iam").get_role_policy(**role, PolicyName=DENIAL)["PolicyDocument"]
            assert document["Statement"] == [{"Effect": "Deny", "Action": ["dynamodb:*"], "Resource": "*"}]
            signal.raise_signal(signal.SIGINT)
        assert client("iam").list_role_policies(**role)["PolicyNames"] == []

    @pytest.mark.parametrize("before", [None, 40])
    def test_concurrency(self, world: World, before: int | None) -> None:
        functions = client("lambda")
        if before:
            functions.put_function_concurrency(**world.function, ReservedConcurrentExecutions=before)
        with interrupted(), world.account.concurrency(0):
            assert functions.get_function_concurrency(**world.function)["ReservedConcurrentExecutions"] == 0
            signal.raise_signal(signal.SIGINT)
        assert functions.get_function_concurrency(**world.function).get("ReservedConcurrentExecutions") == before


def interrupted() -> Any:
    return contextlib.suppress(KeyboardInterrupt)


class remember:  # noqa: N801 - used as a function
    """Calls a function, and keeps what it was called with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.calls = function, list[dict[str, Any]]()

    def __call__(self, **given: Any) -> Any:
        self.calls.append(given)
        return self._function(**given)


def permissions(world: World) -> set[str]:
    policy = json.loads(client("lambda").get_policy(**world.function)["Policy"])
    return {statement["Action"] for statement in policy["Statement"]}
