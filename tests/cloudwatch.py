"""Evaluates CloudWatch's alarms over metrics, by the rules of its documentation. Pure: the clock is the caller's.

What the documentation leaves open is in `Rules`, so that a test can ask whether a verdict depends on it. What it does
not say at all, and what our alarms do not use, is refused.

Alarms and missing data: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
Sliding windows: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html
Metric math: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
Limits: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
Metrics Insights:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-metrics-insights-querylanguage.html
Metric filters: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from tests.emf import checked

__all__ = ["Metrics", "Rules", "Series", "episodes", "evaluate", "is_breached", "is_in_alarm", "matches"]

MINUTE: Final = 60
INSIGHTS_RANGE_S: Final = 3 * 3600  # "Only the latest 3 hours of data can be used"

Series: TypeAlias = dict[int, float]
"""A time series: values by the start of their period, in seconds. What has no key is missing."""

Value: TypeAlias = Series | float | None
"""What an expression gives: a time series, a scalar, or None, the scalar of a time series without values."""

Key: TypeAlias = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and dimensions of a metric."""


@dataclass(frozen=True)
class Rules:
    """What the documentation leaves open.

    Attributes:
        extra: How many data points are retrieved beyond the evaluation periods ("a higher number"); 2 in its examples.
        fills_empty: Whether FILL fills a time series that has no value at all.
    """

    extra: int = 2
    fills_empty: bool = True


@dataclass
class Metrics:
    """What was measured: for each metric when, what, and when it can be read."""

    points: dict[Key, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self, namespace: str, name: str, dimensions: Mapping[str, str], at_s: float, value: float, seen_s: float = 0
    ) -> None:
        """Add a value; it can be read from `seen_s` on."""
        self.points[namespace, name, frozenset(dimensions.items())].append((at_s, value, max(seen_s, at_s)))

    def add_documents(self, lines: Iterable[dict[str, Any]], at_s: float) -> None:
        """Add the values of EMF documents as if they had been written at this time."""
        for document in checked(lines):
            for directive in document["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"]:
                    dimensions = {name: document[name] for name in names}
                    for metric in directive["Metrics"]:
                        values = document[metric["Name"]]
                        for value in values if isinstance(values, list) else [values]:
                            self.add(directive["Namespace"], metric["Name"], dimensions, at_s, value)

    def series(self, keys: Sequence[Key], statistic: str, period: int, count: int, now: int) -> Series:
        """The statistic of some metrics together, over the last `count` periods, the last of which ends now."""
        values: dict[int, list[float]] = defaultdict(list)
        for key in keys:
            for at_s, value, seen_s in self.points.get(key, ()):
                if seen_s < now and now - count * period <= at_s < now:
                    values[now - period * math.ceil((now - at_s) / period)].append(value)
        return {start: float(STATISTICS[statistic](found)) for start, found in values.items()}


