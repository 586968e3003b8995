"""Reads metrics in embedded metric format (EMF) from a log, each validated as CloudWatch would."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it ships no types

__all__ = ["checked", "counts", "read", "totals"]

SCHEMA: Final = Draft7Validator(json.loads((Path(__file__).parent / "schemas/emf.json").read_text()))
VALUES: Final = 100  # the most that one metric may have in one document


def read(text: str) -> list[dict[str, Any]]:
    """The metrics in the text of a log, each a document that CloudWatch accepts completely."""
    return checked(json.loads(line) for line in text.splitlines() if line.startswith("{"))


def checked(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines that are metrics; each must be a document that CloudWatch accepts completely."""
    documents = [line for line in lines if "_aws" in line]
    for document in documents:
        SCHEMA.validate(document)
        for name, _, values in _series(document):
            assert len(values) <= VALUES, name
            assert all(isinstance(value, int | float) for value in values), name
    return documents


def totals(documents: Iterable[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """The sum of each metric, by its name and its tool."""
    summed: dict[tuple[str, str], float] = defaultdict(float)
    for document in documents:
        for name, tool, values in _series(document):
            summed[name, tool] += sum(values)
    return summed


def counts(documents: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How many values each metric has, by its name and its tool."""
    counted: Counter[tuple[str, str]] = Counter()
    for document in documents:
        for name, tool, values in _series(document):
            counted[name, tool] += len(values)
    return counted


def _series(document: dict[str, Any]) -> Iterator[tuple[str, str, list[float]]]:
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(document[dimension], str) for dimension in dimensions)
        for metric in directive["Metrics"]:
            value = document[metric["Name"]]  # a metric that is declared must have a value
            yield metric["Name"], document.get("tool", ""), value if isinstance(value, list) else [value]
