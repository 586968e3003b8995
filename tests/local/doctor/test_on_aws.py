"""Doctor checks with AWS credentials: our own template deployed to moto, with one fault at a time."""

import functools
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from tests.stack import Stack, source, template_of
from winterbourne.local.doctor import __main__ as command
from winterbourne.local.doctor import on_aws
from winterbourne.local.doctor.findings import Finding

NAME = "winterbourne-dev"
REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/chat"
FUNCTION = f"arn:aws:lambda:{REGION}:123456789012:function:chat"

SESSION = functools.cache(lambda: boto3.Session(region_name=REGION))
"""One for all tests: each new one reads the models of all services again."""


class Deployment:
    """One stack in moto, healthy until a test breaks it; what moto's CloudFormation lacks, API calls create."""

    def __init__(self) -> None:
        self.client: Any = functools.cache(SESSION().client)
        self.awslambda = self.client("lambda")
        self.stack = on_aws.Stack(NAME, self.client)
        self.keys = self.client("secretsmanager").create_secret(Name="keys", SecretString='{"first": "k-1"}')["ARN"]
        self.client("iam").create_role(RoleName="chat", AssumeRolePolicyDocument="{}")
        self.client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("s3").put_object(Bucket="bucket", Key="key", Body=_zip())
        self.client("cloudwatch").put_metric_alarm(**_alarm("errors"))

    def deploy(self, door: str = "url", /, **parameters: str) -> None:
        template = {
            "Parameters": source(template_of(door))["Parameters"],
            "Resources": self._resources(Stack(template_of(door), **parameters)),
            "Outputs": {"Url": {"Value": "https://x.on.aws/"}},
        }
        given = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
        self.client("cloudformation").create_stack(StackName=NAME, TemplateBody=json.dumps(template), Parameters=given)
        self.function = self.stack.physical_ids()["ChatFunction"]
        layers = [self._layer("runtime"), self._layer("dependencies")]
        self.awslambda.update_function_configuration(FunctionName=self.function, Layers=layers)
        (self.open_url if door == "url" else self.open_api)()
        self.set_expiry(enabled=True)

    def set_expiry(self, *, enabled: bool) -> None:
        self.client("dynamodb").update_time_to_live(
            TableName=self.stack.physical_ids()["Conversations"],
            TimeToLiveSpecification={"Enabled": enabled, "AttributeName": "expires_at_s"},
        )

    def _resources(self, ours: Stack) -> dict[str, Any]:
        resources = {name: ours.resources[name] for name in ("ChatFunction", "Conversations")}
        if "ChatApi" in ours.resources:
            resources["ChatApi"] = {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "chat"}}
        function = resources["ChatFunction"]["Properties"]
        function["Role"] = ROLE
        function.pop("SnapStart")
        function["Environment"]["Variables"]["API_KEYS_SECRET_ARN"] = self.keys
        return resources

    def _layer(self, name: str) -> str:
        return str(self.awslambda.publish_layer_version(LayerName=name, Content={"ZipFile": _zip()})["LayerVersionArn"])

    def open_url(self, mode: str = "RESPONSE_STREAM") -> None:
        self.awslambda.create_function_url_config(FunctionName=self.function, AuthType="NONE", InvokeMode=mode)
        for action in on_aws.REQUIRED_ACTIONS:
            self.awslambda.add_permission(
                FunctionName=self.function, StatementId=action[7:], Action=action, Principal="*"
            )

    def open_api(self) -> None:
        """The methods that the template's definition has, of which moto's CloudFormation reads none."""
        definition = Stack(template_of("rest")).properties("ChatApi")["Body"]
        method = definition["paths"]["/"]["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
        self.set_integration(method["uri"].replace("<ChatFunction.Arn>", FUNCTION))
        action = {"StatementId": "InvokeFunction", "Action": "lambda:InvokeFunction"}
        self.awslambda.add_permission(FunctionName=self.function, Principal="apigateway.amazonaws.com", **action)

    def set_integration(self, uri: str) -> None:
        api, client = self.stack.physical_ids()["ChatApi"], self.client("apigateway")
        (root,) = client.get_resources(restApiId=api)["items"]
        place = {"restApiId": api, "resourceId": root["id"], "httpMethod": "ANY"}
        client.put_method(**place, authorizationType="NONE")
        client.put_integration(**place, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)

    def run_checks_by_subject(self) -> dict[str, Finding]:
        return {f.subject: f for f in on_aws.run_checks(self.stack)}


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", "")
    return packed.getvalue()


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "moto")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield Deployment()


