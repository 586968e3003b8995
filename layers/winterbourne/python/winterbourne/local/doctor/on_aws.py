"""A deployment as its owner sees it: the stack, the function, its URL, its secrets and table, and what alarms say.

Reads with the rights of whoever runs it, and says so where they do not suffice.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from winterbourne.local.doctor.findings import Finding, ok, unknown, wrong

__all__ = ["Stack", "api_key", "look", "url"]

DEPLOY: Final = "make deploy"
NEEDED: Final = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")


@dataclass(frozen=True)
class Stack:
    """One deployment.

    Args:
        name: The stack's.
        client: Makes a boto3 client by the name of its service.
    """

    name: str
    client: Callable[[str], Any]

    def outputs(self) -> dict[str, str]:
        """By name. What boto3 raises, passes."""
        return {o["OutputKey"]: o["OutputValue"] for o in self._described().get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """By name, with their values."""
        return {p["ParameterKey"]: p["ParameterValue"] for p in self._described().get("Parameters", [])}

    def status(self) -> str:
        """As CloudFormation spells it."""
        return str(self._described()["StackStatus"])

    def ids(self) -> dict[str, str]:
        """Physical ids by logical ids."""
        found = self.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in found}

    def settings(self) -> dict[str, str]:
        """The function's environment variables."""
        found = self.client("lambda").get_function_configuration(FunctionName=self.ids()["ChatFunction"])
        return dict(found.get("Environment", {}).get("Variables", {}))

    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        return described


def look(stack: Stack) -> Iterator[Finding]:
    """Check everything; where there is no such stack, that is the one finding."""
    try:
        yield _deployed(stack.status())
        ids, parameters, settings = stack.ids(), stack.parameters(), stack.settings()
    except (BotoCoreError, ClientError) as error:
        yield _no_stack(stack, error)
        return
    called = {"FunctionName": ids["ChatFunction"]}
    if parameters.get("SnapStart") == "PublishedVersions":
        called["Qualifier"] = "live"
        yield from _tried("snapshot", lambda: _snapshot(stack, called))
    yield from _tried("function", lambda: _function(stack, called))
    yield from _tried("url", lambda: _url(stack, called))
    yield from _tried("permissions", lambda: _permissions(stack, called, parameters.get("Auth", "")))
    if secret := settings.get("API_KEYS_SECRET_ARN"):
        yield from _tried("keys", lambda: _keys(stack, secret))
    if arn := settings.get("MODEL_API_KEY_SECRET_ARN"):
        yield from _tried("model key", lambda: _model_key(stack, arn))
    yield from _tried("table", lambda: _table(stack, ids["Conversations"]))
    yield from _tried("alarms", lambda: _alarms(stack))


def url(stack: Stack) -> str:
    """Where anybody may knock, without a last slash; empty where there is nothing, or calls must be signed."""
    try:
        parameters = stack.parameters()
        signed = parameters.get("Auth") == "iam" or parameters.get("CloudFrontDistributionArn")
        return "" if signed else stack.outputs().get("Url", "").rstrip("/")
    except (BotoCoreError, ClientError):
        return ""  # `stack` has said so


def api_key(stack: Stack) -> str:
    """A caller's key of this deployment; empty where there is none, or where it may not be read."""
    try:
        secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.settings()["API_KEYS_SECRET_ARN"])
        first = next(iter(json.loads(secret["SecretString"]).values()))
    except (BotoCoreError, ClientError, KeyError, ValueError, StopIteration):
        return ""  # `keys` has said so
    return str(first if isinstance(first, str) else first[0])


# Private functions


