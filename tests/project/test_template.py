"""`template.yaml`, and that of a REST API: resources, permissions, alarms, outputs; stages in `samconfig.toml`.

All holds for either door but what is marked otherwise; the REST API itself is in `test_doors`.
"""

import fnmatch
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import boto3
import openai
import pytest
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto import mock_aws
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig

from chat.tools import worker
from tests.artifact import BIN
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.chat.test_app import make_service
from tests.chat.test_way import ANSWER, CALL, add
from tests.cloudwatch import Metrics, Rules, episodes
from tests.stack import ROOT, Stack, source, template_of
from tests.upstream import saying, upstream
from winterbourne import lifecycle
from winterbourne.chat.http import cors
from winterbourne.chat.infra import http_pool, telemetry
from winterbourne.chat.providers import bedrock
from winterbourne.chat.providers.provider_config import parse_guardrail
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.chat.settings_variable import unpack_settings
from winterbourne.chat.storage import dynamodb, stop_signals
from winterbourne.chat.tool_runtime.approvals import MIN_KEY_CHARS
from winterbourne.chat.tool_runtime.discovery import discover
from winterbourne.log_formats import error_as_json

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:model-key-AbCdEf"
OTHER_SECRET = "arn:aws:ssm:eu-central-1:123456789012:parameter/shop/key"


