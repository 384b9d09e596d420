"""The query language of `hypertuner ls QUERY` and `hypertuner.runs(query)`: which runs are meant.

    val_acc > 0.9 and learning_rate < 0.01 and "mnist" in tags

It reads like Python and means what Python would, but nothing is ever executed: the text is parsed, each node is held
against the short list below, and what is left is evaluated here. Any text is either a query or a `QueryError` that
points at the mistake. What a query costs depends on its length (at most 10,000 characters), never on what it computes.

    comparisons     == != < <= > >=, chained too; `in`, `not in` (a value in a list, text in text); `is`, `is not` None
    logic           and or not; a name alone asks whether it is true: `starred`
    arithmetic      + - * / // % ** on numbers, parentheses
    values          1e-3, "text", True, False, None, [1, 2], (1, 2), {1, 2}
    names           `lr`, `optimizer.lr`; `config["lr"]`, `metric["val loss"]` where the plain name is another or none
    a/b             without spaces is the name `a/b` where a run has it, else a division; `a / b` is always a division
    over all steps  min(loss) max(loss) first(loss) last(loss) best(loss)
    text            name.startswith("a"), name.endswith("b"), note.contains("c") (a list contains a value, too)
    age, duration   are seconds and may be compared with text: `age < "12h"`, `duration > "1h30m"` (s m h d w)
    created         is seconds since 1970 and may be compared with a date: `created >= "2026-03-01"` (local time)

A name that a run does not have is None, and every comparison with it but `is None` and `== None` is False, `!=`
included; so is an ordering of things that have no order, such as text and numbers, and any comparison with the result
of arithmetic that has none, such as 1 / 0. NaN compares as in Python: `loss != loss` finds the runs that diverged.

A row is a mapping from names to values. Its keys are the plain names (`lr`, `train/loss`), the explicit ones
(`config.lr`, `metric.train/loss`) and those over all steps (`min(train/loss)`); a row may compute them when asked.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hypertuner.errors import QueryError, did_you_mean
from hypertuner.index import slips
from hypertuner.index.fields import FACTS
from hypertuner.index.nodes import SPACES, Asked, dotted, is_fixed, is_singleton, space_of
from hypertuner.index.operators import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    METHODS,
    NOTHING,
    UNARY,
    Row,
    Test,
    Value,
    compute_with,
    every,
    some,
)
from hypertuner.index.times import duration_s, moment

OVER_STEPS = ("min", "max", "first", "last", "best")

_LONGEST = 10_000
_DEEPEST = 100


class Query:
    """One question to a run, read once and asked of many; an empty text matches every run."""

    text: str
    names: frozenset[str]
    tests: tuple[tuple[str, Test], ...] | None
    """Where it compares names with fixed values, and all must hold: each name with what its value must pass, which
    is asked NOTHING where a run lacks it. Else None."""

    def __init__(self, text: str) -> None:
        self.text = text
        reader = _Reader(text)
        self._value = reader.read_query()
        self.tests = reader.tests
        self._asked = tuple(reader.asked)
        self.names = frozenset(name for asked in self._asked for name in asked.all_names())

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the run that `row` describes is meant; never raises for what a row holds or lacks."""
        return bool(self._value(row))

    def check(self, known: Collection[str]) -> None:
        """Raise a QueryError for the first name that is neither in `known` nor a fact of every run.

        `known` holds plain names (config keys and metrics); `metric["x"]` and `min(x)` are known when `x` is.
        """
        names = FACTS.union(known)
        for asked in self._asked:
            if unknown := asked.unknown(names):
                raise self._unknown(unknown, names)

    def _unknown(self, asked: Asked, names: frozenset[str]) -> QueryError:
        name = asked.plain
        todo = did_you_mean(name, sorted(names)).strip()
        if below := sorted(known for known in names if known.startswith(f"{name}/"))[:1]:
            todo = f'Write metric["{below[0]}"] for the metric.'
        elif name == self.text.strip():
            todo = f'{todo} For runs with "{name}" in their name write: "{name}" in name'.strip()
        elif asked.may_be_text:
            todo = f'{todo} If it is text, write it in quotes: "{name}"'.strip()
        todo = todo or "`hypertuner ls --json` shows all that runs have."
        return slips.mistake(f"No run has {name!r}.", self.text, asked.position, todo)

    def __repr__(self) -> str:
        return f"Query({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Query) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Query], tuple[str]]:
        return Query, (self.text,)


# --- reading -----------------------------------------------------------------------------------------------------


