"""Checks a deployment as the owner of its AWS account: stack, function, function URL or API, secrets, table and alarms.

Uses the permissions of whoever runs it, and reports where they are insufficient.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings_variable import unpack_settings
from winterbourne.local.doctor.findings import Finding, ok, unknown, wrong

__all__ = ["Stack", "api_key", "public_url", "run_checks"]

DEPLOY_COMMAND: Final = "make deploy"
REQUIRED_ACTIONS: Final = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")


@dataclass(frozen=True)
class Stack:
    """One deployment.

    Attributes:
        name: Name of the CloudFormation stack.
        client: Creates a boto3 client for a service name.
    """

    name: str
    client: Callable[[str], Any]

    def outputs(self) -> dict[str, str]:
        """Outputs by name. Exceptions of boto3 propagate, here and in the other methods."""
        return {o["OutputKey"]: o["OutputValue"] for o in self._describe().get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """Parameter values by name."""
        return {p["ParameterKey"]: p["ParameterValue"] for p in self._describe().get("Parameters", [])}

    def status(self) -> str:
        """CloudFormation's status of the stack."""
        return str(self._describe()["StackStatus"])

    def physical_ids(self) -> dict[str, str]:
        """Physical resource ids by logical id."""
        found = self.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in found}

    def settings(self) -> dict[str, str]:
        """The function's environment variables, and those that its SETTINGS carries.

        Raises:
            SettingsError: SETTINGS cannot be read, so the function does not start either.
        """
        found = self.client("lambda").get_function_configuration(FunctionName=self.physical_ids()["ChatFunction"])
        variables = dict(found.get("Environment", {}).get("Variables", {}))
        unpack_settings(variables)
        return variables

    def _describe(self) -> Any:
        return self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]


def run_checks(stack: Stack) -> Iterator[Finding]:
    """Run all checks. If the stack cannot be read, that is the only finding."""
    try:
        yield _check_stack(stack.status())
        ids, parameters, settings = stack.physical_ids(), stack.parameters(), stack.settings()
    except (BotoCoreError, ClientError) as error:
        yield _stack_unavailable(stack, error)
        return
    except SettingsError as error:
        yield wrong("settings", str(error), f"{DEPLOY_COMMAND} with the parameter Settings mended")
        return
    function_args = {"FunctionName": ids["ChatFunction"]}
    if parameters.get("SnapStart") == "PublishedVersions":
        function_args["Qualifier"] = "live"
        yield from _run_check("snapshot", lambda: _check_snapshot(stack, function_args))
    yield from _run_check("function", lambda: _check_function(stack, function_args))
    if api := ids.get("ChatApi"):
        yield from _run_check("api", lambda: _check_api(stack, api))
        yield from _run_check(
            "permissions", lambda: _check_permissions(stack, function_args, "the API", REQUIRED_ACTIONS[1:])
        )
    else:
        yield from _run_check("url", lambda: _check_function_url(stack, function_args))
        actions = () if parameters.get("Auth") == "iam" else REQUIRED_ACTIONS
        yield from _run_check("permissions", lambda: _check_permissions(stack, function_args, "the URL", actions))
    if secret := settings.get("API_KEYS_SECRET_ARN"):
        yield from _run_check("keys", lambda: _check_api_keys(stack, secret))
    for name in ("MODEL_API_KEY_SECRET_ARN", "OPENAI_API_KEY_SECRET_ARN", "ANTHROPIC_API_KEY_SECRET_ARN"):
        if arn := settings.get(name):
            yield from _run_check("model key", partial(_check_model_key, stack, arn))
    yield from _run_check("table", lambda: _check_table(stack, ids["Conversations"]))
    yield from _run_check("alarms", lambda: _check_alarms(stack))


def public_url(stack: Stack) -> str:
    """The public URL without a trailing slash; empty if there is none or requests must be signed."""
    with contextlib.suppress(BotoCoreError, ClientError):  # reported by the check `stack`
        parameters = stack.parameters()
        if parameters.get("Auth") != "iam" and not parameters.get("CloudFrontDistributionArn"):
            return stack.outputs().get("Url", "").rstrip("/")
    return ""


def api_key(stack: Stack) -> str:
    """A caller's API key of this deployment; empty if there is none or it cannot be read."""
    try:
        secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.settings()["API_KEYS_SECRET_ARN"])
        first = next(iter(json.loads(secret["SecretString"]).values()))
    except (BotoCoreError, ClientError, SettingsError, KeyError, ValueError, StopIteration):
        return ""  # reported by the check `keys` or `settings`
    return str(first if isinstance(first, str) else first[0])