@pytest.fixture(autouse=True, params=["url", "rest"])
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose template is meant in a test."""
    monkeypatch.setattr("tests.stack.TEMPLATE", template_of(request.param))
    return str(request.param)


EVERY_ALARM = {"Stage": "prod", "ToolWorkerMemorySize": "512"}
URLS = {
    "url": "<ChatUrl.FunctionUrl>",
    "rest": "https://<ChatApi>.execute-api.eu-central-1.amazonaws.com/<ChatApiv1Stage>/",
}
OF_THE_URL = pytest.mark.parametrize("door", ["url"], indirect=True)


@pytest.fixture
def stack(door: str) -> Stack:
    """The default deployment: no parameter is set."""
    return Stack()


def statements(stack: Stack) -> list[dict[str, Any]]:
    return [s for policy in stack.properties("ChatRole")["Policies"] for s in policy["PolicyDocument"]["Statement"]]


def variables(stack: Stack, function: str = "ChatFunction") -> dict[str, str]:
    return {n: str(v) for n, v in stack.properties(function)["Environment"]["Variables"].items()}


def settings_of(stack: Stack, function: str = "ChatFunction") -> Settings:
    """What the engine reads from the variables of a function."""
    environ = variables(stack, function)
    unpack_settings(environ)
    return Settings.from_environment(environ)


@OF_THE_URL
class TestFunctionUrl:
    def test_streams(self, stack: Stack) -> None:
        assert stack.properties("ChatUrl")["InvokeMode"] == "RESPONSE_STREAM"

    @pytest.mark.parametrize(
        ("snap_start", "target"), [("None", "<ChatFunction>"), ("PublishedVersions", "<ChatFunctionAliaslive>")]
    )
    def test_has_both_permissions_a_public_url_needs_on_its_target(self, snap_start: str, target: str) -> None:
        stack = Stack(SnapStart=snap_start)
        common = {"FunctionName": target, "Principal": "*"}
        assert list(stack.of_type("AWS::Lambda::Permission").values()) == [
            {"Action": "lambda:InvokeFunctionUrl", **common, "FunctionUrlAuthType": "NONE"},
            {"Action": "lambda:InvokeFunction", **common, "InvokedViaFunctionUrl": True},
        ]
        assert stack.properties("ChatUrl")["TargetFunctionArn"] == target

    def test_requires_an_api_key_by_default(self, stack: Stack) -> None:
        assert settings_of(stack).auth.auth == "api_key"
        assert variables(stack)["API_KEYS_SECRET_ARN"] == "<ApiKeys>"

    def test_is_not_public_with_iam_authentication(self) -> None:
        stack = Stack(Auth="iam")
        assert stack.properties("ChatUrl")["AuthType"] == "AWS_IAM"
        assert not stack.of_type("AWS::Lambda::Permission")
        assert "ApiKeys" not in stack.resources

    def test_admits_only_the_cloudfront_distribution_that_is_configured(self) -> None:
        arn = "arn:aws:cloudfront::123456789012:distribution/E1"
        stack = Stack(CloudFrontDistributionArn=arn)
        assert stack.properties("ChatUrl")["AuthType"] == "AWS_IAM"
        permissions = stack.of_type("AWS::Lambda::Permission").values()
        assert {(p["Principal"], p["SourceArn"]) for p in permissions} == {("cloudfront.amazonaws.com", arn)}
        assert [p["Action"] for p in permissions] == ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
        assert settings_of(stack).auth.auth == "api_key", "who calls CloudFront is still ours to check"


@OF_THE_URL
class TestCors:
    def test_no_other_origin_may_call_by_default(self, stack: Stack) -> None:
        assert "Cors" not in stack.properties("ChatUrl")

    def test_configured_origins_may(self) -> None:
        url = Stack(AllowedOrigins="https://a.example,https://b.example").properties("ChatUrl")["Cors"]
        assert url["AllowOrigins"] == ["https://a.example", "https://b.example"]
        assert {"content-type", "authorization", "last-event-id", "x-amz-content-sha256", "x-api-key"} <= set(
            url["AllowHeaders"]
        )

    def test_allows_the_headers_of_the_clients_we_support(self) -> None:
        url = Stack(AllowedOrigins="https://a.example").properties("ChatUrl")["Cors"]
        sdk_headers = {name.lower() for name in openai.OpenAI(api_key="k").default_headers if name.startswith("X-")}
        # Only Python's SDK sends whether it is async; a browser's does not.
        assert sdk_headers - {"x-stainless-async"} <= set(url["AllowHeaders"])

    def test_allows_the_headers_of_a_page_that_signs(self) -> None:
        url = Stack(AllowedOrigins="https://a.example", Auth="iam").properties("ChatUrl")["Cors"]
        request = AWSRequest("POST", "https://x.lambda-url.eu-central-1.on.aws/chat", data="{}")
        SigV4Auth(Credentials("key", "secret", "token"), "lambda", "eu-central-1").add_auth(request)
        assert {name.lower() for name in request.headers} <= set(url["AllowHeaders"])

    def test_is_what_the_chat_says_through_doors_that_leave_it_to_the_chat(self) -> None:
        url = Stack(AllowedOrigins="https://a.example").properties("ChatUrl")["Cors"]
        assert {
            "access-control-allow-methods": ",".join(url["AllowMethods"]),
            "access-control-allow-headers": ",".join(url["AllowHeaders"]),
            "access-control-max-age": str(url["MaxAge"]),
        } == cors.PREFLIGHT
        assert {"access-control-expose-headers": ",".join(url["ExposeHeaders"])} == cors.RESPONSE

    def test_is_said_by_one_module_of_ours(self) -> None:
        our_sources = [*(ROOT / "functions").rglob("*.py"), *(ROOT / "layers").rglob("*.py")]
        deployed = (path for path in our_sources if "local" not in path.parts)
        assert [path.name for path in deployed if "access-control-allow" in path.read_text().lower()] == ["cors.py"]


class TestFunction:
    def test_runs_on_arm64_or_the_configured_architecture(self, stack: Stack) -> None:
        assert stack.properties("ChatFunction")["Architectures"] == ["arm64"]
        x86 = Stack(Architecture="x86_64")
        assert x86.properties("ChatFunction")["Architectures"] == ["x86_64"]
        dependencies = next(p for n, p in x86.of_type("AWS::Lambda::LayerVersion").items() if "Dependencies" in n)
        assert dependencies["CompatibleArchitectures"] == ["x86_64"]

    def test_is_started_by_our_layer_on_the_managed_runtime(self, stack: Stack) -> None:
        function = stack.properties("ChatFunction")
        assert (function["Runtime"], function["Handler"]) == ("python3.14", "chat.app.handler")
        assert variables(stack)["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/winterbourne"
        assert len(function["Layers"]) == 2

    def test_reserves_concurrency_only_if_configured(self, stack: Stack) -> None:
        assert "ReservedConcurrentExecutions" not in stack.properties("ChatFunction")
        assert Stack(ReservedConcurrency="20").properties("ChatFunction")["ReservedConcurrentExecutions"] == "20"
        assert Stack(ReservedConcurrency="0").properties("ChatFunction")["ReservedConcurrentExecutions"] == "0"

    @pytest.mark.parametrize("choice", ["None", "PublishedVersions"])
    def test_starts_from_a_snapshot_if_configured(self, choice: str) -> None:
        assert Stack(SnapStart=choice).properties("ChatFunction")["SnapStart"] == {"ApplyOn": choice}

    def test_takes_a_new_snapshot_for_a_new_release(self) -> None:
        stack = Stack(SnapStart="PublishedVersions", Release="7")
        (version,) = stack.of_type("AWS::Lambda::Version").values()
        assert version["Description"] == "7"
        assert "release 7" in stack.properties("ChatFunction")["Description"], "Lambda publishes only what has changed"

    @pytest.mark.parametrize("layer", ["WinterbourneLayer", "DependenciesLayer"])
    def test_takes_a_new_snapshot_for_a_new_layer(self, layer: str) -> None:
        assert source()["Resources"][layer]["Properties"]["PublishLambdaVersion"] is True

    @pytest.mark.parametrize(
        ("provider", "auth"), [("bedrock", "api_key"), ("openai", "jwt"), ("anthropic", "iam"), ("scripted", "none")]
    )
    def test_can_parse_every_variable_it_is_given(self, provider: str, auth: str) -> None:
        tokens = {"JwtIssuer": "https://i.example", "JwtAudience": "us"}
        environment = variables(Stack(ModelProvider=provider, Auth=auth, ModelApiKeySecretArn=SECRET, **tokens))
        settings = Settings.from_environment(environment)
        assert (settings.model.model_provider, settings.auth.auth) == (provider, auth)
        assert set(environment) - {"AWS_LAMBDA_EXEC_WRAPPER", "SETTINGS"} <= VARIABLES


# What the stack and Lambda give the function themselves.
GIVEN = {"STORE", "SERVICE_NAME", "METRICS", "API_KEYS_SECRET_ARN", "SIGNING_KEY_SECRET_ARN", "AWS_REGION"}
# A value other than the default, for those settings for which neither a number nor any text will do.
CHOICES = {
    "ASGI_DOOR": "agentcore",
    "COMPACTION": "off",
    "KEEP": "always",
    "LOG_MESSAGES": "true",
    "LOG_CLIENTS": "false",
    "ERROR_TRAILERS": "true",
    "MCP_ENDPOINT": "off",
    "MODEL_CACHE": "1h",
    "MODEL_REASONING": "low",
    "ON_DISCONNECT": "run",
    "OPENAI_API": "chat",
    "OTEL_TRACES_SAMPLER_ARG": "0.5",
    "SHOW_REASONING": "false",
    "SYSTEM_PROMPT_FROM_REQUEST": "false",
}


def another_value(name: str) -> str:
    default = Settings().values()[name]
    number = str(default + 1) if isinstance(default, int) else "1.5"
    return CHOICES.get(name) or ("a=b; “c”" if isinstance(default, str) else number)


def test_conversations_are_kept_in_the_stacks_table_or_where_the_parameter_says(stack: Stack) -> None:
    assert variables(stack)["STORE"] == "dynamodb:<Conversations>"
    assert variables(Stack(Store="ledger:/mnt/chats"))["STORE"] == "ledger:/mnt/chats"


class TestTracing:
    def test_is_off_by_default(self, stack: Stack) -> None:
        assert settings_of(stack).traces.otel_exporter_otlp_endpoint == ""
        assert not [each for each in statements(stack) if "xray:PutTraceSegments" in each["Action"]]

    def test_to_xray_goes_to_its_endpoint_in_this_region_with_the_rights_that_aws_names(self) -> None:
        stack = Stack(Tracing="xray")
        assert settings_of(stack).traces.otel_exporter_otlp_endpoint == "https://xray.eu-central-1.amazonaws.com"
        assert [each["Resource"] for each in statements(stack) if each["Action"] == "xray:PutTraceSegments"] == ["*"]

    def test_to_another_collector_needs_no_rights(self) -> None:
        stack = Stack(Tracing="https://otlp.example:4318")
        assert settings_of(stack).traces.otel_exporter_otlp_endpoint == "https://otlp.example:4318"
        assert not [each for each in statements(stack) if "xray:PutTraceSegments" in each["Action"]]


class TestSettings:
    """What has no parameter of its own goes into the parameter Settings."""

    @pytest.mark.parametrize("name", sorted(VARIABLES - GIVEN))
    def test_each_can_be_deployed_without_changing_the_template(self, name: str) -> None:
        value = another_value(name)
        read = settings_of(Stack(Settings=f"A=1;{name}={value.replace(';', ';;')};B=2")).values()
        assert str(read[name]).lower() == value
        assert read[name] != Settings().values()[name]

    def test_all_can_be_deployed_together(self) -> None:
        values = {name: another_value(name) for name in VARIABLES - GIVEN}
        read = settings_of(Stack(Settings=";".join(f"{n}={v.replace(';', ';;')}" for n, v in values.items()))).values()
        assert {name: str(read[name]).lower() for name in values} == values

    @pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
    def test_the_base_url_is_that_of_the_chosen_provider_and_no_fallbacks(self, provider: str) -> None:
        url = "https://models.example/v1"
        environ = variables(Stack(ModelProvider=provider, ModelBaseUrl=url))
        given = {name for name, value in environ.items() if value == url}
        assert given == {f"{provider.upper()}_BASE_URL"}

    def test_of_the_tool_worker_are_its_own(self) -> None:
        stack = Stack(ToolWorkerMemorySize="1024", ToolWorkerSettings="TOOL_CONCURRENCY=3", Settings="MAX_TURNS=4")
        worker_settings = settings_of(stack, "ToolWorkerFunction")
        assert worker_settings.tools.tool_concurrency == 3
        assert worker_settings.stream.max_turns == Settings().stream.max_turns
        assert worker_settings.log.service_name == "winterbourne-dev-worker"

    def test_do_not_change_what_a_parameter_or_the_stack_sets(self) -> None:
        stack = Stack(ModelId="a", Settings="MODEL_ID=b;STORE=memory;SERVICE_NAME=c")
        read = settings_of(stack)
        assert read.model.model_id == "a"
        assert read.storage.store == "dynamodb:<Conversations>"
        assert read.log.service_name == "winterbourne-dev"

    def test_of_the_chat_are_as_its_code_says_where_no_parameter_is_named(self, stack: Stack) -> None:
        own = {
            "SERVICE_NAME",
            "METRICS",
            "STORE",
            "API_KEYS_SECRET_ARN",
            "SIGNING_KEY_SECRET_ARN",
            "AWS_LAMBDA_EXEC_WRAPPER",
        }
        assert {name for name, value in variables(stack).items() if value} == own

    def test_take_providers_and_auth_schemes_of_your_own(self) -> None:
        stack = Stack(ModelProvider="acme", Auth="header")
        assert stack.refusals == []
        assert all(fits(name, stack.parameters[name]) for name in ("ModelProvider", "Auth"))
        assert (variables(stack)["MODEL_PROVIDER"], variables(stack)["AUTH"]) == ("acme", "header")
        assert "ApiKeys" not in stack.resources
        assert "bedrock" not in json.dumps(statements(stack))

    def test_keep_the_meaning_of_the_values_an_older_stack_has(self) -> None:
        """CloudFormation keeps the values of the parameters that nobody names."""
        older = Stack(ModelProvider="bedrock", Auth="api_key", RequestsPerMinute="60", TokensPerDay="1000000")
        read = settings_of(older)
        assert read.model.model_provider == "bedrock"
        assert (read.limits.limit_requests_per_minute, read.limits.limit_tokens_per_day) == (60, 1_000_000)
        assert statements(older) == statements(Stack())
        assert all(fits(name, older.parameters[name]) for name in older.parameters)


class TestPermissions:
    def test_of_the_default_deployment_are_these(self, stack: Stack) -> None:
        assert [(s["Action"], s["Resource"]) for s in statements(stack)[:5]] == [
            (["logs:CreateLogStream", "logs:PutLogEvents"], "<ChatLog.Arn>"),
            (dynamodb_actions_used(), "<Conversations.Arn>"),
            ("dynamodb:Query", f"<Conversations.Arn>/index/{dynamodb.INDEX}"),
            ("secretsmanager:GetSecretValue", "<ApiKeys>"),
            ("secretsmanager:GetSecretValue", "<SigningKey>"),
        ]

    def test_bedrock_may_be_called_for_the_configured_model_only(self) -> None:
        direct, through_profile = statements(Stack(ModelId="us.amazon.nova-pro-v1:0"))[-2:]
        profile = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0"
        assert direct["Resource"] == [
            "arn:aws:bedrock:eu-central-1::foundation-model/us.amazon.nova-pro-v1:0",
            profile,
        ]
        assert through_profile["Condition"] == {"StringLike": {"bedrock:InferenceProfileArn": [profile]}}
        assert direct["Action"] == through_profile["Action"] == "bedrock:InvokeModelWithResponseStream"

    @pytest.mark.parametrize("provider", ["", "bedrock"])
    def test_bedrock_may_be_called_for_the_functions_default_model(self, provider: str) -> None:
        stack = Stack(ModelProvider=provider)
        assert variables(stack)["MODEL_ID"] == "", "that of app.py or the provider's default"
        assert statements(stack)[-2]["Resource"][1].endswith(f":inference-profile/{bedrock.DEFAULT_MODEL}")

    def test_bedrock_may_be_called_for_models_that_only_the_code_or_a_setting_names(self) -> None:
        direct, through_profile = statements(Stack(BedrockModels="*anthropic.claude-*"))[-2:]
        here = "arn:aws:bedrock:eu-central-1:"
        own = f"{here}123456789012:inference-profile/"
        assert direct["Resource"] == [
            f"{here}:foundation-model/{bedrock.DEFAULT_MODEL}",
            f"{own}{bedrock.DEFAULT_MODEL}",
            f"{here}:foundation-model/*anthropic.claude-*",
            f"{own}*anthropic.claude-*",
        ]
        profiles = [f"{own}{bedrock.DEFAULT_MODEL}", f"{own}*anthropic.claude-*"]
        assert through_profile["Condition"] == {"StringLike": {"bedrock:InferenceProfileArn": profiles}}

    @pytest.mark.parametrize("provider", ["openai", "anthropic", "scripted"])
    def test_bedrock_may_not_be_called_if_another_provider_is_configured(self, provider: str) -> None:
        assert "bedrock" not in json.dumps(statements(Stack(ModelProvider=provider, ModelApiKeySecretArn=SECRET)))

    def test_the_model_api_key_is_the_only_other_readable_secret(self, stack: Stack) -> None:
        readable = [
            s["Resource"] for s in statements(Stack(ModelApiKeySecretArn=SECRET)) if "secret" in str(s["Action"])
        ]
        own = ["<ApiKeys>", "<SigningKey>"]
        assert readable == [*own, SECRET]
        assert [s["Resource"] for s in statements(stack) if "secret" in str(s["Action"])] == own

    def test_other_secrets_can_be_read_if_they_are_named_and_no_others(self) -> None:
        stack = Stack(SecretArns=f"{SECRET},{OTHER_SECRET}")
        (policy,) = [p for p in stack.properties("ChatRole")["Policies"] if p["PolicyName"] == "read-its-other-secrets"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Action"] == ["secretsmanager:GetSecretValue", "ssm:GetParameter"]
        assert statement["Resource"] == [SECRET, OTHER_SECRET]

    @pytest.mark.parametrize(
        "name", [*sorted(name for name in VARIABLES - GIVEN if name.endswith("_SECRET_ARN")), "SHOP_API_KEY"]
    )
    def test_every_secret_that_a_setting_or_a_tool_names_can_be_read(self, name: str) -> None:
        stack = Stack(Auth="none", Settings=f"{name}={OTHER_SECRET}", SecretArns=OTHER_SECRET)
        environ = variables(stack)
        unpack_settings(environ)
        readable = [s["Resource"] for s in statements(stack) if "ssm:GetParameter" in s["Action"]]
        assert readable == [[environ[name]]]

    def test_the_keys_of_fallbacks_can_be_read_where_their_parameters_name_them(self) -> None:
        names = ["OpenAiApiKeySecretArn", "AnthropicApiKeySecretArn"]
        for chosen in (names, names[:1], names[1:]):
            stack = Stack(**dict.fromkeys(chosen, OTHER_SECRET))
            readable = [s["Resource"] for s in statements(stack) if "ssm:GetParameter" in s["Action"]]
            assert readable == [[OTHER_SECRET] * len(chosen)]
        model = settings_of(Stack(OpenAiApiKeySecretArn=SECRET, AnthropicApiKeySecretArn=OTHER_SECRET)).model
        assert (model.openai_api_key_secret_arn, model.anthropic_api_key_secret_arn) == (SECRET, OTHER_SECRET)

    def test_bedrock_may_be_called_as_a_fallback_for_the_models_that_are_named(self) -> None:
        named = {"ModelProvider": "anthropic", "ModelApiKeySecretArn": SECRET, "BedrockModels": "*anthropic.claude-*"}
        stack = Stack(**named, ModelFallback="bedrock:global.anthropic.claude-haiku-4-5")
        assert settings_of(stack).model.model_fallback == "bedrock:global.anthropic.claude-haiku-4-5"
        allowed = next(s for s in statements(stack) if s["Action"] == "bedrock:InvokeModelWithResponseStream")
        assert any(resource.endswith("foundation-model/*anthropic.claude-*") for resource in allowed["Resource"])

    def test_only_the_named_guardrail_may_be_applied(self, stack: Stack) -> None:
        assert "bedrock:ApplyGuardrail" not in json.dumps(statements(stack))
        guarded = Stack(BedrockGuardrail="g1x2:7:async")
        (allowed,) = [s for s in statements(guarded) if s["Action"] == "bedrock:ApplyGuardrail"]
        assert allowed["Resource"] == "arn:aws:bedrock:eu-central-1:123456789012:guardrail/g1x2"
        assert parse_guardrail(settings_of(guarded).model.bedrock_guardrail)

    def test_the_tool_worker_may_read_the_secrets_that_are_named_for_it(self) -> None:
        stack = Stack(ToolWorkerMemorySize="1024", ToolWorkerSecretArns=SECRET)
        policies = {p["PolicyName"]: p["PolicyDocument"] for p in stack.properties("ToolWorkerRole")["Policies"]}
        assert policies["read-its-secrets"]["Statement"][0]["Resource"] == [SECRET]
        assert SECRET not in json.dumps(statements(stack))

    def test_never_are_a_bare_wildcard(self) -> None:
        for statement in statements(Stack(ModelApiKeySecretArn=SECRET)):
            assert "*" not in str(statement["Action"])
            assert statement["Resource"] != "*"
            assert "*" not in str(statement["Resource"]) or "Condition" in statement

    def test_come_from_no_managed_policy(self, stack: Stack) -> None:
        (role,) = stack.of_type("AWS::IAM::Role").values()
        assert "ManagedPolicyArns" not in role


def dynamodb_actions_used() -> list[str]:
    """The calls in the source of the DynamoDB backend, as IAM spells them."""
    calls = set(re.findall(r"_call(?:_if)?\(\s*\"(\w+)\"", inspect.getsource(dynamodb)))
    return sorted(f"dynamodb:{call}" for call in calls)


class TestToolWorker:
    """A second function, deployed only if a parameter asks for it."""

    def test_is_not_deployed_by_default(self, stack: Stack) -> None:
        assert not [name for name in stack.resources if name.startswith("ToolWorker")]
        assert variables(stack)["TOOL_WORKER_FUNCTION"] == ""
        assert "lambda:InvokeFunction" not in str(statements(stack))

    def test_has_its_own_memory_and_may_be_called_only_by_the_chat(self) -> None:
        stack = Stack(ToolWorkerMemorySize="3008")
        assert stack.properties("ToolWorkerFunction")["MemorySize"] == "3008"
        assert variables(stack)["TOOL_WORKER_FUNCTION"] == "<ToolWorkerFunction>"
        (calls,) = [s for s in statements(stack) if s["Action"] == "lambda:InvokeFunction"]
        assert calls["Resource"] == "<ToolWorkerFunction.Arn>"
        assert all(
            "ToolWorker" not in str(p["FunctionName"]) for p in stack.of_type("AWS::Lambda::Permission").values()
        )

    def test_may_write_its_log_and_read_whether_a_call_is_to_stop_and_nothing_else(self) -> None:
        policies = Stack(ToolWorkerMemorySize="3008").properties("ToolWorkerRole")["Policies"]
        log, stops = (statement for policy in policies for statement in policy["PolicyDocument"]["Statement"])
        assert log["Resource"] == "<ToolWorkerLog.Arn>"
        assert (stops["Action"], stops["Resource"]) == ("dynamodb:GetItem", "<Conversations.Arn>")

    def test_may_read_the_signals_of_calls_and_those_of_no_conversation(self) -> None:
        *_, policy = Stack(ToolWorkerMemorySize="3008").properties("ToolWorkerRole")["Policies"]
        (pattern,) = policy["PolicyDocument"]["Statement"][0]["Condition"]["ForAllValues:StringLike"][
            "dynamodb:LeadingKeys"
        ]
        assert fnmatch.fnmatchcase(stop_signals._signal_key("remote:1f0c", stop_signals.TOOL_CALL)[0], pattern)
        for caller in ("", "key:ada", "remote", "jwt:remote:1"):
            assert not fnmatch.fnmatchcase(stop_signals._signal_key(caller, "c-1")[0], pattern)

    def test_hears_of_stops_in_the_stacks_own_table_alone(self) -> None:
        assert settings_of(Stack(ToolWorkerMemorySize="3008"), "ToolWorkerFunction").storage.store == (
            "dynamodb:<Conversations>"
        )
        own = Stack(ToolWorkerMemorySize="3008", Store="acme:here")
        assert settings_of(own, "ToolWorkerFunction").storage.store == "memory"
        assert "dynamodb" not in str(own.properties("ToolWorkerRole")["Policies"])

    def test_has_a_longer_timeout_than_its_slowest_tool(self) -> None:
        stack = Stack(ToolWorkerMemorySize="3008")
        default_s = settings_of(stack, "ToolWorkerFunction").tools.tool_execution_timeout
        longest = max(tool.options.timeout_s or default_s for tool in discover(worker))
        assert stack.properties("ToolWorkerFunction")["Timeout"] > longest


class TestStoredData:
    def test_the_table_costs_nothing_idle_expires_items_and_can_be_restored(self, stack: Stack) -> None:
        table = stack.properties("Conversations")
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at_s", "Enabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}

    @pytest.mark.parametrize("stage", ["dev", "prod"])
    def test_a_first_deployment_that_fails_can_be_rolled_back(self, stage: str) -> None:
        kept = [n for n, r in Stack(Stage=stage).resources.items() if r.get("DeletionPolicy", "Delete") != "Delete"]
        assert kept == []
        assert Stack(Stage=stage).properties("Conversations")["DeletionProtectionEnabled"] is False

    def test_the_table_is_not_deleted_by_mistake_once_it_is_protected(self) -> None:
        protected = Stack(Stage="prod", DeletionProtection="true")
        assert protected.properties("Conversations")["DeletionProtectionEnabled"] is True

    def test_the_first_api_key_is_generated(self, stack: Stack) -> None:
        generated = stack.properties("ApiKeys")["GenerateSecretString"]
        assert json.loads(generated["SecretStringTemplate"]) == {}
        assert generated["PasswordLength"] >= 32

    def test_the_signing_key_is_generated_without_a_comma(self, stack: Stack) -> None:
        generated = stack.properties("SigningKey")["GenerateSecretString"]
        assert generated["ExcludePunctuation"]
        assert generated["PasswordLength"] >= MIN_KEY_CHARS
        assert variables(stack)["SIGNING_KEY_SECRET_ARN"] == "<SigningKey>"

    def test_the_log_has_a_retention_period(self, stack: Stack) -> None:
        assert stack.properties("ChatFunction")["LoggingConfig"] == {"LogGroup": "<ChatLog>", "LogFormat": "JSON"}
        assert stack.properties("ChatLog")["RetentionInDays"] == 14


class TestRules:
    def test_the_default_deployment_is_accepted(self, stack: Stack) -> None:
        assert stack.refusals == []

    @pytest.mark.parametrize(
        ("parameters", "named"),
        [
            ({"ModelProvider": "anthropic"}, "ModelApiKeySecretArn"),
            ({"ModelProvider": "openai"}, "ModelApiKeySecretArn"),
            ({"Auth": "jwt", "JwtAudience": "us"}, "JwtIssuer"),
            ({"Auth": "jwt", "JwtIssuer": "https://i.example"}, "JwtAudience"),
        ],
    )
    def test_an_impossible_combination_is_rejected_before_anything_is_created(
        self, parameters: dict[str, str], named: str
    ) -> None:
        (rejection,) = Stack(**parameters).refusals
        assert named in rejection

    def test_a_custom_model_server_needs_no_key(self) -> None:
        assert Stack(ModelProvider="openai", ModelBaseUrl="https://models.example/v1").refusals == []


class TestDashboardAndAlarms:
    """They use exactly the metrics that the function emits."""

    def test_every_widget_shows_a_metric_that_is_emitted_under_this_stacks_name(self, stack: Stack) -> None:
        plain = [m for m in shown_metrics(stack) if m[0] == telemetry.NAMESPACE]
        assert plain
        for _, name, *dimensions in plain:
            assert name in telemetry.METRICS
            assert name not in {*telemetry.TOOL_METRICS, *telemetry.MODEL_METRICS}
            assert dimensions[:2] == ["service", variables(stack)["SERVICE_NAME"]]

    def test_every_search_is_for_a_metric_of_tools_or_models(self, stack: Stack) -> None:
        service = variables(stack)["SERVICE_NAME"]
        of_tools = {(name, "tool", service) for name in telemetry.TOOL_METRICS}
        assert set(searched_metrics(stack)) == of_tools | {(name, "model", service) for name in telemetry.MODEL_METRICS}

    def test_the_last_errors_are_those_of_requests_and_of_starts(self, stack: Stack) -> None:
        (query,) = [w["query"] for w in widgets(stack) if w["title"] == "Last errors"]
        start = json.loads(error_as_json({"errorType": "E", "errorMessage": "m", "requestId": ""}))
        for names in (("request_id", "requestId"), ("error_type", "errorType"), ("errorMessage", "message")):
            assert f"coalesce({', '.join(names)}" in query
            assert set(names) & set(start)

    def test_every_metric_that_is_emitted_is_shown(self, stack: Stack) -> None:
        names = {m[1] for m in shown_metrics(stack)} | {name for name, *_ in searched_metrics(stack)}
        assert set(telemetry.METRICS) <= names

    def test_every_declared_metric_is_measured_somewhere(self) -> None:
        sources = "".join(
            path.read_text() for path in (ROOT / "layers/winterbourne/python/winterbourne/chat").rglob("*.py")
        )
        measured = re.findall(r'\("(\w+)"[,)]', sources)  # an argument or a tuple; mypy knows that no other name is one
        assert set(telemetry.METRICS) <= set(measured)

    def test_every_alarm_watches_metrics_of_this_stack(self) -> None:
        stack = Stack(**EVERY_ALARM)
        for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
            metrics = list(watched_metrics(alarm))
            assert metrics, name
            for namespace, metric, dimensions in metrics:
                if namespace == telemetry.NAMESPACE:
                    assert metric in telemetry.METRICS
                    assert dimensions == ({"service": variables(stack)["SERVICE_NAME"]})
                    of_some = {*telemetry.TOOL_METRICS, *telemetry.MODEL_METRICS}
                    assert (metric in of_some) == ("SELECT" in json.dumps(alarm))

    @pytest.mark.parametrize("mode", telemetry.EMITTED)
    def test_there_are_exactly_the_alarms_whose_metrics_are_emitted(self, mode: str) -> None:
        emitted = telemetry.EMITTED[mode]  # type: ignore[index]  # a key of it
        possible = {
            name
            for name, alarm in Stack(**EVERY_ALARM).of_type("AWS::CloudWatch::Alarm").items()
            if all(metric in emitted for space, metric, _ in watched_metrics(alarm) if space == telemetry.NAMESPACE)
        }
        there = Stack(**EVERY_ALARM | {"Metrics": mode})
        assert set(there.of_type("AWS::CloudWatch::Alarm")) == possible
        assert variables(there)["METRICS"] == mode

    @pytest.mark.parametrize(
        ("alarm", "bad", "good", "minutes"),
        [
            ("ErrorsAlarm", {"Chats": 2, "FailedChats": 2}, {"Chats": 1, "FailedChats": 0}, 5),
            ("MemoryAlarm", {"MemoryUsed": 500}, {"MemoryUsed": 100}, 3),
            ("SpendingAlarm", {"InputTokens": 3_000_000}, {"InputTokens": 1}, 30),
            ("FailingAlarm", {"Chats": 2, "FailedChats": 2}, {"Chats": 1, "FailedChats": 0}, 5),
        ],
    )
    def test_an_alarm_that_is_over_does_not_ring_again_because_traffic_ends(
        self, stack: Stack, alarm: str, bad: dict[str, float], good: dict[str, float], minutes: int
    ) -> None:
        metrics, start = Metrics(), 1_800_000_000
        for values, at_s in ((bad, start), (good, start + minutes * 60)):
            for name, value in values.items():
                metrics.add(telemetry.NAMESPACE, name, {"service": "winterbourne-dev"}, at_s, value)
        watched = {alarm: stack.properties(alarm)}
        for rules in (Rules(extra=0), Rules(extra=4)):
            rang = episodes(watched, metrics, start, start + 3 * 3600, rules)
            assert [len(times) for times in rang.values()] == [1]

    def test_failed_starts_are_counted_apart_from_those_of_other_stacks(self, stack: Stack) -> None:
        (made,) = stack.properties("InitErrors")["MetricTransformations"]
        alarm = stack.properties("InitErrorsAlarm")
        assert made["MetricNamespace"] == alarm["Namespace"] == f"Winterbourne/{variables(stack)['SERVICE_NAME']}"
        assert made["MetricName"] == alarm["MetricName"]
        assert stack.properties("InitErrors")["LogGroupName"] == "<ChatLog>"

    def test_every_alarm_links_to_its_runbook(self) -> None:
        page = (ROOT / "docs/how-to/operate.md").read_text()
        for alarm in Stack(**EVERY_ALARM).of_type("AWS::CloudWatch::Alarm").values():
            (anchor,) = re.findall(r"docs/how-to/operate\.md#([a-z-]+)$", alarm["AlarmDescription"])
            assert alarm["AlarmName"] == f"winterbourne-dev-{anchor}"
            assert f"### {anchor}\n" in page

    @pytest.mark.parametrize(
        ("parameter", "alarm"),
        [("FailedChatsAlarm", "Errors"), ("FirstTokenMsAlarm", "FirstToken"), ("MemoryPercentAlarm", "Memory")],
    )
    def test_thresholds_are_parameters(self, parameter: str, alarm: str) -> None:
        changed = Stack(**{parameter: "77"}).properties(f"{alarm}Alarm")
        assert changed["Threshold"] == "77"
        assert "77" in changed["AlarmDescription"]

    def test_alarms_are_sent_to_the_configured_address(self, stack: Stack) -> None:
        assert "AlarmTopic" not in stack.resources
        notified = Stack(AlarmEmail="ops@example.com")
        assert notified.properties("AlarmTopic")["Subscription"] == [
            {"Protocol": "email", "Endpoint": "ops@example.com"}
        ]
        for alarm in notified.of_type("AWS::CloudWatch::Alarm").values():
            assert alarm["AlarmActions"] == alarm["OKActions"] == ["<AlarmTopic>"]


class TestMetrics:
    """What the function emits is charged for; what it does not emit is in its log."""

    @pytest.mark.parametrize(
        ("parameters", "mode"),
        [
            ({}, "lean"),
            ({"Stage": "prod"}, "full"),
            ({"Metrics": "full"}, "full"),
            ({"Metrics": "off"}, "off"),
            ({"Stage": "prod", "Metrics": "lean"}, "lean"),
        ],
    )
    def test_are_those_of_the_stage_unless_the_parameter_says_which(
        self, parameters: dict[str, str], mode: str
    ) -> None:
        stack = Stack(ToolWorkerMemorySize="1024", **parameters)
        assert {settings_of(stack, name).log.metrics for name in ("ChatFunction", "ToolWorkerFunction")} == {mode}

    def test_are_all_in_the_saved_queries(self, stack: Stack) -> None:
        """By the fields that a line has whatever METRICS is."""
        of_durations = {
            "InitDuration": "init_duration_ms",
            "MemoryUsed": "memory_used_mb",
            "ModelTimeToFirstToken": "model_time_to_first_token_ms",
            "StreamDuration": "duration_ms",
            "TimeToFirstToken": "time_to_first_token_ms",
            "ToolDuration": "tool_duration_ms",
        }
        of_stalls = {"LoopStalls": "the event loop st", "ToolStalls": "the event loop st"}  # of no request's line
        queries = " ".join(query["QueryString"] for query in stack.of_type("AWS::Logs::QueryDefinition").values())
        for metric, field in {**telemetry.FIELDS, **of_durations, **of_stalls}.items():
            assert re.search(rf"\b{field}", queries), metric

    async def test_queries_ask_for_fields_that_lines_have(
        self, stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for hooks in ("_startup_hooks", "_shutdown_hooks"):
            monkeypatch.setattr(lifecycle, hooks, [])
        async with upstream(*map(saying, (CALL, ANSWER))) as provider:
            service = make_service(add, model_provider="openai", openai_base_url=f"{provider.url}/v1", metrics="off")
            telemetry.mark_ready()
            body = {"messages": [{"role": "user", "content": "1+1"}]}
            await handle(service, event("POST", "/chat", body), RecordedResponse(), FakeLambdaContext())
            await http_pool.close()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        fields = {name for line in lines for name in line} | set(telemetry.FIELDS.values())
        for name, query in stack.of_type("AWS::Logs::QueryDefinition").items():
            asked = re.sub(r'"[^"]*"|\bas \w+|sort dollars desc|\w+\(|@\w+|\d\w*', " ", query["QueryString"])
            syntax = {*["and", "by", "desc", "fields", "filter", "like", "or", "sort", "stats"]}
            assert set(re.findall(r"\w+", asked)) - syntax <= fields, name


def widgets(stack: Stack) -> list[dict[str, Any]]:
    return [w["properties"] for w in json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]]


def shown_metrics(stack: Stack) -> list[list[Any]]:
    return [m for w in widgets(stack) for m in w.get("metrics", []) if not isinstance(m[0], dict)]


def searched_metrics(stack: Stack) -> list[tuple[str, str, str]]:
    """Name, dimension and service of each metric that is searched for."""
    expressions = [m[0]["expression"] for w in widgets(stack) for m in w.get("metrics", []) if isinstance(m[0], dict)]
    pattern = r"SEARCH\('\{Winterbourne,service,(tool|model)\} MetricName=\"(\w+)\" service=\"([\w-]+)\"', '\w+', 300\)"
    return [(found[2], found[1], found[3]) for e in expressions if (found := re.fullmatch(pattern, e))]


def watched_metrics(alarm: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """Namespace, metric and dimensions of everything an alarm watches."""
    found = [alarm] if "MetricName" in alarm else []
    found += [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
    plain = [(m["Namespace"], m["MetricName"], {d["Name"]: d["Value"] for d in m.get("Dimensions", ())}) for m in found]
    pattern = r"SELECT SUM\((\w+)\) FROM SCHEMA\(\"(\w+)\", service, (?:tool|model)\) WHERE service = '([\w-]+)'"
    queries = [
        re.fullmatch(pattern, m["Expression"]) for m in alarm.get("Metrics", []) if "SELECT" in m.get("Expression", "")
    ]
    return plain + [(q[2], q[1], {"service": q[3]}) for q in queries if q]


class TestOutputs:
    def test_are_exactly_these(self, stack: Stack) -> None:
        assert list(stack.outputs) == [
            *("Url", "FetchKey", "Try", "DashboardLink", "FollowLog", "SwitchOff", "SwitchOn", "Doctor")
        ]

    def test_can_be_pasted(self, stack: Stack, door: str) -> None:
        assert stack.outputs["Url"] == URLS[door]
        assert stack.outputs["Try"].startswith(f'curl -N {URLS[door]}chat -H "x-api-key: $KEY"')
        assert "--secret-id <ApiKeys>" in stack.outputs["FetchKey"]
        assert stack.outputs["DashboardLink"].endswith("region=eu-central-1#dashboards/dashboard/<Dashboard>")

    @pytest.mark.parametrize(("reserved", "after"), [("-1", None), ("20", 20)])
    def test_switch_the_chat_off_at_once_and_on_again(self, reserved: str, after: int | None) -> None:
        """Run in moto by AWS's own client, under the name that the function has there."""
        outputs = Stack(ReservedConcurrency=reserved).outputs
        with mock_aws():
            client = boto3.Session("k", "s", region_name="eu-central-1").client("lambda")
            role = boto3.Session("k", "s").client("iam").create_role(RoleName="chat", AssumeRolePolicyDocument="{}")
            empty = b"PK\x05\x06" + bytes(18)
            arn = role["Role"]["Arn"]
            client.create_function(FunctionName="<ChatFunction>", Role=arn, Code={"ZipFile": empty})
            run_as_aws_would(client, outputs["SwitchOff"])
            assert client.get_function_concurrency(FunctionName="<ChatFunction>")["ReservedConcurrentExecutions"] == 0
            run_as_aws_would(client, outputs["SwitchOn"])
            on = client.get_function_concurrency(FunctionName="<ChatFunction>")
        assert on.get("ReservedConcurrentExecutions") == after

    def test_name_no_key_if_there_is_none(self) -> None:
        assert "FetchKey" not in Stack(Auth="jwt", JwtIssuer="https://i.example", JwtAudience="us").outputs


