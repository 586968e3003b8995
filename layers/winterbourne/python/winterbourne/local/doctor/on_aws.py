"""Checks a deployment as the owner of its AWS account: stack, function, its door, secrets, table and alarms.

Uses the permissions of whoever runs it, and reports where they are insufficient. Each resource is found by its id in
the stack: names say nothing, since that of one stack may begin another's.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings_variable import unpack_settings
from winterbourne.local.doctor.findings import Finding, ok, unknown, wrong

__all__ = ["ALARM", "CHECKS", "REQUIRED_ACTIONS", "Stack", "api_key", "public_url", "run_checks"]

DEPLOY_COMMAND: Final = "make deploy"
REQUIRED_ACTIONS: Final = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
"""What a function URL's callers need since October 2025: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"""

MODEL_KEYS: Final = ("MODEL_API_KEY_SECRET_ARN", "OPENAI_API_KEY_SECRET_ARN", "ANTHROPIC_API_KEY_SECRET_ARN")
ALARM: Final = "AWS::CloudWatch::Alarm"

_BY_HAND: Final = "docs/how-to/operate.md#rights-that-were-changed-by-hand"
_RUNBOOK: Final = re.compile(r"docs/\S+#[\w-]+")


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

    def physical_ids(self, kind: str = "") -> dict[str, str]:
        """Physical resource ids by logical id, of all resources or of those of one type."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        found = [r for page in pages for r in page["StackResourceSummaries"] if kind in {"", r["ResourceType"]}]
        there = (r for r in found if r["ResourceStatus"] != "DELETE_COMPLETE")  # as in one that was rolled back
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in there}

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


@dataclass(frozen=True)
class _Deployed:
    """A stack that is there, and what its checks have in common; `function` names what callers get, to boto3."""

    stack: Stack
    ids: Mapping[str, str]
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    function: Mapping[str, str]

    @property
    def door(self) -> str:
        """Through what callers come: rest, cloudfront or url."""
        if "ChatApi" in self.ids:
            return "rest"
        return "cloudfront" if self.parameters.get("CloudFrontDistributionArn") else "url"

    @property
    def is_signed(self) -> bool:
        """Whether callers sign their requests themselves."""
        return self.parameters.get("Auth") == "iam"


def run_checks(stack: Stack) -> Iterator[Finding]:
    """Run all checks. If the stack cannot be read, that is the only finding."""
    try:
        yield _check_stack(status := stack.status())
        if not (ids := stack.physical_ids()).get("ChatFunction"):
            if status.endswith("IN_PROGRESS"):  # it may come yet
                return
            yield wrong("function", "the stack has none", f"delete it (sam delete), then {DEPLOY_COMMAND}")
            return
        parameters, settings = stack.parameters(), stack.settings()
    except (BotoCoreError, ClientError) as error:
        yield _stack_unavailable(stack, error)
        return
    except SettingsError as error:
        yield wrong("settings", str(error), f"{DEPLOY_COMMAND} with the parameter Settings mended")
        return
    alias = {"Qualifier": "live"} if parameters.get("SnapStart") == "PublishedVersions" else {}
    deployed = _Deployed(stack, ids, parameters, settings, {"FunctionName": ids["ChatFunction"], **alias})
    for subject, (is_due, check) in CHECKS.items():
        if is_due(deployed):
            yield from _run_check(subject, partial(check, deployed))


def public_url(stack: Stack) -> str:
    """The URL that takes unsigned requests, without a trailing slash: CloudFront's if that is in front; else empty."""
    with contextlib.suppress(BotoCoreError, ClientError):  # reported by the checks `stack` and `cloudfront`
        parameters = stack.parameters()
        if arn := parameters.get("CloudFrontDistributionArn"):
            found = _distribution(stack, arn)
            aliases = found["DistributionConfig"].get("Aliases", {}).get("Items") or ()
            named = (alias for alias in aliases if "*" not in alias)
            return f"https://{next(named, found['DomainName'])}"
        if parameters.get("Auth") != "iam":
            return stack.outputs().get("Url", "").rstrip("/")
    return ""


