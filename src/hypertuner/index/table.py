"""A table of runs: what `hypertuner.runs()` returns and `hypertuner ls` prints.

A table never changes; `filter` and `sort` give a new one. It holds what was read when it was made and reads nothing
itself. Whatever a script wrote into its names, tags and notes is shown as text: no markup reaches a notebook, no
control sequence a terminal.
"""

from __future__ import annotations

import html
import json
import math
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from hypertuner.errors import MissingExtraError, QueryError, RunNotFoundError, did_you_mean
from hypertuner.index.query import FACTS, OVER_STEPS, Query
from hypertuner.store.direction import direction

if TYPE_CHECKING:
    import pandas
    import polars

_ROWS_SHOWN = 50
_WIDTH_SHOWN = 140
_TEXT_SHOWN = 40
_NEWEST_FIRST = frozenset({"created", "starred"})


@dataclass(frozen=True)
class RunRow:
    """One run as the table shows it.

    `metrics` holds the last logged values, `first` the first ones, `lowest` and `highest` the extremes over all steps,
    `best` one of these for the metrics whose direction is known. `created` is seconds since 1970. `differs` is the part
    of `config` that tells this run from the others of the table it was taken from.
    """

    name: str
    state: str
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    created: float = 0.0
    duration_s: float | None = None
    step: int | None = None
    checkpoints: int = 0
    nbytes: int = 0
    parent: str | None = None
    script: str | None = None
    note: str = ""
    starred: bool = False
    first: Mapping[str, float] = field(default_factory=dict)
    lowest: Mapping[str, float] = field(default_factory=dict)
    highest: Mapping[str, float] = field(default_factory=dict)
    differs: Mapping[str, Any] = field(default_factory=dict)

    def values(self, now: float | None = None) -> Mapping[str, Any]:
        """What a query sees of this run, by the names of `hypertuner.index.query`; `now` is what `age` counts to."""
        return _Values(self, time.time() if now is None else now)


_FACTS: dict[str, Callable[[RunRow, float], Any]] = {
    "name": lambda row, now: row.name,
    "state": lambda row, now: row.state,
    "tags": lambda row, now: list(row.tags),
    "created": lambda row, now: row.created,
    "age": lambda row, now: now - row.created,
    "duration": lambda row, now: row.duration_s,
    "step": lambda row, now: row.step,
    "checkpoints": lambda row, now: row.checkpoints,
    "size": lambda row, now: row.nbytes,
    "parent": lambda row, now: row.parent,
    "script": lambda row, now: row.script,
    "note": lambda row, now: row.note,
    "starred": lambda row, now: row.starred,
}
# Python's dicts keep their order, so this is also that of the columns. An age is true only when it is asked.
_FACT_COLUMNS = tuple(name for name in _FACTS if name != "age")


