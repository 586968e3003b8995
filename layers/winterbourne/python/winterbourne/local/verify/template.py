"""What `verify` deploys: the project's own template with another function in it, and one that has to fail."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["ORIGIN", "TAKEN_OVER", "TIMEOUT_S", "failing_template", "own_parameters", "read_template", "with_function"]

ORIGIN: Final = "https://verify.example"
"""Whose pages may call, where the stage names none, or all, which leaves no stranger to measure."""

TIMEOUT_S: Final = 15
"""Of the function: the shortest that the template allows, since some claims wait for it."""

TAKEN_OVER: Final = ("Architecture", "MemorySize", "AllowedOrigins")
"""The parameters that our stack has from its stage."""

_OWN: Final = {
    "Architecture": "arm64",
    "MemorySize": "512",
    "AllowedOrigins": ORIGIN,
    "Stage": "dev",
    "ModelProvider": "scripted",
    "Auth": "api_key",
    "Timeout": str(TIMEOUT_S),
    "LogRetentionDays": "1",
    "Metrics": "full",  # there are alarms that need it
}


def own_parameters(template: Mapping[str, Any], stage: Mapping[str, str]) -> dict[str, str]:
    """The parameters of our stack: of the stage's only those that name no secrets, people, callers or models."""
    taken_over = {name: stage[name] for name in TAKEN_OVER if stage.get(name, "*") not in {"", "*"}}
    return {name: value for name, value in {**_OWN, **taken_over}.items() if name in template["Parameters"]}


def read_template(path: Path) -> dict[str, Any]:
    """A template, with its intrinsic functions in their long form, as JSON has them.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no template of a chat.
    """
    # It ships no types; and --help and --list need no sam.
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # noqa: PLC0415 - as said

    template = yaml_parse(path.read_text("utf-8"))
    if not isinstance(template, dict) or "ChatFunction" not in template.get("Resources", {}):
        raise ValueError(f"{path} has no ChatFunction")
    return dict(template)


def with_function(template: Mapping[str, Any], folder: Path, token: str) -> dict[str, Any]:
    """A template with the function in this folder in the place of the chat; `sam build` copies it as it is.

    The token opens its probes. Among the parameters `sam` would print it.
    """
    resources = template["Resources"]
    properties = {**resources["ChatFunction"]["Properties"], "CodeUri": str(folder), "Handler": "app.handler"}
    variables = {**properties["Environment"]["Variables"], "VERIFY_TOKEN": token}
    properties["Environment"] = {"Variables": variables}
    # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html
    chat = {**resources["ChatFunction"], "Metadata": {"SkipBuild": True}, "Properties": properties}
    return {**template, "Resources": {**resources, "ChatFunction": chat}}


def failing_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template whose first deployment fails once everything else is there: it waits for a signal that nobody sends.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-cloudformation-waitcondition.html
    """
    resources = template["Resources"]
    # SAM gives a layer another name for each content, and what has a condition may not be there.
    there = [n for n, r in resources.items() if "Condition" not in r and r["Type"] != "AWS::Serverless::LayerVersion"]
    properties = {"Handle": {"Ref": "NeverSignalled"}, "Timeout": "1", "Count": 1}
    wait = {"Type": "AWS::CloudFormation::WaitCondition", "DependsOn": there, "Properties": properties}
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    return {**template, "Resources": {**resources, "NeverSignalled": handle, "Fails": wait}}