def api_key(stack: Stack) -> str:
    """A caller's API key of this deployment; empty if there is none or it cannot be read."""
    try:
        secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.settings()["API_KEYS_SECRET_ARN"])
        first = next(iter(json.loads(secret["SecretString"]).values()))
        return str(first if isinstance(first, str) else first[0])
    except (BotoCoreError, ClientError, SettingsError, LookupError, AttributeError, ValueError, StopIteration):
        return ""  # reported by the check `keys` or `settings`


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
    except KeyError as error:  # as in a stack whose creation has failed half-way
        yield wrong(subject, f"there is no {error.args[0]}", DEPLOY_COMMAND)


_UNAVAILABLE: Final[dict[type[Exception], tuple[str, str]]] = {
    NoCredentialsError: ("no AWS credentials found", "export AWS_PROFILE=…, or aws sso login"),
    ProfileNotFound: ("the AWS profile is not configured here", "export AWS_PROFILE=… with one that is"),
    NoRegionError: ("no AWS region is configured", "make doctor STACK=… REGION=…"),
}


_MISSING: Final = frozenset({"ValidationError", "ResourceNotFoundException"})
"""What AWS says of a stack, or a function, that is not there."""


def _stack_unavailable(stack: Stack, error: Exception) -> Finding:
    fix = f"make deploy, or try another region: make doctor STACK={stack.name} REGION=…"
    if isinstance(error, ClientError) and error.response["Error"]["Code"] not in _MISSING:
        fix = "use credentials that are valid, and may do this: export AWS_PROFILE=…, or aws sso login"
    other = str(error), fix
    return wrong("stack", *_UNAVAILABLE.get(type(error), other))


def _check_stack(status: str) -> Finding:
    if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return ok("stack", status)
    if status.endswith("IN_PROGRESS"):
        return unknown("stack", f"{status}: run the doctor again when it is done")
    return wrong("stack", status, "read its events (aws cloudformation describe-stack-events), then make deploy")


def _check_function(deployed: _Deployed) -> Finding:
    found = deployed.stack.client("lambda").get_function_configuration(**deployed.function)
    wrapper = found.get("Environment", {}).get("Variables", {}).get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper != "/opt/winterbourne" or len(found.get("Layers", [])) < 2:
        return wrong("function", "it cannot stream: the engine layer or its exec wrapper is missing", DEPLOY_COMMAND)
    return ok("function", f"{found['Runtime']}, {found['MemorySize']} MB, {found['Timeout']} s")


def _check_capacity(deployed: _Deployed) -> Finding:
    name = deployed.ids["ChatFunction"]
    found = deployed.stack.client("lambda").get_function_concurrency(FunctionName=name)
    if (reserved := found.get("ReservedConcurrentExecutions")) == 0:
        undone = f"aws lambda delete-function-concurrency --function-name {name}"
        fix = deployed.stack.outputs().get("SwitchOn", undone)
        return wrong("capacity", "the function is switched off: 0 chats at once", fix)
    return ok("capacity", "as much as the account has" if reserved is None else f"{reserved} chats at once")


def _check_snapshot(deployed: _Deployed) -> Finding:
    """CloudFormation publishes no version for a changed parameter alone, so callers may still get an older one."""
    current = {"FunctionName": deployed.ids["ChatFunction"]}
    if _comparable(deployed.stack, deployed.function) == _comparable(deployed.stack, current):
        return ok("snapshot", "matches the current configuration")
    fix = "make deploy PARAMETERS=Release=… with a new value"
    return wrong("snapshot", "older than the current configuration", fix)


def _comparable(stack: Stack, function: Mapping[str, str]) -> tuple[object, ...]:
    found = stack.client("lambda").get_function_configuration(**function)
    layers = [layer["Arn"] for layer in found.get("Layers", [])]
    return found.get("Environment"), found["CodeSha256"], found["MemorySize"], found["Timeout"], layers


