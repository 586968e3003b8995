"""Schema of the real log: the fields of each kind of line, their types, and whether every line has them.

A field within another one is named after it, `stack_trace.type`, and is in every line if it is in all that have that.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.recorded.cases import CASES
from tests.recorded.provider import Provider
from tests.recorded.servers import FLAGS, SERVERS, running, transcript_client

__all__ = ["log_fields"]

Line = dict[str, Any]

CASES_BY_DEFAULT: Final = (
    "native/one_tool",
    "native/tool_that_breaks",
    "native/tool_that_takes_too_long",
    "native/provider_is_busy_first",
    "native/error_in_the_stream",
    "refusals/unknown_path",
    "refusals/store_that_is_away",
    "endpoints/open_to_all",
)
"""Cases whose log has every kind of line."""

CASES_WITH_MESSAGES: Final = (
    "native/one_tool",
    "stored/stopped_while_a_tool_runs",
    "stored/message_that_is_sent_again",
)
"""Cases for LOG_MESSAGES=true."""

SERVICES: Final[Mapping[str, tuple[str, tuple[str, ...], Mapping[str, str]]]] = {
    "": ("storeless", CASES_BY_DEFAULT, {}),
    ", LOG_MESSAGES=true": ("openai_at_once", CASES_WITH_MESSAGES, {"LOG_MESSAGES": "true"}),
}
"""Suffix of the kinds of lines → server, cases and further settings."""

OF_PYTHON: Final = "taskName"
"""A field that the logging module adds from Python 3.12 on."""

FIELDS_WITH_PUBLIC_VALUES: Final = ("tool_status", "level")
"""Fields whose values are public as well."""


def log_fields(folder: Path, model_provider: Provider) -> dict[str, dict[str, str]]:
    """The fields of each kind of line."""
    kinds: dict[str, list[Line]] = defaultdict(list)
    for which, (server, titles, settings) in SERVICES.items():
        (here := folder / server).mkdir()
        for line in _lines(here, server, titles, settings, model_provider):
            kinds[_kind(line) + which].append(line)
    return {kind: _fields(lines) for kind, lines in kinds.items()}


def _lines(
    folder: Path, name: str, titles: Iterable[str], settings: Mapping[str, str], model_provider: Provider
) -> Iterator[Line]:
    flags = FLAGS.get(name, ("--concurrency", "1"))
    with running(folder, {**SERVERS[name], **settings}, model_provider, *flags) as server:
        client = transcript_client(server, model_provider)
        for title in titles:
            client.record(CASES[title].exchanges)
    texts = server.log.read_text("utf-8").splitlines()
    lines: Iterator[Line] = (json.loads(text) for text in texts if text.startswith("{"))
    return ({name: value for name, value in line.items() if name != OF_PYTHON} for line in lines)


def _kind(line: Line) -> str:
    if "_aws" in line:
        return next((f"metrics of a {kind}" for kind in ("tool", "model") if kind in line), "metrics of a request")
    if line["message"] == "request":
        return "request"
    if "tool_status" in line:
        return "tool"
    return f"other lines of level {line['level']}"


def _fields(lines: list[Line]) -> dict[str, str]:
    types: dict[str, set[str]] = defaultdict(set)
    seen: Counter[str] = Counter()
    for line in lines:
        fields = dict(_of(line))
        seen.update(fields.keys())
        for name, kind in fields.items():
            types[name].add(kind)
    whole = {name: seen[name.rpartition(".")[0].removesuffix("[]")] or len(lines) for name in types}
    often = {name: "always" if seen[name] == whole[name] else "sometimes" for name in types}
    return {name: f"{' or '.join(sorted(types[name]))}, {often[name]}" for name in types}


def _of(line: Line) -> Iterator[tuple[str, str]]:
    """Names and types of the fields; for metrics also namespace, dimensions and units."""
    yield from ((name, kind) for name, value in line.items() if name != "_aws" for name, kind in _typed(name, value))
    for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
        yield "_aws", f"{directive['Namespace']} by {', '.join(directive['Dimensions'][0])}"
        yield from ((metric["Name"], f"metric in {metric['Unit']}") for metric in directive["Metrics"])


def _typed(name: str, value: Any) -> Iterator[tuple[str, str]]:
    yield name, value if name in FIELDS_WITH_PUBLIC_VALUES else _type(value)
    inner = value if isinstance(value, list) else [value]
    below = f"{name}[]" if isinstance(value, list) else name
    for one in inner:
        if isinstance(one, dict):
            for key, deeper in one.items():
                yield from _typed(f"{below}.{key}", deeper)


def _type(value: Any) -> str:
    names = {str: "text", int: "number", float: "number", list: "list", dict: "object", bool: "flag"}
    return names[type(value)]
