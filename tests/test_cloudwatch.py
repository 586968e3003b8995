"""Whether `tests.cloudwatch` evaluates as CloudWatch's documentation says: its own examples and tables."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.cloudwatch import Metrics, Rules, episodes, evaluate, is_breached, is_in_alarm, matches

MINUTE = 60
NOW = 100 * MINUTE
SERVICE = {"service": "s"}
OURS = Rules()


def measured(**series: list[float | None]) -> Metrics:
    """Metrics of one value a minute, the last of them in the minute before NOW."""
    metrics = Metrics()
    for name, values in series.items():
        for back, value in enumerate(reversed(values), 1):
            if value is not None:
                metrics.add("N", name, SERVICE, NOW - back * MINUTE, value)
    return metrics


def math(expression: str, series: Iterable[str], period: int = MINUTE) -> dict[str, Any]:
    return {
        "Metrics": [
            {"Id": "shown", "Expression": expression},
            *(
                {
                    "Id": name,
                    "ReturnData": False,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "N",
                            "MetricName": name,
                            "Dimensions": [{"Name": "service", "Value": "s"}],
                        },
                        "Stat": "Sum",
                        "Period": period,
                    },
                }
                for name in series
            ),
        ]
    }


def computed(expression: str, series: dict[str, list[float | None]], rules: Rules = OURS) -> list[float | None]:
    """The values of an expression, None where it has none."""
    count = max(len(values) for values in series.values())
    _, values = evaluate(math(expression, series), measured(**series), NOW, count, rules)
    return [values.get(NOW - back * MINUTE) for back in range(count, 0, -1)]


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html: its tables for a missing
# data point that is not breaching, of five data points that are retrieved; X breaches, 0 does not, - is missing.
@pytest.mark.parametrize(
    ("points", "needed", "state"),
    [
        ("0-X-X", 3, "OK"),
        ("0----", 3, "OK"),
        ("-----", 3, "OK"),
        ("0XX-X", 3, "ALARM"),
        ("----X", 3, "OK"),
        ("X----", 3, "OK"),
        ("0-X-X", 2, "ALARM"),
        ("00X0X", 2, "ALARM"),
        ("0-X--", 2, "OK"),
        ("----0", 2, "OK"),
        ("----X", 2, "OK"),
    ],
)
def test_missing_data_is_used_as_few_times_as_possible(points: str, needed: int, state: str) -> None:
    breaching = [{"X": True, "0": False, "-": None}[point] for point in points]
    assert is_breached(breaching, needed, 3) == (state == "ALARM")


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html: its examples.
@pytest.mark.parametrize(
    ("expression", "series", "values"),
    [
        ("(a < b)", {"a": [30, 20, 0, 0], "b": [20, None, 20, None]}, [0, 0, 1, 0]),
        ("(a >= 30)", {"a": [30, 20, 0, 0]}, [1, 0, 0, 0]),
        (
            "IF(a, b, c)",
            {"a": [1, 1, 0, 0, None], "b": [30, None, 0, 0, 30], "c": [0, 0, 20, None, 20]},
            [30, 0, 20, None, None],
        ),
        ("IF(a, 5, c)", {"a": [1, 1, 0, 0, None], "c": [0, 0, 20, None, 20]}, [5, 5, 20, None, None]),
        ("IF(a, b, 5)", {"a": [1, 1, 0, 0, None], "b": [30, None, 0, 0, 30]}, [30, 0, 5, 5, None]),
        ("a + b", {"a": [1, None, None], "b": [1, 2, None]}, [2, 2, None]),
        ("a / b", {"a": [1, 1, 1], "b": [2, 0, None]}, [0.5, None, None]),
        ("2 + 3 * a", {"a": [1, 2]}, [5, 8]),
        ("FILL(a, 7)", {"a": [1, None]}, [1, 7]),
        ("a - MAX(a)", {"a": [1, 3, None]}, [-2, 0, None]),
        ("TIME_SERIES(SUM(a))", {"a": [1, 3, None]}, [4, 4, 4]),
        ("EPOCH(a)", {"a": [1, None]}, [NOW - 120, NOW - 60]),
        ("TIME_SERIES(SUM(a))", {"a": [None, None]}, [None, None]),
    ],
)
def test_expressions_are_computed_as_documented(
    expression: str, series: dict[str, list[float | None]], values: list[float | None]
) -> None:
    assert computed(expression, series) == values


def test_what_is_not_documented_is_refused() -> None:
    for expression in ("SUM(a)", "a a", "SUM(5)", "RATE(a)", "a ? 1"):
        with pytest.raises((AssertionError, KeyError)):
            computed(expression, {"a": [1, 2]})


def test_whether_a_series_without_values_is_filled_is_open() -> None:
    assert computed("FILL(a, 0)", {"a": [None]}, Rules(fills_empty=True)) == [0]
    assert computed("FILL(a, 0)", {"a": [None]}, Rules(fills_empty=False)) == [None]


def test_a_window_slides_by_a_minute() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html"""
    alarm = math("a", "a", 5 * MINUTE)
    metrics = measured(a=[1] * 10)
    assert evaluate(alarm, metrics, NOW, 2, Rules())[1] == {NOW - 600: 5, NOW - 300: 5}
    assert evaluate(alarm, metrics, NOW + MINUTE, 2, Rules())[1] == {NOW - 540: 5, NOW - 240: 4}