def _check_function_url(deployed: _Deployed) -> Finding:
    found = deployed.stack.client("lambda").get_function_url_config(**deployed.function)
    if found.get("InvokeMode") != "RESPONSE_STREAM":
        return wrong("url", "responses are buffered instead of streamed", f"{DEPLOY_COMMAND} (InvokeMode)")
    expected = "AWS_IAM" if deployed.is_signed or deployed.door == "cloudfront" else "NONE"
    if found["AuthType"] != expected:
        return wrong("url", f"AuthType is {found['AuthType']} instead of {expected}", DEPLOY_COMMAND)
    return ok("url", f"streams responses, AuthType {expected}")


def _check_distribution(deployed: _Deployed) -> Finding:
    found = _distribution(deployed.stack, deployed.parameters["CloudFrontDistributionArn"])
    config, host = found["DistributionConfig"], urlsplit(deployed.stack.outputs().get("Url", "")).hostname
    origins = [origin for origin in config["Origins"]["Items"] if origin["DomainName"] == host]
    behavior = config["DefaultCacheBehavior"]
    faults = {
        "it is disabled": not config["Enabled"],
        f"it does not lead to {host}": not origins,
        "it does not sign requests (origin access control)": not all(o.get("OriginAccessControlId") for o in origins),
        "it takes no POST": "POST" not in behavior.get("AllowedMethods", {}).get("Items", ()),
        "it compresses, and so gathers what should flow": behavior.get("Compress"),
    }
    if wrongs := "; ".join(fault for fault, is_there in faults.items() if is_there):
        return wrong("cloudfront", wrongs, "deploy cloudfront.yaml anew: docs/how-to/cloudfront.md#the-distribution")
    return ok("cloudfront", f"{found['DomainName']} signs requests, and leads to this stack's URL")


def _distribution(stack: Stack, arn: str) -> Any:
    return stack.client("cloudfront").get_distribution(Id=arn.rpartition("/")[2])["Distribution"]


def _check_api(deployed: _Deployed) -> Finding:
    client = deployed.stack.client("apigateway")
    found = client.get_resources(restApiId=deployed.ids["ChatApi"], embed=["methods"], limit=500)["items"]
    integrations = [m.get("methodIntegration", {}) for r in found for m in r.get("resourceMethods", {}).values()]
    if not integrations or not all(i.get("uri", "").endswith("/response-streaming-invocations") for i in integrations):
        fix = f"{DEPLOY_COMMAND} (responseTransferMode STREAM)"
        return wrong("api", "responses are buffered instead of streamed", fix)
    return ok("api", "streams responses")


def _check_permissions(deployed: _Deployed) -> Finding:
    if deployed.is_signed and deployed.door == "url":
        return ok("permissions", "granted by the callers' own IAM policies")
    source = deployed.parameters.get("CloudFrontDistributionArn", "")
    door, principal, actions = {
        "rest": ("the API", "apigateway.amazonaws.com", REQUIRED_ACTIONS[1:]),
        "cloudfront": ("the distribution", "cloudfront.amazonaws.com", REQUIRED_ACTIONS),
        "url": ("the URL", "*", REQUIRED_ACTIONS),
    }[deployed.door]
    granted = {
        action for action, whom, where in _grants(deployed) if whom == principal and (not source or where == source)
    }
    if missing := [action for action in actions if action not in granted]:
        fix = f"{DEPLOY_COMMAND}; of what was changed by hand see {_BY_HAND}"
        return wrong("permissions", f"{door} also needs {' and '.join(missing)}: callers are refused", fix)
    return ok("permissions", f"those of {door} are granted")


