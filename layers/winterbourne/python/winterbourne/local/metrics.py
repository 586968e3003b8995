"""Aggregates the metrics that a function writes to its log in the embedded metric format (EMF). Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Metrics", "Series"]


@dataclass
class Series:
    """One metric with one set of dimensions, aggregated since the start."""

    name: str
    dimensions: str
    unit: str
    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    last: float = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        self.total += value
        self.least, self.most, self.last = min(self.least, value), max(self.most, value), value


class Metrics:
    """Collects metrics from log records.

    Attributes:
        mode: What the function emits, as its requests' lines say: full, lean, or off.
    """

    def __init__(self) -> None:
        self.mode = "full"
        self._series: dict[tuple[str, str], Series] = {}

    def ingest(self, record: str) -> bool:
        """Process a log record and return whether it held metrics. Others, and invalid EMF, are ignored."""
        if '"_aws"' not in record:
            return False
        try:
            values = list(_parse_emf(json.loads(record)))
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        for name, dimensions, unit, value in values:
            self._series.setdefault((name, dimensions), Series(name, dimensions, unit)).add(value)
        return True

    def series(self) -> list[Series]:
        """All series, sorted by name and dimensions."""
        return [self._series[key] for key in sorted(self._series)]


def _parse_emf(document: dict[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Name, dimensions, unit and value of every metric in an EMF document."""
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = ", ".join(f"{name} {document[name]}" for name in names)
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    yield metric["Name"], dimensions, metric.get("Unit", "None"), float(value)