def run_as_aws_would(client: Any, command: str) -> None:
    """A command of the AWS CLI, whose words are those of the API."""
    aws, service, operation, *flags = shlex.split(command)
    assert (aws, service) == ("aws", client.meta.service_model.service_name)
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert given.pop("--region") == client.meta.region_name
    method = operation.replace("-", "_")
    members = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape.members
    of_flags = {f"--{xform_name(name, '-')}": (name, shape.type_name) for name, shape in members.items()}
    typed = {
        of_flags[flag][0]: int(value) if of_flags[flag][1] == "integer" else value for flag, value in given.items()
    }
    getattr(client, method)(**typed)


class TestTemplateText:
    def test_suppresses_no_lint_rule(self, door: str) -> None:
        assert "cfn-lint" not in template_of(door).read_text()
        assert not (ROOT / ".cfnlintrc").exists()

    def test_explains_each_resource_and_parameter(self, door: str) -> None:
        text = template_of(door).read_text()
        template = source()
        for name, parameter in template["Parameters"].items():
            assert parameter.get("Description"), name
        for name, resource in template["Resources"].items():
            described = "AlarmDescription" in resource["Properties"]
            # the second permission shares the comment of the first
            assert described or name.endswith("MayInvokeThroughTheUrl") or re.search(rf"  # .*\n  {name}:\n", text), (
                name
            )


