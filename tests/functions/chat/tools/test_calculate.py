"""The calculate tool: arithmetic is evaluated, and nothing else is."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.tools.calculate import calculate
from winterbourne.chat.errors import ToolError


def result_of(expression: str) -> object:
    assert calculate.function
    return calculate.function(expression).result


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 ^ 10", 1024),
        ("-2 ** 2", -4),
        ("7 // 2 + 7 % 2", 4),
        ("sqrt(16) + max(1, 2, 3)", 7.0),
        ("round(2 * pi, 2)", 6.28),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("factorial(5)", 120),
    ],
)
def test_arithmetic(expression: str, result: object) -> None:
    assert result_of(expression) == result


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("9 ** 9 ** 9", "too large"),
        ("factorial(100000)", "too large"),
        ("1 / 0", "divides by zero"),
        ("__import__('os')", "not part of arithmetic"),
        ("(1).__class__", "not part of arithmetic"),
        ("'a' * 9", "not part of arithmetic"),
        ("1 +", "not an arithmetic expression"),
        ("(-8) ** 0.5", "not a real number"),
        ("1e308 * 10", "not a finite number"),
        ("round(1.5, 10 ** 9)", "at most 20 digits"),
        ("True + 1", "not part of arithmetic"),
    ],
)
def test_a_rejected_expression_gets_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        result_of(expression)


@given(st.text(alphabet="0123456789+-*/%^(). e,", max_size=60) | st.text(max_size=30))
def test_any_text_has_a_value_or_an_error_message(expression: str) -> None:
    try:
        result = result_of(expression)
    except ToolError as error:
        message = str(error)
        assert message
    else:
        assert orjson.loads(orjson.dumps(result)) == result


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.sampled_from(["+", "-", "*"]))
def test_results_are_those_of_python(left: int, right: int, sign: str) -> None:
    assert result_of(f"{left} {sign} ({right})") == {"+": left + right, "-": left - right, "*": left * right}[sign]


@pytest.mark.parametrize("expression", ["(" * 400 + "1" + ")" * 400, "-" * 499 + "1", "+".join("1" * 250)])
def test_deep_nesting_is_evaluated_or_rejected(expression: str) -> None:
    with contextlib.suppress(ToolError):
        assert result_of(expression) in {1, -1, 250}


def test_its_schema_limits_the_length_of_the_expression() -> None:
    (limit,) = [part["maxLength"] for part in calculate.parameters["properties"].values()]
    assert limit == 500
    assert calculate.blocking, "it runs in a thread"
