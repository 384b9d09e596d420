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
import keyword
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypertuner.errors import QueryError, did_you_mean

# What every run has, whatever its script does; these win over a config key or a metric of the same name.
FACTS = frozenset("name state tags created age duration step checkpoints size parent script note starred".split())
OVER_STEPS = ("min", "max", "first", "last", "best")

_LONGEST = 10_000
_DEEPEST = 100
_BIGGEST_POWER_BITS = 4096
_EXAMPLE = 'A query is like Python: val_acc > 0.9 and "mnist" in tags'


class Query:
    """One question to a run, read once and asked of many; an empty text matches every run."""

    text: str
    names: frozenset[str]

    def __init__(self, text: str) -> None:
        self.text = text
        reader = _Reader(text)
        self._value = reader.read_query()
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

    def _unknown(self, asked: _Asked, names: frozenset[str]) -> QueryError:
        name = asked.plain
        todo = did_you_mean(name, sorted(names)).strip()
        if below := sorted(known for known in names if known.startswith(f"{name}/"))[:1]:
            todo = f'Write metric["{below[0]}"] for the metric.'
        elif name == self.text.strip():
            todo = f'{todo} For runs with "{name}" in their name write: "{name}" in name'.strip()
        elif asked.may_be_text:
            todo = f'{todo} If it is text, write it in quotes: "{name}"'.strip()
        return _error(f"No run has {name!r}.", self.text, asked.position, todo)

    def __repr__(self) -> str:
        return f"Query({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Query) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Query], tuple[str]]:
        return Query, (self.text,)


class _Nothing:
    """What a name that the row lacks, or arithmetic without a result, evaluates to."""

    def __bool__(self) -> bool:
        return False


_NOTHING = _Nothing()
_Row = Mapping[str, Any]
_Value = Callable[[_Row], Any]


@dataclass(frozen=True)
class _Asked:
    """A name in the query; `parts` are the names it divides where it is a division, `a/b`, instead."""

    name: str
    plain: str
    position: int
    may_be_text: bool = False
    parts: tuple[_Asked, ...] = ()

    def all_names(self) -> Iterator[str]:
        yield self.name
        for part in self.parts:
            yield from part.all_names()

    def unknown(self, names: frozenset[str]) -> _Asked | None:
        """The name at fault, if neither reading of this one is among `names`."""
        if self.name in names or self.plain in names:
            return None
        missing = [unknown for part in self.parts if (unknown := part.unknown(names))]
        if self.parts and not missing:
            return None
        # `lr/los` with a known `lr` is a division with a typing error; `trian/loss` is a name with one.
        return missing[0] if len(missing) < len(self.parts) else self


# --- reading -----------------------------------------------------------------------------------------------------