def _run_check(subject: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """Run a check; an AWS error becomes a finding: a resource is missing, or access to it is denied."""
    try:
        yield check()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "AccessDenied" in code or "Unauthorized" in code:
            yield unknown(subject, f"your AWS permissions do not allow this check ({code})")
        else:
            yield wrong(subject, str(error), DEPLOY_COMMAND)
    except BotoCoreError as error:  # no response from AWS, such as a connection error
        yield unknown(subject, str(error))


_UNAVAILABLE: Final[dict[type[Exception], tuple[str, str]]] = {
    NoCredentialsError: ("no AWS credentials found", "export AWS_PROFILE=…, or aws sso login"),
    NoRegionError: ("no AWS region is configured", "make doctor STACK=… REGION=…"),
}


def _stack_unavailable(stack: Stack, error: Exception) -> Finding:
    other = str(error), f"make deploy, or try another region: make doctor STACK={stack.name} REGION=…"
    return wrong("stack", *_UNAVAILABLE.get(type(error), other))


def _check_stack(status: str) -> Finding:
    if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return ok("stack", status)
    if status.endswith("IN_PROGRESS"):
        return unknown("stack", f"{status}: run the doctor again when it is done")
    return wrong("stack", status, "read its events (aws cloudformation describe-stack-events), then make deploy")


def _check_function(stack: Stack, function_args: dict[str, str]) -> Finding:
    found = stack.client("lambda").get_function_configuration(**function_args)
    wrapper = found.get("Environment", {}).get("Variables", {}).get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper != "/opt/winterbourne" or len(found.get("Layers", [])) < 2:
        return wrong("function", "it cannot stream: the engine layer or its exec wrapper is missing", DEPLOY_COMMAND)
    return ok("function", f"{found['Runtime']}, {found['MemorySize']} MB, {found['Timeout']} s")


def _check_snapshot(stack: Stack, function_args: dict[str, str]) -> Finding:
    """CloudFormation publishes no version for a changed parameter alone, so callers may still get an older one."""
    current_args = {"FunctionName": function_args["FunctionName"]}
    if _comparable_configuration(stack, function_args) == _comparable_configuration(stack, current_args):
        return ok("snapshot", "matches the current configuration")
    fix = "make deploy PARAMETERS=Release=… with a new value"
    return wrong("snapshot", "older than the current configuration", fix)


def _comparable_configuration(stack: Stack, function_args: dict[str, str]) -> tuple[object, ...]:
    found = stack.client("lambda").get_function_configuration(**function_args)
    layers = [layer["Arn"] for layer in found.get("Layers", [])]
    return found.get("Environment"), found["CodeSha256"], found["MemorySize"], found["Timeout"], layers


def _check_function_url(stack: Stack, function_args: dict[str, str]) -> Finding:
    found = stack.client("lambda").get_function_url_config(**function_args)
    if found.get("InvokeMode") != "RESPONSE_STREAM":
        fix = f"{DEPLOY_COMMAND} (InvokeMode RESPONSE_STREAM)"
        return wrong("url", "responses are buffered instead of streamed", fix)
    return ok("url", f"streams responses, AuthType {found['AuthType']}")


def _check_api(stack: Stack, api: str) -> Finding:
    found = stack.client("apigateway").get_resources(restApiId=api, embed=["methods"], limit=500)["items"]
    integrations = [m.get("methodIntegration", {}) for r in found for m in r.get("resourceMethods", {}).values()]
    if not integrations or not all(i.get("uri", "").endswith("/response-streaming-invocations") for i in integrations):
        fix = f"{DEPLOY_COMMAND} (responseTransferMode STREAM)"
        return wrong("api", "responses are buffered instead of streamed", fix)
    return ok("api", "streams responses")


def _check_permissions(stack: Stack, function_args: dict[str, str], door: str, actions: Sequence[str]) -> Finding:
    if not actions:
        return ok("permissions", "granted by the callers' own IAM policies")
    client = stack.client("lambda")
    try:
        policy = json.loads(client.get_policy(**function_args)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        policy = {"Statement": []}
    allowed = {s["Action"] for s in policy["Statement"] if s["Effect"] == "Allow"}
    if missing := [action for action in actions if action not in allowed]:
        return wrong("permissions", f"{door} also needs {' and '.join(missing)}: callers are refused", DEPLOY_COMMAND)
    return ok("permissions", f"those of {door} are granted")


def _check_api_keys(stack: Stack, secret_id: str) -> Finding:
    fix = """aws secretsmanager put-secret-value --secret-id … --secret-string '{"first":"…"}'"""
    text = stack.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    try:
        names = list(json.loads(text))
    except ValueError:
        return wrong("keys", "the secret is not a JSON object of names and keys", fix)
    if not names:
        return wrong("keys", "there are no API keys: nobody can call", fix)
    return ok("keys", f"API keys of {', '.join(names)}")


def _check_model_key(stack: Stack, arn: str) -> Finding:
    if ":ssm:" in arn:
        stack.client("ssm").get_parameter(Name=arn, WithDecryption=True)
    else:
        stack.client("secretsmanager").get_secret_value(SecretId=arn)
    return ok("model key", "can be read")


def _check_table(stack: Stack, name: str) -> Finding:
    client = stack.client("dynamodb")
    status = client.describe_table(TableName=name)["Table"]["TableStatus"]
    ttl_status = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if status != "ACTIVE":
        return wrong("table", f"status is {status}", "wait until it is ACTIVE")
    if ttl_status not in {"ENABLED", "ENABLING"}:
        return wrong("table", "items never expire: time to live (TTL) is disabled", DEPLOY_COMMAND)
    return ok("table", "active, and items expire (TTL)")


def _check_alarms(stack: Stack) -> Finding:
    found = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    firing = [alarm["AlarmName"].removeprefix(f"{stack.name}-") for alarm in found if alarm["StateValue"] == "ALARM"]
    if firing:
        return wrong("alarms", ", ".join(firing), "; ".join(f"docs/how-to/operate.md#{name}" for name in firing))
    if not found:
        return wrong("alarms", "the stack has no alarms", DEPLOY_COMMAND)
    return ok("alarms", f"none of {len(found)} is in state ALARM")