def _alarm(name: str) -> dict[str, Any]:
    return {
        "AlarmName": f"{NAME}-{name}",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "MetricName": "Errors",
        "Namespace": "Winterbourne",
        "Period": 60,
        "Statistic": "Sum",
        "Threshold": 1.0,
    }


@pytest.fixture
def healthy(deployment: Deployment) -> Deployment:
    deployment.deploy()
    return deployment


class TestAHealthyDeployment:
    def test_has_nothing_wrong(self, healthy: Deployment) -> None:
        found = healthy.run_checks_by_subject()
        assert [f for f in found.values() if f.state != "ok"] == []
        assert set(found) == {"stack", "function", "url", "permissions", "keys", "table", "alarms"}

    def test_gives_its_url_and_its_first_key_to_the_checks_of_the_url(self, healthy: Deployment) -> None:
        assert on_aws.public_url(healthy.stack) == "https://x.on.aws"
        assert on_aws.api_key(healthy.stack) == "k-1"


class TestARestApi:
    def test_that_is_healthy_has_nothing_wrong(self, deployment: Deployment) -> None:
        deployment.deploy("rest")
        found = deployment.run_checks_by_subject()
        assert [f for f in found.values() if f.state != "ok"] == []
        assert set(found) == {"stack", "function", "api", "permissions", "keys", "table", "alarms"}

    def test_that_waits_for_the_whole_response_is_wrong(self, deployment: Deployment) -> None:
        deployment.deploy("rest")
        buffered = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
        deployment.set_integration(buffered)
        assert deployment.run_checks_by_subject()["api"].state == "wrong"

    @pytest.mark.parametrize("auth", ["", "iam"])
    def test_that_may_not_call_the_function_is_wrong_whoever_checks_the_callers(
        self, deployment: Deployment, auth: str
    ) -> None:
        deployment.deploy("rest", Auth=auth)
        deployment.awslambda.remove_permission(FunctionName=deployment.function, StatementId="InvokeFunction")
        assert "the API also needs lambda:InvokeFunction" in deployment.run_checks_by_subject()["permissions"].message


class TestCallsThatMustBeSigned:
    @pytest.mark.parametrize(
        "parameters",
        [{"Auth": "iam"}, {"CloudFrontDistributionArn": "arn:aws:cloudfront::123456789012:distribution/E1"}],
    )
    def test_are_not_made(
        self, deployment: Deployment, capsys: pytest.CaptureFixture[str], parameters: dict[str, str]
    ) -> None:
        deployment.deploy(**parameters)
        assert on_aws.public_url(deployment.stack) == ""
        command.main(["--stack", NAME, "--region", REGION])
        assert "there is no URL that accepts unsigned requests" in capsys.readouterr().out


class TestTheStack:
    def test_is_not_there(self, deployment: Deployment) -> None:
        (finding,) = deployment.run_checks_by_subject().values()
        assert finding.state == "wrong"
        assert "make deploy" in finding.fix

    @pytest.mark.parametrize(
        ("status", "state"),
        [("UPDATE_COMPLETE", "ok"), ("UPDATE_ROLLBACK_COMPLETE", "wrong"), ("UPDATE_IN_PROGRESS", "unknown")],
    )
    def test_is_checked_by_its_status(self, healthy: Deployment, status: str, state: str) -> None:
        from moto.backends import get_backend

        backend = get_backend("cloudformation")["123456789012"][REGION]
        next(iter(backend.stacks.values())).status = status
        assert healthy.run_checks_by_subject()["stack"].state == state

    def test_is_unknown_without_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        (finding,) = on_aws.run_checks(on_aws.Stack(NAME, boto3.Session(region_name=REGION).client))  # type: ignore[arg-type]  # boto3 declares overloads
        assert "AWS_PROFILE" in finding.fix


