"""Aggregating metrics in embedded metric format (EMF) from log lines."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.metrics import Metrics


def emf(*, dimensions: list[list[str]], **values: Any) -> str:
    metrics = [{"Name": name, "Unit": "Milliseconds"} for name in values]
    directive = {"Namespace": "N", "Dimensions": dimensions, "Metrics": metrics}
    return json.dumps({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [directive]}, "tool": "t", **values})


def test_values_of_one_name_are_added_up() -> None:
    metrics = Metrics()
    for value in (3, 1, 2):
        assert metrics.ingest(emf(dimensions=[["tool"]], Duration=value))
    (series,) = metrics.series()
    assert (series.name, series.dimensions, series.unit) == ("Duration", "tool t", "Milliseconds")
    assert (series.count, series.total, series.least, series.most, series.last) == (3, 6, 1, 3, 2)


def test_a_list_counts_as_that_many_values() -> None:
    metrics = Metrics()
    metrics.ingest(emf(dimensions=[], Duration=[1, 2, 3]))
    assert metrics.series()[0].count == 3


def test_every_set_of_dimensions_is_a_series_of_its_own() -> None:
    metrics = Metrics()
    metrics.ingest(emf(dimensions=[[], ["tool"]], Duration=1))
    assert [series.dimensions for series in metrics.series()] == ["", "tool t"]


def test_other_log_lines_are_ignored() -> None:
    metrics = Metrics()
    broken = '{"_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "gone"}]}]}}'
    assert not any(metrics.ingest(line) for line in ("hello", '{"level":"INFO"}', '"_aws"', '{"_aws": 1}', broken))
    assert metrics.series() == []


@given(st.text())
def test_any_text_is_accepted(text: str) -> None:
    Metrics().ingest(f'{{"_aws": {text}}}')
