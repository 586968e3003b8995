"""A safe arithmetic evaluator: parses an expression, never runs it as code, and checks sizes before it computes."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from msgspec import Meta

from winterbourne.chat import ToolError, tool

__all__ = ["Calculation", "calculate"]

Number: TypeAlias = int | float

MAX_BITS: Final = 4096
"""The longest integer that may come up, some 1,200 digits."""
_EXACT: Final = 2**53  # JSON readers hold larger integers only as text


class Calculation(msgspec.Struct, frozen=True):
    """The tool's result. Integers beyond 2**53 are text."""

    expression: str
    result: Number | str


@tool
def calculate(expression: Annotated[str, Meta(min_length=1, max_length=500)]) -> Calculation:
    """Work out an arithmetic expression.

    Knows + - * / // % and ** (also written ^), parentheses, pi, e, tau, and the functions abs, ceil, cos, exp,
    factorial, floor, gcd, log, log10, log2, max, min, round, sin, sqrt, tan. Angles are in radians.

    Args:
        expression: For example (3 + 4) * 2 ** 0.5.
    """
    try:
        result = _value(ast.parse(expression.replace("^", "**").strip(), mode="eval").body)
    except SyntaxError:
        raise ToolError(f"{expression!r} is not an arithmetic expression.") from None
    except ZeroDivisionError:
        raise ToolError("This divides by zero.") from None
    except (OverflowError, ValueError, TypeError):
        raise ToolError("This has no value; look at what its functions are given.") from None
    except (RecursionError, MemoryError):
        raise ToolError("This is nested too deep.") from None
    return Calculation(expression, _to_json_number(result))


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _check_magnitude(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return _SIGNS[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _check_magnitude(_OPERATORS[type(sign)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _check_magnitude(_FUNCTIONS[name](*map(_value, arguments)))
    raise ToolError(f"{ast.unparse(node)!r} is not part of arithmetic.")


def _check_magnitude(number: Any) -> Number:
    if isinstance(number, complex):
        raise ToolError("The result is not a real number.")
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise ToolError("The numbers get too large.")
    return cast("Number", number)


def _power(base: Number, exponent: Number) -> Any:
    """Check the size before computing: a power has the bits of its base times the exponent."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * MAX_BITS:
        raise ToolError("The numbers get too large.")
    return base**exponent


def _factorial(number: Number) -> int:
    if number > 450:  # 450! has some 3,300 bits
        raise ToolError("The numbers get too large.")
    return math.factorial(_to_integer(number))


def _round(number: Number, digits: Number = 0) -> Number:
    places = _to_integer(digits)
    if abs(places) > 20:
        raise ToolError("round takes at most 20 digits.")
    return round(number, places) if places else round(number)


def _to_integer(number: Number) -> int:
    if number != int(number):
        raise ToolError(f"{number} is not a whole number.")
    return int(number)


def _to_json_number(number: Number) -> Number | str:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ToolError("The result is not a finite number.")
        return number
    return number if abs(number) <= _EXACT else str(number)


_CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_SIGNS: Final[Mapping[type[ast.unaryop], Callable[[Number], Number]]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_MATH_NAMES: Final = ("ceil", "cos", "exp", "floor", "gcd", "log", "log10", "log2", "sin", "sqrt", "tan")
_OTHERS: Final = {"abs": abs, "factorial": _factorial, "max": max, "min": min, "round": _round}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {name: getattr(math, name) for name in _MATH_NAMES} | _OTHERS