class _Reader:
    """Turns the text into a function of a row, and notes each name that the text asks about."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            what = f"The query is longer than {_LONGEST:,} characters."
            raise slips.mistake(what, text, _LONGEST, "Ask a shorter one.")
        self.text = text
        # A query is one line; what ends a line for Python would change the positions.
        self.code = re.sub(r"[\t\n\r\f\v]", " ", text)
        self.indent = len(self.code) - len(self.code.lstrip())
        self.asked: list[Asked] = []
        self.tests: tuple[tuple[str, Test], ...] | None = None
        self._names: dict[Value, str] = {}
        self._tests: dict[Value, tuple[str, Test]] = {}

    def read_query(self) -> Value:
        if not self.code.strip():
            return lambda row: True
        try:
            # A warning about an escape such as "\d" is for programmers, not for who types a query.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                root = ast.parse(self.code[self.indent :], mode="eval").body
        except SyntaxError as error:
            raise slips.explain(self.text, self.code, self.indent, error) from None
        except (ValueError, MemoryError, RecursionError):
            # ValueError: NUL, lone surrogates. The others are the parser's own limits on nesting.
            raise slips.explain(self.text, self.code, self.indent, None) from None
        rest = self.code[self._end(root) :]
        if (comment := rest.find("#")) >= 0:
            raise self._error(
                "'#' would begin a comment: what follows would not be read.",
                self._end(root) + comment,
                'Text is written in quotes: "#3"',
            )
        nodes = root.values if isinstance(root, ast.BoolOp) and isinstance(root.op, ast.And) else [root]
        parts = tuple(self._truth(node, len(nodes) > 1) for node in nodes)
        if all(part in self._tests for part in parts):
            self.tests = tuple(self._tests[part] for part in parts)
        return every(parts) if len(parts) > 1 else parts[0]

    def _truth(self, node: ast.expr, depth: int) -> Value:
        """`node` where only its truth counts: text there is a slip, since it is always true."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self._at(
                node,
                "Text alone asks nothing.",
                f'Compare it: {slips.quoted(node.value)} in name, or: state in ("finished", "failed")',
            )
        return self._read(node, depth)

    def _read(self, node: ast.expr, depth: int) -> Value:
        if depth > _DEEPEST:
            raise self._at(node, f"The query is nested more than {_DEEPEST} deep.", "Ask a simpler one.")
        deeper = depth + 1
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._name(node)
            case ast.BoolOp():
                parts = tuple(self._truth(part, deeper) for part in node.values)
                return every(parts) if isinstance(node.op, ast.And) else some(parts)
            case ast.UnaryOp():
                return self._unary(node, deeper)
            case ast.Compare():
                return self._comparison(node, deeper)
            case ast.BinOp():
                return self._arithmetic(node, deeper)
            case ast.List() | ast.Tuple() | ast.Set():
                items = tuple(self._read(item, deeper) for item in node.elts)
                kind = tuple if isinstance(node, ast.Tuple) else list
                return lambda row: kind(item(row) for item in items)
            case ast.Call():
                return self._call(node, deeper)
        what = slips.NOT_IN_QUERIES.get(type(node), "this")
        raise self._at(node, f"A query cannot hold {what}.", slips.EXAMPLE)

    def _constant(self, node: ast.Constant) -> Value:
        value = node.value
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise self._at(node, f"A query cannot hold {node.value!r}.", "Values are numbers, text, True, False, None.")
        return lambda row: value

    def _name(self, node: ast.Name | ast.Attribute | ast.Subscript) -> Value:
        if isinstance(node, ast.Subscript):
            space = space_of(node)
            if space is None:
                raise self._at(node, "Square brackets follow only config and metric.", 'Write config["lr"].')
            return self._look_up(f"{space[0]}.{space[1]}", space[1], node)
        name = dotted(node)
        if name is None:
            raise self._at(node, "What stands before this dot is not a name.", slips.EXAMPLE)
        if right := slips.SPELLED.get(name.lower()):
            raise self._at(node, f"{name!r} is spelled {right}.", f"Write {right}.")
        space_name, dot, key = name.partition(".")
        return self._look_up(name, key if dot and space_name in SPACES else name, node)

    def _look_up(self, name: str, plain: str, node: ast.expr) -> Value:
        self.asked.append(Asked(name, plain, self._start(node)))

        def value(row: Row) -> Any:
            return row.get(name, NOTHING)

        self._names[value] = name
        return value

    def _unary(self, node: ast.UnaryOp, depth: int) -> Value:
        if isinstance(node.op, ast.Invert):
            raise self._at(node, "'~' is not 'not'.", "Write not.")
        if isinstance(node.op, ast.Not):
            denied = self._truth(node.operand, depth)
            return lambda row: not denied(row)
        operand, compute = self._read(node.operand, depth), UNARY[type(node.op)]
        return lambda row: compute_with(compute, operand(row))

    def _arithmetic(self, node: ast.BinOp, depth: int) -> Value:
        compute = ARITHMETIC.get(type(node.op))
        if compute is None:
            sign, word = BITWISE[type(node.op)]
            position = self.code.find(sign, self._end(node.left))
            raise self._error(f"{sign!r} does not join conditions.", max(position, 0), f"Write {word}.")
        joined = self._joined(node)
        first = len(self.asked)
        left, right = self._read(node.left, depth), self._read(node.right, depth)

        def computed(row: Row) -> Any:
            return compute_with(compute, left(row), right(row))

        if joined is None:
            return computed
        parts = tuple(self.asked[first:])
        self.asked[first:] = [Asked(joined, joined, self._start(node), parts=parts)]
        return lambda row: row[joined] if joined in row else computed(row)

    def _joined(self, node: ast.BinOp) -> str | None:
        """The name that `a/b/c` without spaces may be."""
        parts: list[str] = []
        rest: ast.expr = node
        while isinstance(rest, ast.BinOp):
            name = dotted(rest.right)
            if not isinstance(rest.op, ast.Div) or name is None:
                return None
            if self.code[self._end(rest.left) : self._start(rest.right)] != "/":
                return None
            parts.append(name)
            rest = rest.left
        first = dotted(rest)
        return None if first is None else "/".join([first, *reversed(parts)])

    def _comparison(self, node: ast.Compare, depth: int) -> Value:
        nodes = [node.left, *node.comparators]
        sides: list[Value] = []
        for index, side in enumerate(nodes):
            neighbours = nodes[max(index - 1, 0) : index] + nodes[index + 1 : index + 2]
            first = len(self.asked)
            sides.append(self._time(side, neighbours) or self._read(side, depth))
            beside = node.ops[max(index - 1, 0) : index + 1]
            if any(isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in beside):
                self.asked[first:] = [
                    Asked(it.name, it.plain, it.position, it.name == it.plain, it.parts) for it in self.asked[first:]
                ]
        for op, left, right in zip(node.ops, nodes, nodes[1:], strict=False):
            if isinstance(op, (ast.Is, ast.IsNot)) and not (is_singleton(left) or is_singleton(right)):
                raise self._at(right, "'is' goes with None, True and False only.", "Write == or !=.")
        first_side = sides[0]
        if len(nodes) == 2 and any(map(is_fixed, nodes)):
            return self._test(COMPARISONS[type(node.ops[0])], *sides, is_right=is_fixed(nodes[1]))
        rest = tuple(zip((COMPARISONS[type(op)] for op in node.ops), sides[1:], strict=True))

        def holds(row: Row) -> bool:
            left = first_side(row)
            for compare, side in rest:
                right = side(row)
                if not compare(left, right):
                    return False
                left = right
            return True

        return holds

    def _test(self, compare: Callable[[Any, Any], bool], left: Value, right: Value, *, is_right: bool) -> Value:
        """A comparison of which one side, the right or the left, is the same of every row."""
        fixed, side = (right({}), left) if is_right else (left({}), right)

        def with_right(value: Any) -> bool:
            return compare(value, fixed)

        def with_left(value: Any) -> bool:
            return compare(fixed, value)

        test = with_right if is_right else with_left

        def holds(row: Row) -> bool:
            return test(side(row))

        if side in self._names:
            self._tests[holds] = (self._names[side], test)
        return holds

    def _time(self, node: ast.expr, neighbours: list[ast.expr]) -> Value | None:
        """Text that is compared with `age`, `duration` or `created`, as a number of seconds."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return None
        names = {side.id for side in neighbours if isinstance(side, ast.Name)}
        if names & {"age", "duration"}:
            seconds = duration_s(node.value)
            if seconds is None:
                raise self._at(
                    node, f"{node.value!r} is not a duration.", 'Write "90s", "15m", "12h", "3d" or "1h30m".'
                )
        elif "created" in names:
            seconds = moment(node.value)
            if seconds is None:
                raise self._at(
                    node,
                    f"{node.value!r} is not a date.",
                    'Write "2026-03-01" or "2026-03-01T14:30"; for the last hours: age < "12h"',
                )
        else:
            return None
        return lambda row: seconds

    def _call(self, node: ast.Call, depth: int) -> Value:
        if node.keywords or len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
            raise self._at(node, "A function of a query takes one value.", slips.FUNCTIONS)
        argument = node.args[0]
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            method = METHODS[node.func.attr]
            subject, wanted = self._read(node.func.value, depth), self._read(argument, depth)
            return lambda row: method(subject(row), wanted(row))
        called = dotted(node.func)
        if called not in OVER_STEPS:
            near = did_you_mean((called or "").rpartition(".")[2], [*OVER_STEPS, *METHODS]).strip()
            raise self._at(node, f"A query has no function {called or 'here'!r}.", near or slips.FUNCTIONS)
        metric = dotted(argument)
        if isinstance(argument, ast.BinOp):
            metric = self._joined(argument)
        elif isinstance(argument, ast.Subscript) and (space := space_of(argument)) and space[0] == "metric":
            metric = space[1]
        if metric is None:
            raise self._at(
                argument, f"{called}() takes the name of a metric.", f'Write {called}(metric["train/loss"]).'
            )
        return self._look_up(f"{called}({metric})", metric, argument)

    # Positions: ast counts UTF-8 bytes from the first character that is not a space.

    def _start(self, node: ast.expr) -> int:
        return self._characters(node.col_offset)

    def _end(self, node: ast.expr) -> int:
        return self._characters(node.end_col_offset or node.col_offset)

    def _characters(self, offset: int) -> int:
        if self.code.isascii():
            return self.indent + offset
        return self.indent + len(self.code[self.indent :].encode()[:offset].decode(errors="ignore"))

    def _at(self, node: ast.expr, what: str, todo: str) -> QueryError:
        return self._error(what, self._start(node), todo)

    def _error(self, what: str, position: int, todo: str) -> QueryError:
        return slips.mistake(what, self.text, position, todo)