def _grants(deployed: _Deployed) -> Iterator[tuple[str, str, str]]:
    """What the function's policy allows: the action, the principal, and the ARN that it has to call for, if any."""
    client = deployed.stack.client("lambda")
    try:
        policy = json.loads(client.get_policy(**deployed.function)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow":
            principal = statement["Principal"]
            whom = principal if isinstance(principal, str) else next(iter(principal.values()))
            yield statement["Action"], whom, statement.get("Condition", {}).get("ArnLike", {}).get("AWS:SourceArn", "")


def _check_api_keys(deployed: _Deployed) -> Finding:
    fix = """aws secretsmanager put-secret-value --secret-id … --secret-string '{"first":"…"}'"""
    secret_id = deployed.settings["API_KEYS_SECRET_ARN"]
    text = deployed.stack.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    try:
        names = [name for name, keys in dict(json.loads(text)).items() if keys]
    except (ValueError, TypeError):
        return wrong("keys", "the secret is not a JSON object of names and keys", fix)
    if not names:
        return wrong("keys", "there are no API keys: nobody can call", fix)
    return ok("keys", f"API keys of {', '.join(names)}")


def _check_model_keys(deployed: _Deployed) -> Finding:
    client = deployed.stack.client
    for arn in filter(None, map(deployed.settings.get, MODEL_KEYS)):
        if ":ssm:" in arn:
            client("ssm").get_parameter(Name=arn, WithDecryption=True)
        else:
            client("secretsmanager").get_secret_value(SecretId=arn)
    return ok("model key", "can be read")


def _check_table(deployed: _Deployed) -> Finding:
    client, name = deployed.stack.client("dynamodb"), deployed.ids["Conversations"]
    status = client.describe_table(TableName=name)["Table"]["TableStatus"]
    ttl_status = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if status != "ACTIVE":
        return wrong("table", f"status is {status}", "wait until it is ACTIVE")
    if ttl_status not in {"ENABLED", "ENABLING"}:
        return wrong("table", "items never expire: time to live (TTL) is disabled", DEPLOY_COMMAND)
    return ok("table", "active, and items expire (TTL)")


def _check_alarms(deployed: _Deployed) -> Finding:
    names = [*deployed.stack.physical_ids(ALARM).values()]
    if not names:
        return wrong("alarms", "the stack has no alarms", DEPLOY_COMMAND)
    found = deployed.stack.client("cloudwatch").describe_alarms(AlarmNames=names, MaxRecords=100)["MetricAlarms"]
    if gone := {*names} - {alarm["AlarmName"] for alarm in found}:
        fix = f"take them out of template.yaml, {DEPLOY_COMMAND}, put them back, {DEPLOY_COMMAND}"
        return wrong("alarms", f"deleted, though the stack has them: {', '.join(sorted(gone))}", fix)
    if firing := [alarm for alarm in found if alarm["StateValue"] == "ALARM"]:
        fix = "; ".join(_runbook(alarm.get("AlarmDescription", "")) for alarm in firing)
        return wrong("alarms", f"in state ALARM: {', '.join(alarm['AlarmName'] for alarm in firing)}", fix)
    return ok("alarms", f"none of {len(found)} is in state ALARM")


def _runbook(description: str) -> str:
    linked = _RUNBOOK.search(description)
    return linked[0] if linked else "docs/how-to/operate.md#alarms"


_Check: TypeAlias = tuple[Callable[[_Deployed], object], Callable[[_Deployed], Finding]]


def _always(_: _Deployed) -> bool:
    return True


CHECKS: Final[Mapping[str, _Check]] = {
    "snapshot": (lambda deployed: "Qualifier" in deployed.function, _check_snapshot),
    "function": (_always, _check_function),
    "capacity": (_always, _check_capacity),
    "api": (lambda deployed: deployed.door == "rest", _check_api),
    "url": (lambda deployed: deployed.door != "rest", _check_function_url),
    "cloudfront": (lambda deployed: deployed.door == "cloudfront", _check_distribution),
    "permissions": (_always, _check_permissions),
    "keys": (lambda deployed: deployed.settings.get("API_KEYS_SECRET_ARN"), _check_api_keys),
    "model key": (lambda deployed: any(map(deployed.settings.get, MODEL_KEYS)), _check_model_keys),
    "table": (_always, _check_table),
    "alarms": (_always, _check_alarms),
}
"""The checks of a stack that can be read, by their subjects: whether each is due, and the check."""
