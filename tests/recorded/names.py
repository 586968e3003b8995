"""All public names, as the code and the template have them now.

The names in the store come from the recorded table, which `test_kept` compares with this release.
"""

import ast
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.chat.processes import run
from tests.recorded import public_api
from tests.recorded.log_schema import log_fields
from tests.recorded.provider import Provider
from tests.recorded.servers import ENGINE, HOME
from tests.recorded.stores import DynamoStore, table
from tests.stack import Stack, source
from winterbourne.chat import errors
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.remote import RemoteAnswer, RemoteCall

__all__ = ["SECTIONS", "differences", "record", "recorded"]

FILE: Final = HOME / "public_names.json"

Names = dict[str, Any]


def recorded() -> Names:
    """The list as it was recorded."""
    names: Names = json.loads(FILE.read_text("utf-8"))
    return names


def record(folder: Path, model_provider: Provider) -> None:
    """Record the list anew."""
    names = {**{name: section() for name, section in SECTIONS.items()}, "log": log_fields(folder, model_provider)}
    FILE.write_text(json.dumps(names, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def differences(before: Any, now: Any, where: str) -> Iterator[str]:
    """A sentence for each name or value that has changed."""
    before, now = _named(before), _named(now)
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences_of(name, before, now, f"{where}, {name}")
    elif before != now:
        yield f"{where} was {before!r} and is {now!r}, but it is public."


def _named(value: Any) -> Any:
    """A list of names is compared name by name."""
    is_names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return dict.fromkeys(value, "") if is_names else value


def _differences_of(name: str, before: Names, now: Names, where: str) -> Iterator[str]:
    if name not in now:
        yield f"{where} is gone, but it is public."
    elif name not in before:
        yield f"{where} is new: it will be public, so record it."
    else:
        yield from differences(before[name], now[name], where)


def _metrics() -> Names:
    units = {name: telemetry.UNITS.get(name, "Count") for name in telemetry.METRICS}
    of_others = {*telemetry.TOOL_METRICS, *telemetry.MODEL_METRICS}
    return {
        "namespace": telemetry.NAMESPACE,
        "of a request": {name: unit for name, unit in units.items() if name not in of_others},
        "of a tool": {name: units[name] for name in telemetry.TOOL_METRICS},
        "of a model": {name: units[name] for name in telemetry.MODEL_METRICS},
    }


def _settings() -> Names:
    parts = (field.type for field in msgspec.structs.fields(Settings))
    return {name.upper(): shown for part in parts for name, shown in public_api.fields(part).items()}


def _table() -> Names:
    items = table(HOME / "kept/dynamodb" / DynamoStore.recording)
    declared = source()["Resources"]["Conversations"]["Properties"]
    wanted = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "TimeToLiveSpecification")
    attributes = {name: next(iter(value)) for item in items for name, value in item.items()}
    keys = {f"{_shape(item['pk']['S'])}  {_shape(item['sk']['S'])}": "" for item in items}
    return {"attributes": attributes, "keys": sorted(keys), **{name: declared[name] for name in wanted}}


def _shape(key: str) -> str:
    """`messages#key:alice#plain` → `messages#{caller}#{conversation}`."""
    first, *rest = key.split("#")
    if first in {"conversations", "limits", "messages", "stops"}:
        return "#".join([first, *("{caller}", "{conversation}")[: len(rest)]])
    if first in {"requests", "tokens"}:
        return f"{first}#{{window}}"
    return "#".join(f"{{{len(part)} digits}}" for part in (first, *rest)) if rest else "{conversation}"


def _template() -> Names:
    template = source()
    functions = Stack(ToolWorkerMemorySize="1769").of_type("AWS::Lambda::Function")
    return {
        "functions": {name: _function(properties) for name, properties in functions.items()},
        "outputs": sorted(template["Outputs"]),
        "may": {
            name: dict(_allowed(resource["Properties"]["Policies"]))
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::IAM::Role"
        },
        "parameters": {name: declared.get("Default") for name, declared in template["Parameters"].items()},
    }


def _function(properties: Mapping[str, Any]) -> Names:
    """A function, with its variables for the default parameters."""
    return {
        "handler": properties["Handler"],
        "runtime": properties["Runtime"],
        "variables": {name: str(value) for name, value in properties["Environment"]["Variables"].items()},
    }


def _allowed(node: Any) -> Iterator[tuple[str, list[str]]]:
    """The actions of each policy, whatever its condition."""
    if isinstance(node, dict) and "PolicyName" in node:
        actions = (statement["Action"] for statement in node["PolicyDocument"]["Statement"])
        listed = ([some] if isinstance(some, str) else some for some in actions)
        yield node["PolicyName"], sorted(set(itertools.chain(*listed)))
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _allowed(inner)


def _routes() -> Names:
    code = """
        from winterbourne.chat import app
        from winterbourne.chat.settings import Settings
        class Router(app.Router):
            def __init__(self, routes):
                super().__init__(routes)
                self.routes = routes
        app.Router, app.Service = Router, lambda router, *_: router.routes
        routes = app.build(Settings.of(auth="none", mcp_endpoint="on"), [], None)
        print(json.dumps({f"{m} {p}": "open to all" if e.is_public else "" for (m, p), e in routes.items()}))
    """
    routes: Names = json.loads(run(code).splitlines()[-1])
    return routes


def _errors() -> Names:
    """Error codes by status: those that the code pairs with a status, and those recorded in a case."""
    return {
        "by status": _by_status((*_written_codes("RequestRejected", "__init__", "error_body"), *_seen_codes())),
        "in www-authenticate": _by_status(_written_codes("_bearer_error")),
        "of all kinds": sorted({kind.code for kind in _errors_below(errors.ChatError)}),
    }


def _by_status(codes: Iterable[tuple[int, str]]) -> Names:
    found: dict[str, set[str]] = defaultdict(set)
    for status, code in codes:
        found[str(status)].add(code)
    return {status: sorted(found[status]) for status in found}


def _written_codes(*callees: str) -> Iterator[tuple[int, str]]:
    """The first two arguments wherever one of these is called, if both are constants."""
    for module in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ) if name in callees:
                    yield status, code


def _seen_codes() -> Iterator[tuple[int, str]]:
    for file in sorted((HOME / "wire").rglob("*.txt")):
        for answer in re.split(r"^\s*< (?=\d)", file.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            for code in re.findall(r'^\s*\{"error":\{.*"code":"(\w+)"', answer, re.MULTILINE):
                yield int(answer[:3]), code


def _errors_below(kind: type[errors.ChatError]) -> Iterator[type[errors.ChatError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _errors_below(below)


def _worker() -> Names:
    """The messages between the chat and its tool worker, which may be of different releases."""
    return {
        shape.__name__: [field.encode_name for field in msgspec.structs.fields(shape)]
        for shape in (RemoteCall, RemoteAnswer)
    }


SECTIONS: Final[Mapping[str, Callable[[], Names]]] = {
    "command line": public_api.command_line,
    "errors": _errors,
    "metrics": _metrics,
    "routes": _routes,
    "runtime": public_api.of_the_runtime,
    "settings": _settings,
    "table": _table,
    "template": _template,
    "tools": public_api.of_tools,
    "worker": _worker,
}