class TestTheFunction:
    def test_without_the_runtime_layer_cannot_stream(self, healthy: Deployment) -> None:
        healthy.awslambda.update_function_configuration(FunctionName=healthy.function, Environment={"Variables": {}})
        assert healthy.run_checks_by_subject()["function"].state == "wrong"

    def test_url_that_buffers_is_wrong(self, healthy: Deployment) -> None:
        healthy.awslambda.delete_function_url_config(FunctionName=healthy.function)
        healthy.awslambda.create_function_url_config(FunctionName=healthy.function, AuthType="NONE")
        assert healthy.run_checks_by_subject()["url"].state == "wrong"

    def test_url_that_is_missing_is_wrong(self, healthy: Deployment) -> None:
        healthy.awslambda.delete_function_url_config(FunctionName=healthy.function)
        assert healthy.run_checks_by_subject()["url"].fix == "make deploy"

    @pytest.mark.parametrize("action", on_aws.REQUIRED_ACTIONS)
    def test_each_missing_permission_is_named(self, healthy: Deployment, action: str) -> None:
        healthy.awslambda.remove_permission(FunctionName=healthy.function, StatementId=action[7:])
        assert f"also needs {action}" in healthy.run_checks_by_subject()["permissions"].message

    def test_snapshot_older_than_the_configuration_is_wrong(self, deployment: Deployment) -> None:
        deployment.deploy(SnapStart="PublishedVersions")
        version = deployment.awslambda.publish_version(FunctionName=deployment.function)["Version"]
        deployment.awslambda.create_alias(FunctionName=deployment.function, Name="live", FunctionVersion=version)
        assert deployment.run_checks_by_subject()["snapshot"].state == "ok"
        deployment.awslambda.update_function_configuration(FunctionName=deployment.function, Timeout=60)
        assert "Release" in deployment.run_checks_by_subject()["snapshot"].fix


class TestSecrets:
    @pytest.mark.parametrize("text", ["{}", "sesame"])
    def test_keys_that_nobody_can_use_are_wrong(self, healthy: Deployment, text: str) -> None:
        healthy.client("secretsmanager").put_secret_value(SecretId=healthy.keys, SecretString=text)
        assert healthy.run_checks_by_subject()["keys"].state == "wrong"
        assert on_aws.api_key(healthy.stack) == ""

    @pytest.mark.parametrize("parameter", ["ModelApiKeySecretArn", "OpenAiApiKeySecretArn", "AnthropicApiKeySecretArn"])
    def test_a_missing_model_key_is_wrong(self, deployment: Deployment, parameter: str) -> None:
        arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
        deployment.deploy(**{parameter: arn})
        assert deployment.run_checks_by_subject()["model key"].state == "wrong"

    def test_a_model_key_that_exists_is_not_wrong(self, deployment: Deployment) -> None:
        arn = deployment.client("secretsmanager").create_secret(Name="model", SecretString="k")["ARN"]
        deployment.deploy(ModelApiKeySecretArn=arn)
        assert deployment.run_checks_by_subject()["model key"].state == "ok"


class TestSettings:
    def test_of_the_parameter_settings_are_checked_like_variables(self, deployment: Deployment) -> None:
        arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
        deployment.deploy(Settings=f"MAX_TURNS=6;MODEL_API_KEY_SECRET_ARN={arn}")
        assert deployment.run_checks_by_subject()["model key"].state == "wrong"

    def test_with_which_the_function_cannot_start_are_named_without_their_values(self, deployment: Deployment) -> None:
        deployment.deploy(Settings="MAX_TURNS=6;sesame")
        finding = deployment.run_checks_by_subject()["settings"]
        assert finding.state == "wrong"
        assert "entry 2" in finding.message
        assert "sesame" not in finding.message
        assert on_aws.api_key(deployment.stack) == ""


class TestTableAndAlarms:
    def test_a_table_without_expiry_is_wrong(self, healthy: Deployment) -> None:
        healthy.set_expiry(enabled=False)
        assert healthy.run_checks_by_subject()["table"].state == "wrong"

    def test_a_raised_alarm_links_to_its_documentation(self, healthy: Deployment) -> None:
        healthy.client("cloudwatch").set_alarm_state(
            AlarmName=f"{NAME}-errors", StateValue="ALARM", StateReason="a test"
        )
        assert healthy.run_checks_by_subject()["alarms"].fix == "docs/how-to/operate.md#errors"


def test_a_check_that_cannot_reach_aws_is_unknown_and_stops_nothing() -> None:
    def unreachable() -> Finding:
        raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")

    (finding,) = on_aws._run_check("table", unreachable)
    assert (finding.subject, finding.state) == ("table", "unknown")
    assert "https://dynamodb.invalid" in finding.message


class TestTheCommand:
    def test_ends_with_one_and_says_what_to_do(
        self, deployment: Deployment, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["--stack", NAME, "--region", REGION]) == 1
        assert "→ make deploy" in capsys.readouterr().out

    def test_explains_itself(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="0"):
            command.main(["--help"])
        assert "how to fix it" in capsys.readouterr().out
