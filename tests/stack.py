"""The doors' templates as CloudFormation would see them: after SAM's transform, all parameters and functions resolved.

Supports the intrinsic functions that our templates use, and fails on any other.
"""

import atexit
import functools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from samtranslator.translator.transform import transform  # type: ignore[import-untyped]  # it ships no types
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # likewise

from winterbourne.local.new import engine_files

__all__ = ["ROOT", "Stack", "source", "template_of"]

ROOT: Final = Path(__file__).parent.parent
TEMPLATE = ROOT / "template.yaml"
"""The one that is meant where none is named."""

PSEUDO: Final = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "winterbourne-dev",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING: Final = {"Ref": "AWS::NoValue"}


@functools.cache
def template_of(door: str) -> Path:
    """The file that `winterbourne new --door` writes as `template.yaml`, or as the template named after the door."""
    if door == "url":
        return ROOT / "template.yaml"
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for name, content in engine_files(door).items():
        (folder / Path(name).name).write_bytes(content)
    return folder / ("cloudfront.yaml" if door == "cloudfront" else "template.yaml")


def source(path: Path | None = None) -> dict[str, Any]:
    """A template as it is written; a copy for each caller."""
    parsed: dict[str, Any] = json.loads(_parsed(path or TEMPLATE))
    return parsed


@functools.cache
def _parsed(path: Path) -> str:
    return json.dumps(yaml_parse(path.read_text()))


@functools.cache
def _transformed(path: Path) -> dict[str, Any]:
    """The template after SAM's transform, functions and conditions unresolved; no parameter changes what SAM does."""
    template = source(path)
    for resource in template["Resources"].values():
        for key in {"CodeUri", "ContentUri"} & set(resource.get("Properties", ())):
            resource["Properties"][key] = "s3://bucket/key"  # what `sam package` writes there
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]}):  # it asks for the partition
        result: dict[str, Any] = transform(template, {}, _NoPolicies())
    return result


class Stack:
    """One deployment.

    Args:
        path: The template.
        parameters: Those that are not left at their defaults.

    A reference to a resource becomes `<Name>`, an attribute of it `<Name.Attribute>`.
    """

    def __init__(self, path: Path | None = None, /, **parameters: str) -> None:
        template = _transformed(path or TEMPLATE)
        defaults = {name: declared.get("Default", "") for name, declared in template["Parameters"].items()}
        self.parameters: dict[str, Any] = {**defaults, **parameters}
        self._lists = {n for n, p in template["Parameters"].items() if p["Type"] == "CommaDelimitedList"}
        self._mappings = template.get("Mappings", {})
        self._conditions = template["Conditions"]
        self.resources: dict[str, Any] = self._included(template["Resources"])
        self.outputs: dict[str, str] = {name: o["Value"] for name, o in self._included(template["Outputs"]).items()}
        self.refusals = [
            assertion["AssertDescription"]
            for rule in template["Rules"].values()
            if self.value(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of every resource of one type, by name."""
        return {n: r.get("Properties", {}) for n, r in self.resources.items() if r["Type"] == kind}

    def properties(self, name: str) -> dict[str, Any]:
        """The properties of one resource."""
        found: dict[str, Any] = self.resources[name]["Properties"]
        return found

    def value(self, node: Any) -> Any:
        """Resolve intrinsic functions; NOTHING stands for a property that is to be omitted."""
        if isinstance(node, list):
            return [v for v in map(self.value, node) if v != NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1 and node != NOTHING:
            ((name, argument),) = node.items()
            if name in {"Ref", "Condition"} and isinstance(argument, str):
                return self._ref(argument) if name == "Ref" else self.value(self._conditions[argument])
            if name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        return {k: v for k, v in ((k, self.value(v)) for k, v in node.items()) if v != NOTHING}

    def _included(self, section: Mapping[str, Any]) -> dict[str, Any]:
        included = {
            n: e for n, e in section.items() if self.value({"Condition": e["Condition"]} if "Condition" in e else True)
        }
        return {n: self.value({k: v for k, v in e.items() if k != "Condition"}) for n, e in included.items()}

    def _ref(self, name: str) -> Any:
        if name in self._lists:
            return [item for item in str(self.parameters[name]).split(",") if item]
        return self.parameters.get(name, PSEUDO.get(name, f"<{name}>"))

    def _call(self, function: str, argument: Any) -> Any:
        calls: dict[str, Callable[[Any], Any]] = {
            "And": lambda all_of: all(self.value(all_of)),
            "Equals": lambda pair: str(self.value(pair[0])) == str(self.value(pair[1])),
            "FindInMap": lambda path: self._mappings[self.value(path[0])][self.value(path[1])][path[2]],
            "GetAtt": lambda path: f"<{'.'.join(path) if isinstance(path, list) else path}>",
            "If": lambda choice: self.value(choice[1 if self.value({"Condition": choice[0]}) else 2]),
            "Join": lambda parts: parts[0].join(self.value(parts[1])),
            "Or": lambda any_of: any(self.value(any_of)),
            "Not": lambda one: not self.value(one[0]),
            "Select": lambda choice: self.value(choice[1])[int(choice[0])],
            "Split": lambda parts: str(self.value(parts[1])).split(parts[0]),
            "Sub": lambda text: self._substituted(*(text if isinstance(text, list) else (text, {}))),
        }
        return calls[function](argument)

    def _substituted(self, text: str, names: Mapping[str, Any]) -> str:
        def found(match: re.Match[str]) -> str:
            name = match[1]
            return f"${{{name[1:]}}}" if name.startswith("!") else str(self.value(names.get(name, {"Ref": name})))

        return re.sub(r"\$\{([^}]+)\}", found, text)


class _NoPolicies:
    """Managed policies for the transform: none, since our template names none."""

    def load(self) -> dict[str, str]:
        return {}
