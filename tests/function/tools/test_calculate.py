"""Sums are right, and nothing but sums is done."""

import pytest

from chat.errors import ToolError
from chat.tools.calculate import calculate


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
def test_what_is_refused_says_why(expression: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        result_of(expression)