def fits(name: str, value: object) -> bool:
    """Whether the template has this parameter and allows the value, as CloudFormation would check."""
    declared = source()["Parameters"].get(name)
    if not declared:
        return False
    allowed = "AllowedValues" not in declared or str(value) in map(str, declared["AllowedValues"])
    values = str(value).split(",") if declared["Type"] == "CommaDelimitedList" else [str(value)]
    pattern = declared.get("AllowedPattern", r"[\s\S]*")
    number = float(value) if declared["Type"] == "Number" else 0  # type: ignore[arg-type]  # text in samconfig.toml
    in_range = declared.get("MinValue", number) <= number <= declared.get("MaxValue", number)
    return allowed and in_range and all(re.fullmatch(pattern, one.strip()) for one in values)


def parameters_of(folder: Path, stage: str, command: str) -> dict[str, str]:
    """The parameters of a stage, as sam itself reads them."""
    options = SamConfig(str(folder)).get_all([command], "parameters", stage)
    parsed: dict[str, str] = CfnParameterOverridesType().convert(options.get("parameter_overrides", ""), None, None)
    return parsed


def problems(folder: Path) -> list[str]:
    """What would make `make deploy` fail, or deploy something else than was built, in a folder's samconfig.toml."""
    config = tomllib.loads((folder / "samconfig.toml").read_text())
    found = []
    for stage in (name for name, table in config.items() if isinstance(table, dict) and "deploy" in table):
        built, deployed = (parameters_of(folder, stage, command) for command in ("build", "deploy"))
        if "stack_name" not in SamConfig(str(folder)).get_all(["deploy"], "parameters", stage):
            found.append(f"{stage} has no stack_name")
        default = source()["Parameters"]["Architecture"]["Default"]
        if built.get("Architecture", default) != deployed.get("Architecture", default):
            found.append(f"{stage} builds for another Architecture than it deploys")
        found += [f"{stage}: {n}={v}" for n, v in {**built, **deployed}.items() if not fits(n, v)]
    return found