class _Values(Mapping[str, Any]):
    """A row by the names of the query language: a fact, else a config key, else a metric; computed when asked."""

    def __init__(self, row: RunRow, now: float) -> None:
        self._row = row
        self._now = now
        self._over_steps = {
            "min": row.lowest,
            "max": row.highest,
            "first": row.first,
            "last": row.metrics,
            "best": row.best,
        }

    def __getitem__(self, name: str) -> Any:
        row = self._row
        if fact := _FACTS.get(name):
            return fact(row, self._now)
        if name in row.config:
            return row.config[name]
        if name in row.metrics:
            return row.metrics[name]
        if name.startswith("config."):
            return row.config[name.removeprefix("config.")]
        if name.startswith("metric."):
            return row.metrics[name.removeprefix("metric.")]
        function, opened, metric = name.partition("(")
        if not opened or not metric.endswith(")"):
            raise KeyError(name)
        return self._over_steps[function][metric[:-1]]

    def __iter__(self) -> Iterator[str]:
        row = self._row
        yield from dict.fromkeys([*_FACTS, *row.config, *row.metrics])
        yield from (f"config.{key}" for key in row.config)
        yield from (f"metric.{key}" for key in row.metrics)
        yield from (f"{function}({key})" for function, values in self._over_steps.items() for key in values)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class RunTable(Sequence[RunRow]):
    """Runs in an order, by position or by name: `table[0]`, `table["brave-otter"]`, `table[:10]`."""

    def __init__(self, rows: Iterable[RunRow]) -> None:
        self._rows = tuple(rows)
        self._by_name = {row.name: row for row in self._rows}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RunRow]:
        return map(self._with_differs, self._rows)

    @overload
    def __getitem__(self, which: int | str) -> RunRow: ...
    @overload
    def __getitem__(self, which: slice) -> RunTable: ...
    def __getitem__(self, which: int | str | slice) -> RunRow | RunTable:
        """The run at a position or of a name, or the table of a slice. Raises: RunNotFoundError, IndexError."""
        if isinstance(which, slice):
            return self._of(self._rows[which])
        if isinstance(which, int):
            return self._with_differs(self._rows[which])
        if which not in self._by_name:
            todo = did_you_mean(which, self._by_name) or f" It has {len(self)}."
            raise RunNotFoundError(f"The table has no run {which!r}.{todo}")
        return self._with_differs(self._by_name[which])

    def __contains__(self, which: object) -> bool:
        if isinstance(which, RunRow):
            return which.name in self._by_name
        return which in self._by_name

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that a query about these runs may use: config keys and metrics, of a filtered table all runs'."""
        return frozenset(key for row in self._rows for key in (*row.config, *row.metrics))

    def filter(self, query: str | Query) -> RunTable:
        """The runs that `query` describes, in this order. Raises: QueryError, also for a name that no run has."""
        if isinstance(query, str):
            query = Query(query)
        if self._rows:  # where there is no run, no name is known and none can be wrong
            query.check(self.names)
        now = time.time()
        return self._of(row for row in self._rows if query.matches(row.values(now)))

    def sort(self, name: str, descending: bool | None = None) -> RunTable:
        """By a metric, config key or fact, best first where the name tells its direction (`loss` up from the lowest).

        Names are the query's: `lr`, `metric.lr`, `min(train/loss)`. Other names go up, `created` and `starred` down,
        unless `descending` says. Runs that lack a value, or have NaN, come last either way; equal ones keep order.
        """
        self._check_name(name)
        if descending is None:
            descending = name in _NEWEST_FIRST or (name not in FACTS and direction(name) == "max")
        now = time.time()
        valued = [(row.values(now).get(name), row) for row in self._rows]
        present = [(_order(value), row) for value, row in valued if not _is_missing(value)]
        present.sort(key=lambda pair: pair[0], reverse=descending)
        return self._of([row for _, row in present] + [row for value, row in valued if _is_missing(value)])

    def differing(self) -> list[str]:
        """The config keys that tell these runs apart: some run has another value, or none."""
        return list(self._differing)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Facts, then config keys, then metrics, each by the name that a query asks for it."""
        config, metrics = self._keys
        return (
            *_FACT_COLUMNS,
            *(_config_column(key) for key in config),
            *(_metric_column(key, config) for key in metrics),
        )

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON-able dict a run; NaN and infinity are null in `metrics` and spelled in `nonfinite`."""
        return [_json_row(row) for row in self]

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with one row a run and the table's `columns`; `created` in UTC."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "to_pandas()") from None
        frame: pandas.DataFrame = pandas.DataFrame(self._by_column(), columns=list(self.columns))
        return frame

    def to_polars(self) -> polars.DataFrame:
        """A DataFrame with one row a run and the table's `columns`; one that mixes types is text; `created` in UTC."""
        try:
            import polars
        except ImportError:
            raise MissingExtraError("polars", "polars", "to_polars()") from None
        kinds: dict[str, Any] = {
            "created": polars.Datetime("us", "UTC"),
            "tags": polars.List(polars.String),
            "duration": polars.Float64,
            "step": polars.Int64,
            "parent": polars.String,
            "script": polars.String,
        }
        return polars.DataFrame(
            [
                polars.Series(name, values if name in kinds else _one_type(values), dtype=kinds.get(name))
                for name, values in self._by_column().items()
            ]
        )

    def __repr__(self) -> str:
        if not self._rows:
            return "RunTable: no runs"
        shown, columns = self._shown()
        cells = [[_printable(column) for column in columns], *([text for text, _ in row] for row in shown)]
        numeric = [any(is_number for _, is_number in column) for column in zip(*shown, strict=True)]
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        total = 0
        fitting = 0
        for width in widths:
            total += width + 2
            fitting += total <= _WIDTH_SHOWN + 2 or fitting < 2
        lines = []
        for row in cells:
            padded = [
                " " * (width - _width(text)) + text if right else text + " " * (width - _width(text))
                for text, width, right in zip(row, widths, numeric, strict=True)
            ]
            lines.append("  ".join(padded[:fitting]).rstrip())
        lines.insert(1, "  ".join("─" * width for width in widths[:fitting]))
        hidden = [_more(len(columns) - fitting, "column")] if fitting < len(columns) else []
        hidden += [_more(len(self) - _ROWS_SHOWN, "run")] if len(self) > _ROWS_SHOWN else []
        return "\n".join([*lines, *([f"… and {', '.join(hidden)}"] if hidden else [])])

    def _repr_html_(self) -> str:
        if not self._rows:
            return "<p>no runs</p>"
        shown, columns = self._shown()
        best = self._best_cells()
        head = "".join(f"<th>{html.escape(_printable(column))}</th>" for column in columns)
        lines = [f'<table class="hypertuner-runs"><thead><tr>{head}</tr></thead><tbody>']
        for index, row in enumerate(shown):
            cells = []
            for column, (text, is_number) in zip(columns, row, strict=True):
                escaped = html.escape(text)
                if (index, column) in best:
                    escaped = f"<b>{escaped}</b>"
                cells.append(f'<td style="text-align:{"right" if is_number else "left"}">{escaped}</td>')
            lines.append(f"<tr>{''.join(cells)}</tr>")
        lines.append("</tbody></table>")
        if len(self) > _ROWS_SHOWN:
            lines.append(f"<p>… and {_more(len(self) - _ROWS_SHOWN, 'run')}</p>")
        return "\n".join(lines)

    # A table made from another one knows the names that the other one knew: `filter("starred")` does not make
    # `val_acc` a typing error because no starred run logged it.

    def _of(self, rows: Iterable[RunRow]) -> RunTable:
        table = RunTable(rows)
        table.__dict__["names"] = self.names
        return table

    @cached_property
    def _keys(self) -> tuple[dict[str, None], dict[str, None]]:
        """Config keys and metrics of these runs, each once, in the order in which they come."""
        config = dict.fromkeys(key for row in self._rows for key in row.config)
        return config, dict.fromkeys(key for row in self._rows for key in row.metrics)

    @cached_property
    def _differing(self) -> tuple[str, ...]:
        rows, (keys, _) = self._rows, self._keys
        return tuple(key for key in keys if any(not _same(rows[0].config, row.config, key) for row in rows))

    def _with_differs(self, row: RunRow) -> RunRow:
        return replace(row, differs={key: row.config[key] for key in self._differing if key in row.config})

    def _check_name(self, name: str) -> None:
        plain = name
        function, opened, rest = name.partition("(")
        if opened and function in OVER_STEPS and rest.endswith(")"):
            plain = rest[:-1]
        known = self.names | FACTS
        if self._rows and not {name, plain, name.removeprefix("config."), name.removeprefix("metric.")} & known:
            todo = did_you_mean(plain, sorted(known))
            raise QueryError(f"No run has {name!r} to sort by.{todo}", query=name, position=0)

    def _by_column(self) -> dict[str, list[Any]]:
        values = [row.values() for row in self._rows]
        columns = {column: [row.get(column) for row in values] for column in self.columns}
        columns["created"] = [datetime.fromtimestamp(row.created, timezone.utc) for row in self._rows]
        return columns

    def _shown(self) -> tuple[list[list[tuple[str, bool]]], list[str]]:
        """The cells (text, is it a number) of the first rows, and the columns."""
        config, metrics = self._keys
        telling = [key for key in metrics if direction(key)]
        other = [key for key in metrics if not direction(key)]
        # In the order of what may be left out where there is no room: how well it did, what differs, the rest.
        columns = ["name", "state", *(_metric_column(key, config) for key in telling)]
        columns += [*map(_config_column, self._differing), *(_metric_column(key, config) for key in other)]
        columns += ["step", "age", *(["tags"] if any(row.tags for row in self._rows) else [])]
        now = time.time()
        return [[_cell(column, row.values(now)) for column in columns] for row in self._rows[:_ROWS_SHOWN]], columns

    def _best_cells(self) -> set[tuple[int, str]]:
        """(row, column) of the best value of each metric whose direction is known, where runs can be compared."""
        config, metrics = self._keys
        best: set[tuple[int, str]] = set()
        for key in metrics:
            way = direction(key)
            numbers = [(row.metrics.get(key), at) for at, row in enumerate(self._rows)]
            present = [(number, at) for number, at in numbers if number is not None and not math.isnan(number)]
            if way is None or len(present) < 2:
                continue
            top = (max if way == "max" else min)(number for number, _ in present)
            best.update((at, _metric_column(key, config)) for number, at in present if number == top)
        return best