def _percentile(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


STATISTICS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "Sum": sum,
    "Maximum": max,
    "SampleCount": len,
    "p90": _percentile,
}
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html"""


def is_breached(points: Sequence[bool | None], needed: int, periods: int) -> bool:
    """Whether an alarm that treats missing data as notBreaching is in state ALARM.

    Args:
        points: Of the evaluation range, the oldest first: whether each is breaching, or None for a missing one.
        needed: DatapointsToAlarm.
        periods: EvaluationPeriods: so many are evaluated, the latest that exist.
    """
    existing = [point for point in points if point is not None]
    return sum(existing[-periods:]) >= needed


def is_in_alarm(alarm: Mapping[str, Any], metrics: Metrics, now: int, rules: Rules) -> bool:
    """Whether an alarm, as a template has it, is in state ALARM at this time."""
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    periods = int(alarm["EvaluationPeriods"])
    period, values = evaluate(alarm, metrics, now, periods + rules.extra, rules)
    assert period % MINUTE == 0
    assert periods * period <= (86_400 if period < 3600 else 604_800)
    threshold = float(alarm["Threshold"])
    starts = range(now - (periods + rules.extra) * period, now, period)
    points = [None if start not in values else values[start] > threshold for start in starts]
    return is_breached(points, int(alarm.get("DatapointsToAlarm", periods)), periods)


def episodes(
    alarms: Mapping[str, Mapping[str, Any]], metrics: Metrics, start: int, end: int, rules: Rules
) -> dict[str, list[int]]:
    """When each alarm that rang has begun to: state ALARM is noticed once a minute, as CloudWatch evaluates."""
    rang: dict[str, list[int]] = {}
    for name, alarm in alarms.items():
        before = False
        for now in range(start, end + 1, MINUTE):
            state = is_in_alarm(alarm, metrics, now, rules)
            if state and not before:
                rang.setdefault(name, []).append(now)
            before = state
    return rang


def evaluate(alarm: Mapping[str, Any], metrics: Metrics, now: int, count: int, rules: Rules) -> tuple[int, Series]:
    """The period and the values of what an alarm watches, over its last `count` periods."""
    if "MetricName" in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return alarm["Period"], metrics.series([_key(alarm)], statistic, alarm["Period"], count, now)
    queries = alarm["Metrics"]
    stats = [query for query in queries if "MetricStat" in query]
    (shown,) = [query for query in queries if query.get("ReturnData", True)]
    assert len(stats) <= 10
    if shown["Expression"].startswith("SELECT"):
        assert alarm.get("EvaluationPeriods", 1) * shown["Period"] <= INSIGHTS_RANGE_S
        count = min(count, INSIGHTS_RANGE_S // shown["Period"])
        return shown["Period"], _select(shown["Expression"], metrics, shown["Period"], count, now)
    (period,) = {query["MetricStat"]["Period"] for query in stats}  # "Each metric must be using the same period"
    known: dict[str, Value] = {
        query["Id"]: metrics.series(
            [_key(query["MetricStat"]["Metric"])], query["MetricStat"]["Stat"], period, count, now
        )
        for query in stats
    }
    span = range(now - count * period, now, period)
    result = _Expression(shown["Expression"], known, span, rules).value()
    assert isinstance(result, dict), "the result of an alarm's expression must be a time series"
    return period, result


def _key(metric: Mapping[str, Any]) -> Key:
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric.get("Dimensions", ()))
    return metric["Namespace"], metric["MetricName"], dimensions


SELECT: Final = re.compile(r"SELECT SUM\((\w+)\) FROM SCHEMA\(\"(\w+)\", ([\w, ]+)\) WHERE (\w+) = '([^']+)'")


def _select(query: str, metrics: Metrics, period: int, count: int, now: int) -> Series:
    """A Metrics Insights query: of the metrics with exactly these dimensions, those that match, as one time series."""
    found = SELECT.fullmatch(query)
    assert found, query
    name, namespace, schema, dimension, wanted = found.groups()
    names = set(schema.split(", "))
    keys = [
        key
        for key in list(metrics.points)
        if key[:2] == (namespace, name) and {n for n, _ in key[2]} == names and (dimension, wanted) in key[2]
    ]
    return metrics.series(keys, "Sum", period, count, now)


TERM: Final = re.compile(r"\$\.([\w.]+) (=|!=) \"([^\"]*)\"")


def matches(pattern: str, event: Mapping[str, Any]) -> bool:
    """Whether a metric filter's pattern of comparisons with strings, && and || takes a JSON event."""

    def truth(term: re.Match[str]) -> str:
        value: Any = event
        for name in term[1].split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return str(int(value is not None and (value == term[3]) == (term[2] == "=")))

    assert pattern.startswith("{ ")
    text = TERM.sub(truth, pattern.strip("{ }")).replace("&&", "*").replace("||", "+")  # && comes first, as * does
    return bool(_Expression(text, {}, range(0), Rules()).value())


