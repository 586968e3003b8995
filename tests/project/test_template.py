"""What `sam deploy` makes: each resource, each right and each output of `template.yaml`."""

import inspect
import json
import re
import subprocess
import tomllib
from typing import Any

import openai
import pytest

from chat.tools import worker
from tests.stack import ROOT, Stack, source
from winterbourne.chat.infra import telemetry
from winterbourne.chat.providers import bedrock
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage import dynamodb
from winterbourne.chat.tool_runtime.discovery import discover

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:model-key-AbCdEf"


@pytest.fixture
def stack() -> Stack:
    """The first deployment: nothing said."""
    return Stack()


def statements(stack: Stack) -> list[dict[str, Any]]:
    return [s for policy in stack.properties("ChatRole")["Policies"] for s in policy["PolicyDocument"]["Statement"]]


def variables(stack: Stack) -> dict[str, str]:
    return {n: str(v) for n, v in stack.properties("ChatFunction")["Environment"]["Variables"].items()}


class TestTheUrl:
    def test_streams(self, stack: Stack) -> None:
        assert stack.properties("ChatUrl")["InvokeMode"] == "RESPONSE_STREAM"

    @pytest.mark.parametrize(
        ("snap_start", "called"), [("None", "<ChatFunction>"), ("PublishedVersions", "<ChatFunctionAliaslive>")]
    )
    def test_has_both_permissions_a_public_url_needs_on_what_it_calls(self, snap_start: str, called: str) -> None:
        stack = Stack(SnapStart=snap_start)
        through = {"FunctionName": called, "Principal": "*"}
        assert list(stack.of_type("AWS::Lambda::Permission").values()) == [
            {"Action": "lambda:InvokeFunctionUrl", **through, "FunctionUrlAuthType": "NONE"},
            {"Action": "lambda:InvokeFunction", **through, "InvokedViaFunctionUrl": True},
        ]
        assert stack.properties("ChatUrl")["TargetFunctionArn"] == called

    def test_is_closed_until_the_caller_has_a_key(self, stack: Stack) -> None:
        assert variables(stack)["AUTH"] == "api_key"
        assert variables(stack)["API_KEYS_SECRET_ARN"] == "<ApiKeys>"

    def test_lets_nobody_in_unasked_where_aws_knows_the_callers(self) -> None:
        stack = Stack(Auth="iam")
        assert stack.properties("ChatUrl")["AuthType"] == "AWS_IAM"
        assert not stack.of_type("AWS::Lambda::Permission")
        assert "ApiKeys" not in stack.resources

    def test_lets_in_one_cloudfront_distribution_alone_when_told(self) -> None:
        arn = "arn:aws:cloudfront::123456789012:distribution/E1"
        stack = Stack(CloudFrontDistributionArn=arn)
        assert stack.properties("ChatUrl")["AuthType"] == "AWS_IAM"
        permissions = stack.of_type("AWS::Lambda::Permission").values()
        assert {(p["Principal"], p["SourceArn"]) for p in permissions} == {("cloudfront.amazonaws.com", arn)}
        assert [p["Action"] for p in permissions] == ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
        assert variables(stack)["AUTH"] == "api_key", "who calls CloudFront is still ours to check"


class TestCors:
    def test_no_other_origin_may_call_by_default(self, stack: Stack) -> None:
        assert "Cors" not in stack.properties("ChatUrl")

    def test_named_origins_may(self) -> None:
        cors = Stack(AllowedOrigins="https://a.example,https://b.example").properties("ChatUrl")["Cors"]
        assert cors["AllowOrigins"] == ["https://a.example", "https://b.example"]
        assert {"content-type", "authorization", "x-amz-content-sha256", "x-api-key"} <= set(cors["AllowHeaders"])

    def test_lets_in_the_headers_of_the_clients_we_speak_to(self) -> None:
        cors = Stack(AllowedOrigins="https://a.example").properties("ChatUrl")["Cors"]
        by_itself = {name.lower() for name in openai.OpenAI(api_key="k").default_headers if name.startswith("X-")}
        # Python's SDK says that it is no async one; a browser's has nothing to say there.
        assert by_itself - {"x-stainless-async"} <= set(cors["AllowHeaders"])

    def test_is_the_urls_business_alone(self) -> None:
        ours = [*(ROOT / "functions").rglob("*.py"), *(ROOT / "layers").rglob("*.py")]
        deployed = (path for path in ours if "local" not in path.parts)
        assert [str(path) for path in deployed if "access-control-allow" in path.read_text().lower()] == []