def _tried(about: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """A check that AWS refuses is a finding, too: a thing is missing, or we may not see it."""
    try:
        yield check()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "AccessDenied" in code or "Unauthorized" in code:
            yield unknown(about, f"you may not look ({code})")
        else:
            yield wrong(about, str(error), DEPLOY)
    except BotoCoreError as error:  # nothing was refused: AWS was not reached at all
        yield unknown(about, str(error))


def _no_stack(stack: Stack, error: Exception) -> Finding:
    match error:
        case NoCredentialsError():
            return wrong("stack", "no AWS credentials", "export AWS_PROFILE=…, or aws sso login")
        case NoRegionError():
            return wrong("stack", "no region", "make doctor STACK=… REGION=…")
        case _:
            return wrong(
                "stack", str(error), f"make deploy, or look elsewhere: make doctor STACK={stack.name} REGION=…"
            )


def _deployed(status: str) -> Finding:
    if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return ok("stack", status)
    if status.endswith("IN_PROGRESS"):
        return unknown("stack", f"{status}: look again when it is done")
    return wrong("stack", status, "read its events: aws cloudformation describe-stack-events; then make deploy")


def _function(stack: Stack, called: dict[str, str]) -> Finding:
    found = stack.client("lambda").get_function_configuration(**called)
    wrapper = found.get("Environment", {}).get("Variables", {}).get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper != "/opt/winterbourne" or len(found.get("Layers", [])) < 2:
        return wrong("function", "without the runtime layer it cannot stream", DEPLOY)
    return ok("function", f"{found['Runtime']}, {found['MemorySize']} MB, {found['Timeout']} s")


def _snapshot(stack: Stack, called: dict[str, str]) -> Finding:
    """CloudFormation publishes nothing for a parameter alone: then callers still get what was published before."""
    client = stack.client("lambda")
    told = [
        _telling(client.get_function_configuration(**c)) for c in (called, {"FunctionName": called["FunctionName"]})
    ]
    if told[0] == told[1]:
        return ok("snapshot", "of the function as it is configured now")
    return wrong("snapshot", "older than the configuration", "make deploy PARAMETERS=Release=… with a new value")


def _telling(found: dict[str, Any]) -> tuple[object, ...]:
    layers = [layer["Arn"] for layer in found.get("Layers", [])]
    return found.get("Environment"), found["CodeSha256"], found["MemorySize"], found["Timeout"], layers


def _url(stack: Stack, called: dict[str, str]) -> Finding:
    found = stack.client("lambda").get_function_url_config(**called)
    if found.get("InvokeMode") != "RESPONSE_STREAM":
        return wrong("url", "it collects every answer before it sends it", f"{DEPLOY} (InvokeMode RESPONSE_STREAM)")
    return ok("url", f"streams, {found['AuthType']}")


def _permissions(stack: Stack, called: dict[str, str], auth: str) -> Finding:
    if auth == "iam":
        return ok("permissions", "given by the callers' own policies")
    try:
        policy = json.loads(stack.client("lambda").get_policy(**called)["Policy"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        policy = {"Statement": []}
    given = {s["Action"] for s in policy["Statement"] if s["Effect"] == "Allow"}
    if missing := [action for action in NEEDED if action not in given]:
        return wrong("permissions", f"a public URL needs {' and '.join(missing)} too: callers get 403", DEPLOY)
    return ok("permissions", "both that a public URL needs")


def _keys(stack: Stack, secret_id: str) -> Finding:
    mend = """aws secretsmanager put-secret-value --secret-id … --secret-string '{"first":"…"}'"""
    text = stack.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    try:
        names = list(json.loads(text))
    except ValueError:
        return wrong("keys", "the secret is no JSON of names and keys", mend)
    return ok("keys", f"of {', '.join(names)}") if names else wrong("keys", "there is none: nobody may call", mend)


def _model_key(stack: Stack, arn: str) -> Finding:
    if ":ssm:" in arn:
        stack.client("ssm").get_parameter(Name=arn, WithDecryption=True)
    else:
        stack.client("secretsmanager").get_secret_value(SecretId=arn)
    return ok("model key", "can be read")


def _table(stack: Stack, name: str) -> Finding:
    client = stack.client("dynamodb")
    status = client.describe_table(TableName=name)["Table"]["TableStatus"]
    forgets = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if status != "ACTIVE":
        return wrong("table", f"is {status}", "wait until it is ACTIVE")
    if forgets not in {"ENABLED", "ENABLING"}:
        return wrong("table", "nothing in it ever expires", DEPLOY)
    return ok("table", "active, and forgets in time")


def _alarms(stack: Stack) -> Finding:
    found = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    loud = [alarm["AlarmName"].removeprefix(f"{stack.name}-") for alarm in found if alarm["StateValue"] == "ALARM"]
    if loud:
        return wrong("alarms", ", ".join(loud), "; ".join(f"docs/operate.md#{name}" for name in loud))
    return ok("alarms", f"all {len(found)} are quiet") if found else wrong("alarms", "there are none", DEPLOY)
