"""What the operators of a query mean: Python's, but that no operand is an error and no result is costly.

A name that the row lacks, and arithmetic without a result, is NOTHING: every comparison with it but `is None` and
`== None` is False. So is an ordering of things that have no order.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_BIGGEST_POWER_BITS = 4096

Row = Mapping[str, Any]
Value = Callable[[Row], Any]
"""A part of a query, read: what it is of a row."""
Test = Callable[[Any], bool]
"""Whether a value passes."""


class Nothing:
    """What a name that the row lacks, or arithmetic without a result, evaluates to."""

    def __bool__(self) -> bool:
        return False


NOTHING = Nothing()


def every(parts: tuple[Value, ...]) -> Value:
    """`and`: the first part that is not true, else the last."""

    def all_of(row: Row) -> Any:
        value: Any = True
        for part in parts:
            value = part(row)
            if not value:
                return value
        return value

    return all_of


def some(parts: tuple[Value, ...]) -> Value:
    """`or`: the first part that is true, else the last."""

    def any_of(row: Row) -> Any:
        value: Any = False
        for part in parts:
            value = part(row)
            if value:
                return value
        return value

    return any_of


def compute_with(compute: Callable[..., Any], *numbers: Any) -> Any:
    """The result where these are numbers and there is one; text times a number could fill the memory."""
    if not all(isinstance(number, (int, float)) for number in numbers):
        return NOTHING
    try:
        result = compute(*numbers)
    except (ArithmeticError, ValueError):
        return NOTHING
    return result if isinstance(result, (int, float)) else NOTHING  # (-8) ** 0.5 is complex


def _power(base: float, exponent: float) -> Any:
    # 9 ** 9 ** 9 would take all memory and hours.
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _BIGGEST_POWER_BITS:
        return NOTHING
    return base**exponent


def _equal(left: Any, right: Any) -> bool:
    if left is NOTHING or right is NOTHING:
        return left is None or right is None
    return bool(left == right)


def _unequal(left: Any, right: Any) -> bool:
    return not (left is NOTHING or right is NOTHING) and bool(left != right)


def _less(left: Any, right: Any) -> bool:
    try:
        return bool(left < right)
    except TypeError:  # text and numbers, None, what the row lacks: no order, so not in this one
        return False


def _at_most(left: Any, right: Any) -> bool:
    try:
        return bool(left <= right)
    except TypeError:
        return False


def _greater(left: Any, right: Any) -> bool:
    try:
        return bool(left > right)
    except TypeError:
        return False


def _at_least(left: Any, right: Any) -> bool:
    try:
        return bool(left >= right)
    except TypeError:
        return False


def _in(item: Any, container: Any) -> bool:
    try:
        return item is not NOTHING and item in container
    except TypeError:
        return False


def _not_in(item: Any, container: Any) -> bool:
    try:
        return item is not NOTHING and item not in container
    except TypeError:
        return False


def _is(left: Any, right: Any) -> bool:
    return (None if left is NOTHING else left) is (None if right is NOTHING else right)


def _starts(subject: Any, wanted: Any) -> bool:
    return isinstance(subject, str) and isinstance(wanted, str) and subject.startswith(wanted)


def _ends(subject: Any, wanted: Any) -> bool:
    return isinstance(subject, str) and isinstance(wanted, str) and subject.endswith(wanted)


METHODS: dict[str, Callable[[Any, Any], bool]] = {
    "startswith": _starts,
    "endswith": _ends,
    "contains": lambda subject, wanted: _in(wanted, subject),
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
BITWISE: dict[type[ast.operator], tuple[str, str]] = {
    ast.BitAnd: ("&", "and"),
    ast.BitOr: ("|", "or"),
    ast.BitXor: ("^", "** for a power"),
    ast.LShift: ("<<", "<"),
    ast.RShift: (">>", ">"),
    ast.MatMult: ("@", "and, or, + - * / // % **"),
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: _equal,
    ast.NotEq: _unequal,
    ast.Lt: _less,
    ast.LtE: _at_most,
    ast.Gt: _greater,
    ast.GtE: _at_least,
    ast.In: _in,
    ast.NotIn: _not_in,
    ast.Is: _is,
    ast.IsNot: lambda left, right: not _is(left, right),
}