class TestTheFunction:
    def test_runs_on_arm64_or_on_the_processor_asked_for(self, stack: Stack) -> None:
        assert stack.properties("ChatFunction")["Architectures"] == ["arm64"]
        asked = Stack(Architecture="x86_64")
        assert asked.properties("ChatFunction")["Architectures"] == ["x86_64"]
        dependencies = next(p for n, p in asked.of_type("AWS::Lambda::LayerVersion").items() if "Dependencies" in n)
        assert dependencies["CompatibleArchitectures"] == ["x86_64"]

    def test_is_started_by_our_layer_on_the_managed_runtime(self, stack: Stack) -> None:
        function = stack.properties("ChatFunction")
        assert (function["Runtime"], function["Handler"]) == ("python3.13", "chat.app.handler")
        assert variables(stack)["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/winterbourne"
        assert len(function["Layers"]) == 2

    def test_reserves_concurrency_only_when_told(self, stack: Stack) -> None:
        assert "ReservedConcurrentExecutions" not in stack.properties("ChatFunction")
        assert Stack(ReservedConcurrency="20").properties("ChatFunction")["ReservedConcurrentExecutions"] == "20"
        assert Stack(ReservedConcurrency="0").properties("ChatFunction")["ReservedConcurrentExecutions"] == "0"

    @pytest.mark.parametrize("choice", ["None", "PublishedVersions"])
    def test_starts_from_a_snapshot_when_told(self, choice: str) -> None:
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
    def test_can_read_every_variable_it_is_given(self, provider: str, auth: str) -> None:
        tokens = {"JwtIssuer": "https://i.example", "JwtAudience": "us"}
        given = variables(Stack(ModelProvider=provider, Auth=auth, ModelApiKeySecretArn=SECRET, **tokens))
        settings = Settings.from_environment(given)
        assert (settings.model_provider, settings.auth) == (provider, auth)
        assert set(given) - {"AWS_LAMBDA_EXEC_WRAPPER"} <= {name.upper() for name in Settings.__struct_fields__}


class TestRights:
    def test_of_the_first_deployment_are_these(self, stack: Stack) -> None:
        assert [(s["Action"], s["Resource"]) for s in statements(stack)[:4]] == [
            (["logs:CreateLogStream", "logs:PutLogEvents"], "<ChatLog.Arn>"),
            (rights_the_store_uses(), "<Conversations.Arn>"),
            ("dynamodb:Query", f"<Conversations.Arn>/index/{dynamodb.INDEX}"),
            ("secretsmanager:GetSecretValue", "<ApiKeys>"),
        ]

    def test_bedrock_may_be_asked_for_the_chosen_model_only(self) -> None:
        direct, through_profile = statements(Stack(ModelId="us.amazon.nova-pro-v1:0"))[-2:]
        profile = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0"
        assert direct["Resource"] == [
            "arn:aws:bedrock:eu-central-1::foundation-model/us.amazon.nova-pro-v1:0",
            profile,
        ]
        assert through_profile["Condition"] == {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
        assert direct["Action"] == through_profile["Action"] == "bedrock:InvokeModelWithResponseStream"

    def test_bedrock_may_be_asked_for_the_functions_own_default(self, stack: Stack) -> None:
        assert variables(stack)["MODEL_ID"] == bedrock.DEFAULT_MODEL
        assert statements(stack)[-2]["Resource"][1].endswith(f":inference-profile/{bedrock.DEFAULT_MODEL}")

    @pytest.mark.parametrize("provider", ["openai", "anthropic", "scripted"])
    def test_bedrock_may_not_be_asked_when_another_provider_is_chosen(self, provider: str) -> None:
        assert "bedrock" not in json.dumps(statements(Stack(ModelProvider=provider, ModelApiKeySecretArn=SECRET)))

    def test_the_models_key_is_the_one_other_secret_that_may_be_read(self, stack: Stack) -> None:
        readable = [
            s["Resource"] for s in statements(Stack(ModelApiKeySecretArn=SECRET)) if "secret" in str(s["Action"])
        ]
        assert readable == ["<ApiKeys>", SECRET]
        assert [s["Resource"] for s in statements(stack) if "secret" in str(s["Action"])] == ["<ApiKeys>"]

    def test_the_key_for_quotes_is_read_by_the_function_and_stands_in_no_variable(self) -> None:
        stack = Stack(FinnhubKeySecretArn=SECRET)
        assert SECRET in [s["Resource"] for s in statements(stack) if "secret" in str(s["Action"])]
        assert variables(stack)["FINNHUB_API_KEY_SECRET_ARN"] == SECRET
        assert "FINNHUB_API_KEY" not in variables(stack)

    def test_never_cover_everything(self) -> None:
        for statement in statements(Stack(ModelApiKeySecretArn=SECRET)):
            assert "*" not in str(statement["Action"])
            assert statement["Resource"] != "*"
            assert "*" not in str(statement["Resource"]) or "Condition" in statement

    def test_come_from_no_managed_policy(self, stack: Stack) -> None:
        (role,) = stack.of_type("AWS::IAM::Role").values()
        assert "ManagedPolicyArns" not in role


def rights_the_store_uses() -> list[str]:
    """The calls in the store's source, as IAM spells them."""
    calls = set(re.findall(r"_client\.([a-z_]+)\(", inspect.getsource(dynamodb)))
    return sorted(f"dynamodb:{''.join(word.title() for word in call.split('_'))}" for call in calls)


class TestTheToolWorker:
    """A second function, only where it is asked for."""

    def test_is_not_there_by_default(self, stack: Stack) -> None:
        assert not [name for name in stack.resources if name.startswith("ToolWorker")]
        assert variables(stack)["TOOL_WORKER_FUNCTION"] == ""
        assert "lambda:InvokeFunction" not in str(statements(stack))

    def test_has_memory_of_its_own_and_may_be_called_by_the_chat_alone(self) -> None:
        stack = Stack(ToolWorkerMemorySize="3008")
        assert stack.properties("ToolWorkerFunction")["MemorySize"] == "3008"
        assert variables(stack)["TOOL_WORKER_FUNCTION"] == "<ToolWorkerFunction>"
        (calls,) = [s for s in statements(stack) if s["Action"] == "lambda:InvokeFunction"]
        assert calls["Resource"] == "<ToolWorkerFunction.Arn>"
        assert all(
            "ToolWorker" not in str(p["FunctionName"]) for p in stack.of_type("AWS::Lambda::Permission").values()
        )

    def test_may_write_its_log_and_nothing_else(self) -> None:
        (policy,) = Stack(ToolWorkerMemorySize="3008").properties("ToolWorkerRole")["Policies"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Resource"] == "<ToolWorkerLog.Arn>"

    def test_has_longer_than_its_longest_tool(self) -> None:
        longest = max(tool.options.timeout_s or 0 for tool in discover(worker))
        assert Stack(ToolWorkerMemorySize="3008").properties("ToolWorkerFunction")["Timeout"] > longest


class TestWhatIsKept:
    def test_the_table_costs_nothing_idle_forgets_in_time_and_can_be_restored(self, stack: Stack) -> None:
        table = stack.properties("Conversations")
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at_s", "Enabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}

    @pytest.mark.parametrize(("stage", "protected"), [("dev", False), ("prod", True)])
    def test_the_table_is_not_deleted_by_mistake_in_prod(self, stage: str, *, protected: bool) -> None:
        assert Stack(Stage=stage).properties("Conversations")["DeletionProtectionEnabled"] is protected

    def test_the_first_key_is_made_there_and_readable_by_the_function(self, stack: Stack) -> None:
        generated = stack.properties("ApiKeys")["GenerateSecretString"]
        assert json.loads(generated["SecretStringTemplate"]) == {}
        assert generated["PasswordLength"] >= 32

    def test_the_log_goes_where_it_is_deleted_again(self, stack: Stack) -> None:
        assert stack.properties("ChatFunction")["LoggingConfig"] == {"LogGroup": "<ChatLog>", "LogFormat": "JSON"}
        assert stack.properties("ChatLog")["RetentionInDays"] == 14


class TestRefusals:
    def test_the_first_deployment_is_accepted(self, stack: Stack) -> None:
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
    def test_what_could_not_work_is_refused_before_anything_is_made(
        self, parameters: dict[str, str], named: str
    ) -> None:
        (refusal,) = Stack(**parameters).refusals
        assert named in refusal

    def test_a_server_of_ones_own_may_do_without_a_key(self) -> None:
        assert Stack(ModelProvider="openai", ModelBaseUrl="https://models.example/v1").refusals == []


class TestDashboardAndAlarms:
    """Built on exactly the metrics that the function emits."""

    def test_every_widget_shows_a_metric_that_is_emitted_under_this_stacks_name(self, stack: Stack) -> None:
        plain = [m for m in shown(stack) if m[0] == telemetry.NAMESPACE]
        assert plain
        for _, name, *dimensions in plain:
            assert name in telemetry.METRICS
            assert name not in telemetry.TOOL_METRICS
            assert dimensions[:2] == ["service", variables(stack)["SERVICE_NAME"]]

    def test_every_search_is_for_a_metric_of_tools(self, stack: Stack) -> None:
        assert {name for name, service in searched(stack) if service == variables(stack)["SERVICE_NAME"]} == set(
            telemetry.TOOL_METRICS
        )

    def test_every_metric_that_is_emitted_is_shown(self, stack: Stack) -> None:
        names = {m[1] for m in shown(stack)} | {name for name, _ in searched(stack)}
        assert set(telemetry.METRICS) <= names

    def test_every_metric_that_can_be_named_is_measured_somewhere(self) -> None:
        sources = "".join(
            path.read_text() for path in (ROOT / "layers/winterbourne/python/winterbourne/chat").rglob("*.py")
        )
        measured = re.findall(r'(?:measure\(|measurements\.append\(\()"(\w+)"', sources)
        assert set(measured) == set(telemetry.METRICS)

    def test_every_alarm_watches_a_metric_that_is_emitted(self, stack: Stack) -> None:
        for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
            metrics = list(watched(alarm))
            assert metrics, name
            for namespace, metric, dimensions in metrics:
                if namespace == telemetry.NAMESPACE:
                    assert metric in telemetry.METRICS
                    assert dimensions == ({"service": variables(stack)["SERVICE_NAME"]})
                    assert (metric in telemetry.TOOL_METRICS) == ("SELECT" in json.dumps(alarm))

    def test_every_alarm_says_what_to_do(self, stack: Stack) -> None:
        page = (ROOT / "docs/operate.md").read_text()
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
            (anchor,) = re.findall(r"docs/operate\.md#([a-z-]+)$", alarm["AlarmDescription"])
            assert alarm["AlarmName"] == f"winterbourne-dev-{anchor}"
            assert f"### {anchor}\n" in page

    def test_alarms_are_sent_to_whoever_is_named(self, stack: Stack) -> None:
        assert "AlarmTopic" not in stack.resources
        told = Stack(AlarmEmail="ops@example.com")
        assert told.properties("AlarmTopic")["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]
        for alarm in told.of_type("AWS::CloudWatch::Alarm").values():
            assert alarm["AlarmActions"] == alarm["OKActions"] == ["<AlarmTopic>"]


def widgets(stack: Stack) -> list[dict[str, Any]]:
    return [w["properties"] for w in json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]]


def shown(stack: Stack) -> list[list[Any]]:
    return [m for w in widgets(stack) for m in w.get("metrics", []) if not isinstance(m[0], dict)]


def searched(stack: Stack) -> list[tuple[str, str]]:
    expressions = [m[0]["expression"] for w in widgets(stack) for m in w.get("metrics", []) if isinstance(m[0], dict)]
    pattern = r"SEARCH\('\{Winterbourne,service,tool\} MetricName=\"(\w+)\" service=\"([\w-]+)\"', '\w+', 300\)"
    return [match.groups() for e in expressions if (match := re.fullmatch(pattern, e))]  # type: ignore[misc]


def watched(alarm: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """Namespace, metric and dimensions of everything an alarm looks at."""
    found = [alarm] if "MetricName" in alarm else []
    found += [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
    plain = [(m["Namespace"], m["MetricName"], {d["Name"]: d["Value"] for d in m["Dimensions"]}) for m in found]
    pattern = r"SELECT SUM\((\w+)\) FROM SCHEMA\(\"(\w+)\", service, tool\) WHERE service = '([\w-]+)'"
    queries = [
        re.fullmatch(pattern, m["Expression"]) for m in alarm.get("Metrics", []) if "SELECT" in m.get("Expression", "")
    ]
    return plain + [(q[2], q[1], {"service": q[3]}) for q in queries if q]


class TestOutputs:
    def test_are_these(self, stack: Stack) -> None:
        assert list(stack.outputs) == ["Url", "FetchKey", "Try", "DashboardLink", "FollowLog", "Doctor"]

    def test_can_be_pasted(self, stack: Stack) -> None:
        assert stack.outputs["Url"] == "<ChatUrl.FunctionUrl>"
        assert stack.outputs["Try"].startswith('curl -N <ChatUrl.FunctionUrl>chat -H "x-api-key: $KEY"')
        assert "--secret-id <ApiKeys>" in stack.outputs["FetchKey"]
        assert stack.outputs["DashboardLink"].endswith("region=eu-central-1#dashboards/dashboard/<Dashboard>")

    def test_name_no_key_where_there_is_none(self) -> None:
        assert "FetchKey" not in Stack(Auth="jwt", JwtIssuer="https://i.example", JwtAudience="us").outputs


class TestTheText:
    def test_silences_no_lint_rule(self) -> None:
        assert "cfn-lint" not in (ROOT / "template.yaml").read_text()
        assert not (ROOT / ".cfnlintrc").exists()

    def test_says_why_of_each_resource_and_parameter(self) -> None:
        text = (ROOT / "template.yaml").read_text()
        template = source()
        for name, parameter in template["Parameters"].items():
            assert parameter.get("Description"), name
        for name, resource in template["Resources"].items():
            described = "AlarmDescription" in resource["Properties"]
            # the second permission shares the sentence of the first
            assert described or name.endswith("MayInvokeThroughTheUrl") or re.search(rf"  # .*\n  {name}:\n", text), (
                name
            )


class TestStages:
    """`samconfig.toml` and the targets that read it."""

    @pytest.fixture
    def stages(self) -> dict[str, Any]:
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        return {name: table for name, table in config.items() if isinstance(table, dict)}

    def test_are_a_stack_to_try_things_in_and_one_for_real(self, stages: dict[str, Any]) -> None:
        names = {stage: table["global"]["parameters"]["stack_name"] for stage, table in stages.items()}
        assert names == {"default": "winterbourne-dev", "prod": "winterbourne"}

    def test_give_the_template_values_that_it_takes(self, stages: dict[str, Any]) -> None:
        for table in stages.values():
            given = dict(pair.split("=") for pair in table["deploy"]["parameters"]["parameter_overrides"])
            for name, value in given.items():
                assert value in map(str, source()["Parameters"][name]["AllowedValues"])

    def test_build_for_the_processor_they_deploy(self, stages: dict[str, Any]) -> None:
        for table in stages.values():
            built, deployed = (table[command]["parameters"]["parameter_overrides"] for command in ("build", "deploy"))
            assert set(built) <= set(deployed)

    def test_ask_before_they_change_anything(self, stages: dict[str, Any]) -> None:
        assert all(table["deploy"]["parameters"]["confirm_changeset"] for table in stages.values())

    def test_make_deploy_builds_for_the_processor_named_and_adds_every_parameter_to_the_stages(
        self, stages: dict[str, Any]
    ) -> None:
        """sam itself would forget the stage's parameters, and so that prod is prod, where any other is named."""
        parameters = "PARAMETERS=Architecture=x86_64 ModelId=a"
        command = ["make", "--dry-run", "--old-file=.venv/dev", "deploy", "STAGE=prod", parameters]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        build, deploy = (line.partition("/sam ")[2] for line in done.stdout.splitlines() if "/sam " in line)
        assert build == "build --config-env prod --parameter-overrides Architecture=x86_64"
        ours = " ".join(stages["prod"]["deploy"]["parameters"]["parameter_overrides"])
        assert deploy == f"deploy --config-env prod --parameter-overrides {ours} Architecture=x86_64 ModelId=a"
