"""A table of runs: what `hypertuner.runs()` returns and `hypertuner ls` prints.

A table never changes; `filter` and `sort` give a new one. It holds what was read when it was made and reads nothing
itself. Whatever a script wrote into its names, tags and notes is shown as text: no markup reaches a notebook, no
control sequence a terminal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from hypertuner.errors import MissingExtraError, QueryError, RunNotFoundError, did_you_mean
from hypertuner.index import drawing
from hypertuner.index.fields import FACTS
from hypertuner.index.query import OVER_STEPS, Query
from hypertuner.index.row import (
    FACT_COLUMNS,
    RunRow,
    as_json,
    config_column,
    keys_of,
    label_of,
    label_order,
    metric_column,
)
from hypertuner.index.spelling import text_of
from hypertuner.store.direction import direction

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["RunRow", "RunTable"]

_NEWEST_FIRST = frozenset({"created", "starred", "archived"})


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

    def in_sight(self) -> RunTable:
        """Those that are not archived."""
        return self._of(row for row in self._rows if not row.archived)

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
            *FACT_COLUMNS,
            *(config_column(key) for key in config),
            *(metric_column(key, config) for key in metrics),
        )

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON-able dict a run; NaN and infinity are null in `metrics` and spelled in `nonfinite`."""
        return [as_json(row) for row in self]

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
        return drawing.as_text(self._rows, self._differing)

    def _repr_html_(self) -> str:
        return drawing.as_html(self._rows, self._differing)

    # A table made from another one knows the names that the other one knew: `filter("starred")` does not make
    # `val_acc` a typing error because no starred run logged it.

    def _of(self, rows: Iterable[RunRow]) -> RunTable:
        table = RunTable(rows)
        table.__dict__["names"] = self.names
        return table

    @cached_property
    def _keys(self) -> tuple[dict[str, None], dict[str, None]]:
        return keys_of(self._rows)

    @cached_property
    def _differing(self) -> tuple[str, ...]:
        rows, (keys, _) = self._rows, self._keys
        return tuple(key for key in keys if any(not _same(rows[0].config, row.config, key) for row in rows))

    @cached_property
    def _telling(self) -> tuple[str, ...]:
        """The keys of which two runs have different values: runs of another script lack all keys of this one."""
        return tuple(key for key in self._differing if self._has_two_values(key))

    def _has_two_values(self, key: str) -> bool:
        having = [row.config for row in self._rows if key in row.config]
        return any(not _same(having[0], config, key) for config in having)

    @cached_property
    def _label_keys(self) -> tuple[str, ...]:
        return label_order(self._telling)

    def telling(self) -> list[str]:
        """Those of `differing` that are more than absent from runs of another script: two runs have two values."""
        return list(self._telling)

    def _with_differs(self, row: RunRow) -> RunRow:
        differs = {key: row.config[key] for key in self._differing if key in row.config}
        return replace(row, differs=differs, label=label_of(row.config, self._label_keys))

    def sorted_by(self, key: Callable[[RunRow], Any]) -> RunTable:
        """In the order of what `key` makes of a row."""
        return self._of(sorted(self._rows, key=key))

    @property
    def rows(self) -> tuple[RunRow, ...]:
        """The rows as they were read, without what tells each from the others of this table."""
        return self._rows

    def _check_name(self, name: str) -> None:
        plain = name
        function, opened, rest = name.partition("(")
        if opened and function in OVER_STEPS and rest.endswith(")"):
            plain = rest[:-1]
        known = self.names | FACTS
        if self._rows and not {name, plain, name.removeprefix("config."), name.removeprefix("metric.")} & known:
            todo = did_you_mean(plain, sorted(known)) or "\n  `hypertuner ls --json` shows all that runs have."
            raise QueryError(f"No run has {name!r} to sort by.{todo}", query=name, position=0)

    def _by_column(self) -> dict[str, list[Any]]:
        values = [row.values() for row in self._rows]
        columns = {column: [row.get(column) for row in values] for column in self.columns}
        columns["created"] = [datetime.fromtimestamp(row.created, timezone.utc) for row in self._rows]
        return columns


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _order(value: Any) -> tuple[int, float, str]:
    """A key under which any values can be sorted: numbers, then text, then the rest by its text."""
    if isinstance(value, (int, float)):
        return (0, value, "")
    return (1, 0, value) if isinstance(value, str) else (2, 0, text_of(value))


def _same(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    if key not in one or key not in other:
        return key not in one and key not in other
    left, right = one[key], other[key]
    # True is 1 for Python, but a switch that was on is not a number that was one; NaN is NaN.
    return (left == right and isinstance(left, bool) == isinstance(right, bool)) or (left != left and right != right)


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
    return [None if value is None else text_of(value) for value in values]