def _config_column(key: str) -> str:
    return f"config.{key}" if key in FACTS else key


def _metric_column(key: str, config: Mapping[str, Any]) -> str:
    return f"metric.{key}" if key in FACTS or key in config else key


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _order(value: Any) -> tuple[int, float, str]:
    """A key under which any values can be sorted: numbers, then text, then the rest by its text."""
    if isinstance(value, (int, float)):
        return (0, value, "")
    return (1, 0, value) if isinstance(value, str) else (2, 0, _text(value))


def _same(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    if key not in one or key not in other:
        return key not in one and key not in other
    left, right = one[key], other[key]
    # True is 1 for Python, but a switch that was on is not a number that was one; NaN is NaN.
    return (left == right and isinstance(left, bool) == isinstance(right, bool)) or (left != left and right != right)


# --- one value ---------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """`value` as strict JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _json_row(row: RunRow) -> dict[str, Any]:
    made = {name: _plain(getattr(row, name)) for name in RunRow.__dataclass_fields__}
    nonfinite = {key: str(value) for key, value in row.metrics.items() if not math.isfinite(value)}
    return {**made, "nonfinite": nonfinite} if nonfinite else made


def _one_type(values: list[Any]) -> list[Any]:
    """`values` as one column of one type: numbers where all are numbers, else text."""
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present) or all(isinstance(value, str) for value in present):
        return values
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present)
    if numbers and any(isinstance(value, float) for value in present):
        return [None if value is None else float(value) for value in values]
    if numbers and all(-(2**63) <= value < 2**63 for value in present):
        return values
    return [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cell(column: str, values: Mapping[str, Any]) -> tuple[str, bool]:
    value: Any = values.get(column)
    if column == "age":
        return _duration(value), True
    if column == "name":
        return f"{'★ ' if values['starred'] else ''}{_printable(value)}", False
    if column == "tags":
        return _printable(", ".join(value)), False
    if value is None:
        return "", False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.4g}" if isinstance(value, float) else _printable(_text(value)), True
    return _printable(_text(value)), False


def _printable(text: str) -> str:
    """`text` on one line, cut, without what would steer a terminal or turn the direction of writing."""
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[: _TEXT_SHOWN + 1])
    return shown if len(shown) <= _TEXT_SHOWN else shown[: _TEXT_SHOWN - 1] + "…"


def _more(count: int, noun: str) -> str:
    return f"{count} more {noun}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def _width(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