def make_deploy(folder: Path, *arguments: str) -> list[list[str]]:
    """The command lines of sam that our Makefile runs for `make deploy` in a folder with stages of its own."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "samconfig.toml").write_text(STAGES)
    overridden = [f"bin={BIN}", "sam=printf '%s\\n' +"]
    command = ["make", "--silent", "--old-file=.venv/dev", "deploy", *overridden, *arguments]
    ours = {"MAKEFLAGS", "STAGE", "PARAMETERS", "CI"}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    completed = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return [call.split("\n")[1:-1] for call in completed.stdout.split("+")[1:]]


STAGES = """
version = 0.1
[dev.global.parameters]
stack_name = "winterbourne-dev"
[try.deploy.parameters]
parameter_overrides = ["Stage=dev", "Architecture=arm64", "Settings='SYSTEM_PROMPT=Be brief;A=1'"]
[live.deploy.parameters]
parameter_overrides = ["Stage=prod", "Architecture=arm64"]
[guarded.deploy.parameters]
parameter_overrides = ["Stage=prod", "DeletionProtection=true"]
"""


class TestStages:
    """`samconfig.toml` and the targets that read it. Stages are the user's to edit: any that sam takes must pass."""

    def test_have_a_stack_a_processor_and_only_parameters_that_the_template_allows(self) -> None:
        assert problems(ROOT) == []

    @pytest.mark.parametrize(
        "edit",
        [
            'parameter_overrides = ["ModelId=us.amazon.nova-pro-v1:0", "Settings=A=1;B=x=y"]',
            """parameter_overrides = "Stage=dev Settings='SYSTEM_PROMPT=Be brief;A=1' Auth=mine" """,
            f'parameter_overrides = ["SecretArns={SECRET},{OTHER_SECRET}", "MemorySize=1024", "RequestsPerMinute=5"]',
            f'parameter_overrides = ["ParameterKey=ModelApiKeySecretArn,ParameterValue={SECRET}"]',
            "confirm_changeset = false",
            '[dev.deploy.parameters.parameter_overrides]\nMemorySize = 1024\nSettings = "A=x y;B=2"',
            '[dev.build]\n[try.global.parameters]\nstack_name = "try"\n[try.deploy.parameters]\nregion = "eu-west-1"',
        ],
    )
    def test_may_be_edited_in_every_way_that_sam_reads(self, tmp_path: Path, edit: str) -> None:
        config = f'version = 0.1\n[dev.global.parameters]\nstack_name = "s"\n[dev.deploy.parameters]\n{edit}\n'
        (tmp_path / "samconfig.toml").write_text(config)
        assert problems(tmp_path) == []

    @pytest.mark.parametrize(
        ("edit", "problem"),
        [
            ('parameter_overrides = ["ModelID=a"]', "dev: ModelID=a"),
            ('parameter_overrides = ["Stage=test"]', "dev: Stage=test"),
            ('parameter_overrides = ["RequestsPerMinute=few"]', "dev: RequestsPerMinute=few"),
            ('parameter_overrides = ["MemorySize=20000"]', "dev: MemorySize=20000"),
            ('parameter_overrides = ["SecretArns=shop/key"]', "dev: SecretArns=shop/key"),
            ('parameter_overrides = ["Architecture=x86_64"]', "dev builds for another Architecture than it deploys"),
            ("[x.deploy.parameters]", "x has no stack_name"),
        ],
    )
    def test_that_cannot_be_deployed_are_found(self, tmp_path: Path, edit: str, problem: str) -> None:
        config = f'version = 0.1\n[dev.global.parameters]\nstack_name = "s"\n[dev.deploy.parameters]\n{edit}\n'
        (tmp_path / "samconfig.toml").write_text(config)
        assert problems(tmp_path) == [problem]

    @pytest.mark.parametrize("stage", ["dev", "try"])
    def test_are_built_and_deployed_as_written(self, tmp_path: Path, stage: str) -> None:
        config_env = ["--config-env", stage]
        assert make_deploy(tmp_path, f"STAGE={stage}") == [["build", *config_env], ["deploy", *config_env]]

    def test_are_dev_unless_another_is_named(self, tmp_path: Path) -> None:
        assert make_deploy(tmp_path) == make_deploy(tmp_path, "STAGE=dev")

    @pytest.mark.parametrize("given", ["", "ModelId=a"])
    def test_of_users_have_their_conversations_protected_once_the_stack_is_there(
        self, tmp_path: Path, given: str
    ) -> None:
        _, deploy, protect = make_deploy(tmp_path, "STAGE=live", f"PARAMETERS={given}")
        assert "DeletionProtection" not in str(deploy)
        *command, parameters = protect
        unasked = ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
        assert command == ["deploy", "--config-env", "live", *unasked, "--parameter-overrides"]
        protected = {"Stage": "prod", "Architecture": "arm64", "DeletionProtection": "true"}
        wanted = {**protected, "ModelId": "a"} if given else protected
        assert CfnParameterOverridesType().convert((parameters,), None, None) == wanted

    @pytest.mark.parametrize(
        "arguments", [("STAGE=guarded",), ("STAGE=live", "PARAMETERS=DeletionProtection=false"), ("STAGE=try",)]
    )
    def test_are_deployed_once_where_that_is_said_already_or_nobody_uses_them(
        self, tmp_path: Path, arguments: tuple[str, ...]
    ) -> None:
        assert [command[0] for command in make_deploy(tmp_path, *arguments)] == ["build", "deploy"]

    def test_ask_nothing_where_nobody_could_answer(self, tmp_path: Path) -> None:
        unasked = ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
        assert make_deploy(tmp_path, "CI=true")[1] == ["deploy", "--config-env", "dev", *unasked]

    def test_keep_their_parameters_where_others_are_given(self, tmp_path: Path) -> None:
        """sam alone would drop the stage's parameters, including its stage name, as soon as any other is given."""
        build, deploy = make_deploy(tmp_path, "STAGE=try", "PARAMETERS=Architecture=x86_64 ModelId='a b;c'")
        assert build == ["build", "--config-env", "try", "--parameter-overrides", "Architecture=x86_64"]
        *command, parameters = deploy
        assert command == ["deploy", "--config-env", "try", "--parameter-overrides"]
        assert CfnParameterOverridesType().convert((parameters,), None, None) == {
            "Stage": "dev",
            "Architecture": "x86_64",
            "Settings": "SYSTEM_PROMPT=Be brief;A=1",
            "ModelId": "a b;c",
        }