class _Reader:
    """Turns the text into a function of a row, and notes each name that the text asks about."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise _error(f"The query is longer than {_LONGEST:,} characters.", text, _LONGEST, "Ask a shorter one.")
        self.text = text
        # A query is one line; what ends a line for Python would change the positions.
        self.code = re.sub(r"[\t\n\r\f\v]", " ", text)
        self.indent = len(self.code) - len(self.code.lstrip())
        self.asked: list[_Asked] = []

    def read_query(self) -> _Value:
        if not self.code.strip():
            return lambda row: True
        try:
            # A warning about an escape such as "\d" is for programmers, not for who types a query.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                root = ast.parse(self.code[self.indent :], mode="eval").body
        except SyntaxError as error:
            raise self._explain(error) from None
        except (ValueError, MemoryError, RecursionError):
            # ValueError: NUL, lone surrogates. The others are the parser's own limits on nesting.
            raise self._explain(None) from None
        rest = self.code[self._end(root) :]
        if (comment := rest.find("#")) >= 0:
            raise self._error(
                "'#' would begin a comment: what follows would not be read.",
                self._end(root) + comment,
                'Text is written in quotes: "#3"',
            )
        return self._truth(root, 0)

    def _truth(self, node: ast.expr, depth: int) -> _Value:
        """`node` where only its truth counts: text there is a slip, since it is always true."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self._at(
                node,
                "Text alone asks nothing.",
                f'Compare it: {_quoted(node.value)} in name, or: state in ("finished", "failed")',
            )
        return self._read(node, depth)

    def _read(self, node: ast.expr, depth: int) -> _Value:
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
                return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
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
        what = _NOT_IN_QUERIES.get(type(node), "this")
        raise self._at(node, f"A query cannot hold {what}.", _EXAMPLE)

    def _constant(self, node: ast.Constant) -> _Value:
        value = node.value
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise self._at(node, f"A query cannot hold {node.value!r}.", "Values are numbers, text, True, False, None.")
        return lambda row: value

    def _name(self, node: ast.Name | ast.Attribute | ast.Subscript) -> _Value:
        if isinstance(node, ast.Subscript):
            space = _space(node)
            if space is None:
                raise self._at(node, "Square brackets follow only config and metric.", 'Write config["lr"].')
            return self._look_up(f"{space[0]}.{space[1]}", space[1], node)
        name = _dotted(node)
        if name is None:
            raise self._at(node, "What stands before this dot is not a name.", _EXAMPLE)
        if right := _SPELLED.get(name.lower()):
            raise self._at(node, f"{name!r} is spelled {right}.", f"Write {right}.")
        space_name, dot, key = name.partition(".")
        return self._look_up(name, key if dot and space_name in _SPACES else name, node)

    def _look_up(self, name: str, plain: str, node: ast.expr) -> _Value:
        self.asked.append(_Asked(name, plain, self._start(node)))
        return lambda row: row.get(name, _NOTHING)

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Value:
        if isinstance(node.op, ast.Invert):
            raise self._at(node, "'~' is not 'not'.", "Write not.")
        if isinstance(node.op, ast.Not):
            denied = self._truth(node.operand, depth)
            return lambda row: not denied(row)
        operand, compute = self._read(node.operand, depth), _UNARY[type(node.op)]
        return lambda row: _computed(compute, operand(row))

    def _arithmetic(self, node: ast.BinOp, depth: int) -> _Value:
        compute = _ARITHMETIC.get(type(node.op))
        if compute is None:
            sign, word = _BITWISE.get(type(node.op), ("this operator", "and, or, + - * / // % **"))
            position = self.code.find(sign, self._end(node.left))
            raise self._error(f"{sign!r} does not join conditions.", max(position, 0), f"Write {word}.")
        joined = self._joined(node)
        first = len(self.asked)
        left, right = self._read(node.left, depth), self._read(node.right, depth)

        def computed(row: _Row) -> Any:
            return _computed(compute, left(row), right(row))

        if joined is None:
            return computed
        parts = tuple(self.asked[first:])
        self.asked[first:] = [_Asked(joined, joined, self._start(node), parts=parts)]
        return lambda row: row[joined] if joined in row else computed(row)

    def _joined(self, node: ast.BinOp) -> str | None:
        """The name that `a/b/c` without spaces may be."""
        parts: list[str] = []
        rest: ast.expr = node
        while isinstance(rest, ast.BinOp):
            name = _dotted(rest.right)
            if not isinstance(rest.op, ast.Div) or name is None:
                return None
            if self.code[self._end(rest.left) : self._start(rest.right)] != "/":
                return None
            parts.append(name)
            rest = rest.left
        first = _dotted(rest)
        return None if first is None else "/".join([first, *reversed(parts)])

    def _comparison(self, node: ast.Compare, depth: int) -> _Value:
        nodes = [node.left, *node.comparators]
        sides: list[_Value] = []
        for index, side in enumerate(nodes):
            neighbours = nodes[max(index - 1, 0) : index] + nodes[index + 1 : index + 2]
            first = len(self.asked)
            sides.append(self._time(side, neighbours) or self._read(side, depth))
            beside = node.ops[max(index - 1, 0) : index + 1]
            if any(isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in beside):
                self.asked[first:] = [
                    _Asked(it.name, it.plain, it.position, it.name == it.plain, it.parts) for it in self.asked[first:]
                ]
        for op, left, right in zip(node.ops, nodes, nodes[1:], strict=False):
            if isinstance(op, (ast.Is, ast.IsNot)) and not (_is_singleton(left) or _is_singleton(right)):
                raise self._at(right, "'is' goes with None, True and False only.", "Write == or !=.")
        first_side = sides[0]
        rest = tuple(zip((_COMPARISONS[type(op)] for op in node.ops), sides[1:], strict=True))

        def holds(row: _Row) -> bool:
            left = first_side(row)
            for compare, side in rest:
                right = side(row)
                if not compare(left, right):
                    return False
                left = right
            return True

        return holds

    def _time(self, node: ast.expr, neighbours: list[ast.expr]) -> _Value | None:
        """Text that is compared with `age`, `duration` or `created`, as a number of seconds."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return None
        names = {side.id for side in neighbours if isinstance(side, ast.Name)}
        if names & {"age", "duration"}:
            seconds = _duration(node.value)
            if seconds is None:
                raise self._at(
                    node, f"{node.value!r} is not a duration.", 'Write "90s", "15m", "12h", "3d" or "1h30m".'
                )
        elif "created" in names:
            seconds = _moment(node.value)
            if seconds is None:
                raise self._at(
                    node,
                    f"{node.value!r} is not a date.",
                    'Write "2026-03-01" or "2026-03-01T14:30"; for the last hours: age < "12h"',
                )
        else:
            return None
        return lambda row: seconds

    def _call(self, node: ast.Call, depth: int) -> _Value:
        if node.keywords or len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
            raise self._at(node, "A function of a query takes one value.", _FUNCTIONS)
        argument = node.args[0]
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            method = _METHODS[node.func.attr]
            subject, wanted = self._read(node.func.value, depth), self._read(argument, depth)
            return lambda row: method(subject(row), wanted(row))
        called = _dotted(node.func)
        if called not in OVER_STEPS:
            near = did_you_mean((called or "").rpartition(".")[2], [*OVER_STEPS, *_METHODS]).strip()
            raise self._at(node, f"A query has no function {called or 'here'!r}.", near or _FUNCTIONS)
        metric = _dotted(argument)
        if isinstance(argument, ast.BinOp):
            metric = self._joined(argument)
        elif isinstance(argument, ast.Subscript) and (space := _space(argument)) and space[0] == "metric":
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
        return _error(what, self.text, position, todo)

    def _explain(self, error: SyntaxError | None) -> QueryError:
        """What the user probably meant by text that is no expression."""
        code, open_quote = _without_text(self.code)
        if open_quote is not None:
            return self._error(
                "This quote is never closed.", open_quote, f"Add {self.code[open_quote]} after the text."
            )
        slips = [(found.start(), what, todo) for slip, what, todo in _SLIPS if (found := slip.search(code))]
        if slips:
            position, what, todo = min(slips, key=operator.itemgetter(0))
            return self._error(what, position, todo)
        if (bracket := _unbalanced(code)) is not None:
            other = {"(": ")", "[": "]", "{": "}"}.get(code[bracket])
            what = f"This {code[bracket]!r} is never {'closed' if other else 'opened'}."
            return self._error(what, bracket, f"Add {other!r}." if other else "Remove it.")
        for word in re.finditer(r"[^\W\d]\w*", code):
            if keyword.iskeyword(word[0]) and word[0] not in _WORDS:
                todo = f'Where it is a name, write config["{word[0]}"] or metric["{word[0]}"].'
                return self._error(f"{word[0]!r} is a word of Python.", word.start(), todo)
        for pair in re.finditer(r"(?=(?<![\w\"'])([\w.]+|\"+|'+) +([\w.]+|\"+|'+))", code):
            if not {pair[1], pair[2]} & _WORDS:
                todo = 'Write, for instance: state == "finished", or: "mnist" in tags'
                return self._error("An operator is missing here.", pair.start(2), todo)
        position = len(self.code.rstrip()) if error is None else self.indent + max((error.offset or 1) - 1, 0)
        if error is None:
            return self._error("The query is nested too deeply or holds a character that is none.", 0, _EXAMPLE)
        if ends := re.search(r"(?:[-+*/%<>=!]|\b(?:and|or|not|in|is))\s*$", code):
            return self._error("The query ends before it is complete.", ends.end(), _EXAMPLE)
        return self._error("The query cannot be read here.", position, _EXAMPLE)


_NOT_IN_QUERIES: dict[type[ast.expr], str] = {
    ast.Lambda: "a lambda",
    ast.IfExp: "an if",
    ast.Dict: "a dict",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f-string",
    ast.Starred: "a star",
    ast.ListComp: "a loop",
    ast.SetComp: "a loop",
    ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop",
}
_SPACES = ("config", "metric")
_SPELLED = {"true": "True", "false": "False", "null": "None", "none": "None", "nil": "None"}
_WORDS = frozenset({"and", "or", "not", "in", "is", "True", "False", "None"})
_FUNCTIONS = 'Functions are min(loss), max, first, last, best; name.startswith("a"), endswith, contains.'


def _dotted(node: ast.expr) -> str | None:
    """'optimizer.lr' of the node that spells it; None for any other node."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _space(node: ast.Subscript) -> tuple[str, str] | None:
    """('config', 'lr') of `config["lr"]`."""
    if not (isinstance(node.value, ast.Name) and node.value.id in _SPACES):
        return None
    if not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)):
        return None
    return node.value.id, node.slice.value


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _duration(text: str) -> float | None:
    """Seconds of "12h", "1.5d" or "1h30m"."""
    parts = re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO date, local time unless it says otherwise."""
    try:
        return datetime.fromisoformat(re.sub("Z$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


# --- evaluating --------------------------------------------------------------------------------------------------


def _all(parts: tuple[_Value, ...]) -> _Value:
    def all_of(row: _Row) -> Any:
        value: Any = True
        for part in parts:
            value = part(row)
            if not value:
                return value
        return value

    return all_of


def _any(parts: tuple[_Value, ...]) -> _Value:
    def any_of(row: _Row) -> Any:
        value: Any = False
        for part in parts:
            value = part(row)
            if value:
                return value
        return value

    return any_of


def _computed(compute: Callable[..., Any], *numbers: Any) -> Any:
    """The result where these are numbers and there is one; text times a number could fill the memory."""
    if not all(isinstance(number, (int, float)) for number in numbers):
        return _NOTHING
    try:
        result = compute(*numbers)
    except (ArithmeticError, ValueError):
        return _NOTHING
    return result if isinstance(result, (int, float)) else _NOTHING  # (-8) ** 0.5 is complex


def _power(base: float, exponent: float) -> Any:
    # 9 ** 9 ** 9 would take all memory and hours.
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _BIGGEST_POWER_BITS:
        return _NOTHING
    return base**exponent


def _equal(left: Any, right: Any) -> bool:
    if left is _NOTHING or right is _NOTHING:
        return left is None or right is None
    return bool(left == right)


def _unequal(left: Any, right: Any) -> bool:
    return not (left is _NOTHING or right is _NOTHING) and bool(left != right)


def _ordered(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        try:
            return bool(compare(left, right))
        except TypeError:  # text and numbers, None, what the row lacks: no order, so not in this one
            return False

    return ordered


def _in(item: Any, container: Any) -> bool:
    try:
        return item is not _NOTHING and item in container
    except TypeError:
        return False


def _not_in(item: Any, container: Any) -> bool:
    try:
        return item is not _NOTHING and item not in container
    except TypeError:
        return False


def _is(left: Any, right: Any) -> bool:
    return (None if left is _NOTHING else left) is (None if right is _NOTHING else right)


def _starts(subject: Any, wanted: Any) -> bool:
    return isinstance(subject, str) and isinstance(wanted, str) and subject.startswith(wanted)


def _ends(subject: Any, wanted: Any) -> bool:
    return isinstance(subject, str) and isinstance(wanted, str) and subject.endswith(wanted)


_METHODS: dict[str, Callable[[Any, Any], bool]] = {
    "startswith": _starts,
    "endswith": _ends,
    "contains": lambda subject, wanted: _in(wanted, subject),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_BITWISE: dict[type[ast.operator], tuple[str, str]] = {
    ast.BitAnd: ("&", "and"),
    ast.BitOr: ("|", "or"),
    ast.BitXor: ("^", "** for a power"),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: _equal,
    ast.NotEq: _unequal,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _in,
    ast.NotIn: _not_in,
    ast.Is: _is,
    ast.IsNot: lambda left, right: not _is(left, right),
}

# --- explaining --------------------------------------------------------------------------------------------------

_SLIPS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, todo)
    for pattern, what, todo in (
        (r"&&", "'&&' is spelled and.", "Write and."),
        (r"\|\|", "'||' is spelled or.", "Write or."),
        (r"!(?!=)", "'!' is spelled not.", "Write not."),
        (r"\bAND\b", "'AND' is spelled and.", "Write and."),
        (r"\bOR\b", "'OR' is spelled or.", "Write or."),
        (r"\bNOT\b", "'NOT' is spelled not.", "Write not."),
        (r"\bIN\b", "'IN' is spelled in.", "Write in."),
        (r"\bIS\b", "'IS' is spelled is.", "Write is."),
        (r"===|!==", "There is no comparison of three signs.", "Write == or !=."),
        (r"=>|=<", "The signs of this comparison are the wrong way round.", "Write >= or <=."),
        (r"<>", "'<>' is spelled !=.", "Write !=."),
        (r"(?<![=!<>:])=(?![=<>])", "'=' does not compare.", "Write == for equal."),
        (r"[“”‘’„«»]", "This is not a quote that a query knows.", "Write \" or '."),
        (r"`", "Backquotes are not for names.", 'Write metric["train/loss"].'),
        (r"\b[0-9.]+[smhdw]\b", "A number has no unit.", 'Write text for a duration: age < "12h"'),
        (r"\b[0-9.]+ ?%(?= *($|\)|and\b|or\b))", "A number has no percent sign.", "Write 0.9 for 90 %."),
        (r"(?<=\w) *:(?!=)", "':' does not compare.", 'Write name == "otter", or: "otter" in name'),
        (r"[?;$@]", "This sign has no meaning in a query.", _EXAMPLE),
    )
)


def _without_text(code: str) -> tuple[str, int | None]:
    """`code` with what stands between quotes blanked out by quotes, and where a quote opens that none closes."""
    blank, start = list(code), 0
    while opening := re.search("[\"']", code[start:]):
        begin = start + opening.start()
        closing = re.compile(rf"(?:[^\\{code[begin]}]|\\.)*{code[begin]}").match(code, begin + 1)
        if closing is None:
            return "".join(blank), begin
        blank[begin : closing.end()] = code[begin] * (closing.end() - begin)
        start = closing.end()
    return "".join(blank), None


def _unbalanced(code: str) -> int | None:
    """Where a bracket stands that has no partner."""
    opened: list[int] = []
    for position, sign in enumerate(code):
        if sign in "([{":
            opened.append(position)
        elif sign in ")]}":
            if not opened or code[opened[-1]] + sign not in ("()", "[]", "{}"):
                return position
            opened.pop()
    return opened[0] if opened else None


def _quoted(text: str) -> str:
    return '"' + (text if len(text) <= 20 else text[:20] + "…") + '"'


def _error(what: str, query: str, position: int, todo: str) -> QueryError:
    """A QueryError that shows the query, or the stretch of a long one, with a mark under the mistake."""
    position = min(max(position, 0), len(query))
    begin = max(position - 60, 0)
    shown = "".join(sign if sign.isprintable() else " " for sign in query[begin : begin + 100])
    message = f"{what}\n  {shown}\n  {' ' * (position - begin)}^\n  {todo}"
    return QueryError(message, query=query, position=position)