def test_percentiles_and_queries() -> None:
    metrics = Metrics()
    for number in range(10):
        metrics.add("N", "T", SERVICE, NOW - 60, number)
        metrics.add("N", "C", {**SERVICE, "tool": str(number)}, NOW - 60, 1)
    metrics.add("N", "C", SERVICE, NOW - 60, 100)
    metrics.add("N", "C", {"service": "other", "tool": "t"}, NOW - 60, 100)
    p90 = {
        "Namespace": "N",
        "MetricName": "T",
        "Dimensions": [{"Name": "service", "Value": "s"}],
        "ExtendedStatistic": "p90",
        "Period": 60,
    }
    assert evaluate(p90, metrics, NOW, 1, Rules())[1] == {NOW - 60: 8}
    query = "SELECT SUM(C) FROM SCHEMA(\"N\", service, tool) WHERE service = 's'"
    insights = {"Metrics": [{"Id": "shown", "Period": 60, "Expression": query}]}
    assert evaluate(insights, metrics, NOW, 1, Rules())[1] == {NOW - 60: 10}


def alarm(**changes: Any) -> dict[str, Any]:
    return {
        "Namespace": "N",
        "MetricName": "a",
        "Dimensions": [{"Name": "service", "Value": "s"}],
        "Statistic": "Sum",
        "Period": MINUTE,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **changes,
    }


def test_the_state_follows_the_latest_data_that_exist_in_the_evaluation_range() -> None:
    metrics = measured(a=[1])
    assert is_in_alarm(alarm(), metrics, NOW, Rules(extra=2))
    assert is_in_alarm(alarm(), metrics, NOW + 2 * MINUTE, Rules(extra=2)), "no newer data are there to go by"
    assert not is_in_alarm(alarm(), metrics, NOW + 3 * MINUTE, Rules(extra=2))


def test_data_count_once_they_can_be_read() -> None:
    metrics = Metrics()
    metrics.add("N", "a", SERVICE, NOW - 300, 1, seen_s=NOW + 30)
    late = alarm(EvaluationPeriods=10, DatapointsToAlarm=1)
    assert episodes({"late": late}, metrics, NOW - 600, NOW + 600, Rules(extra=0)) == {"late": [NOW + 60]}


def test_an_alarm_may_not_look_back_further_than_cloudwatch_allows() -> None:
    with pytest.raises(AssertionError):
        is_in_alarm(alarm(EvaluationPeriods=1441), Metrics(), NOW, Rules())


@pytest.mark.parametrize(
    ("event", "is_counted"),
    [
        ({"type": "a", "record": {"status": "error"}}, True),
        ({"type": "b", "record": {"status": "timeout"}}, True),
        ({"type": "a", "record": {"status": "success"}}, False),
        ({"type": "c", "record": {"status": "error"}}, False),
        ({"type": "a"}, False),
    ],
)
def test_a_metric_filter_counts_the_events_that_its_pattern_takes(event: dict[str, Any], is_counted: bool) -> None:  # noqa: FBT001 - a table
    assert matches('{ (($.type = "a") || ($.type = "b")) && ($.record.status != "success") }', event) == is_counted