TOKEN: Final = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z]\w*)|(<=|>=|==|!=|[-+*/<>(),]))")
PRECEDENCE: Final = (("<", ">", "<=", ">=", "==", "!="), ("+", "-"), ("*", "/"))
OPERATORS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class _Expression:
    """An expression of metric math, read and computed in one pass."""

    def __init__(self, text: str, known: Mapping[str, Value], span: range, rules: Rules) -> None:
        tokens = list(TOKEN.finditer(text))
        assert "".join(token[0] for token in tokens).strip() == text.strip(), text
        self._tokens: Iterator[str] = iter([*(token[0].strip() for token in tokens), ""])
        self._next = next(self._tokens)
        self._known, self._span, self._rules = known, span, rules

    def value(self) -> Value:
        """The value of all of it."""
        result = self._binary(0)
        assert not self._next
        return result

    def _take(self, *wanted: str) -> str:
        token, self._next = self._next, next(self._tokens, "")
        assert not wanted or token in wanted, token
        return token

    def _binary(self, level: int) -> Value:
        if level == len(PRECEDENCE):
            return self._term()
        result = self._binary(level + 1)
        while self._next in PRECEDENCE[level]:
            symbol = self._take()
            result = _combine(OPERATORS[symbol], result, self._binary(level + 1))
        return result

    def _term(self) -> Value:
        token = self._take()
        if token == "(":
            result = self._binary(0)
            self._take(")")
            return result
        if token[0].isdigit():
            return float(token)
        if self._next != "(":
            return self._known[token]
        arguments = []
        while self._take("(", ",", ")") != ")":
            arguments.append(self._binary(0))
        return self._call(token, arguments)

    def _call(self, name: str, arguments: list[Value]) -> Value:
        if name == "IF":
            return _if(*arguments)
        first, *others = arguments
        if name == "TIME_SERIES":
            assert not isinstance(first, dict)
            return {} if first is None else dict.fromkeys(self._span, first)
        assert isinstance(first, dict), f"{name} takes a time series"
        if name == "EPOCH":  # "a new non-sparse time series where each value is based on its timestamp"
            return {start: float(start) for start in self._span}
        if name == "FILL":
            (filler,) = others
            assert isinstance(filler, float)
            return dict.fromkeys(self._span, filler) | first if first or self._rules.fills_empty else {}
        values = first.values()
        return float({"SUM": sum(values), "MAX": max(values, default=0.0)}[name]) if first else None


def _combine(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """An operator: of two time series where one has no value that counts as 0; what would divide by 0 is dropped."""
    if left is None or right is None:
        return {} if isinstance(left, dict) or isinstance(right, dict) else None
    if isinstance(left, float) and isinstance(right, float):
        return float(function(left, right))
    if isinstance(left, dict) and isinstance(right, float):  # the common case, and the quick one
        values = {start: (value, right) for start, value in left.items()}
    else:
        starts = {start for side in (left, right) if isinstance(side, dict) for start in side}
        values = {start: (_at(left, start), _at(right, start)) for start in starts}
    is_division = function is operator.truediv
    return {s: float(function(*pair)) for s, pair in values.items() if not (is_division and pair[1] == 0)}


def _at(value: Series | float, start: int) -> float:
    return value.get(start, 0.0) if isinstance(value, dict) else value


def _if(condition: Value, then: Value, otherwise: Value) -> Series:
    """IF with a time series as its condition: what that has no value for is dropped.

    "has the value of 0, if … is TRUE and the corresponding data point does not exist in metric2; is dropped, if … is
    FALSE and the corresponding data point does not exist in metric3".
    """
    assert isinstance(condition, dict)
    assert then is not None
    assert otherwise is not None
    return {
        start: _at(then if truth else otherwise, start)
        for start, truth in condition.items()
        if truth or not isinstance(otherwise, dict) or start in otherwise
    }
