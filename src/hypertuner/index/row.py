"""One run as a table shows it, as a query sees it, and as JSON."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertuner.errors import MissingExtraError
from hypertuner.index.fields import FACTS, RowFields
from hypertuner.index.spelling import is_nonfinite, text_of

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunRow(RowFields):
    """One run as the table shows it, and, in a notebook, as a picture of it."""

    def history(self) -> list[dict[str, Any]]:
        """What it logged, in order, as its folder says now: {"step", "time", and a value a metric}, one a record."""
        from hypertuner.store import Run

        logged = Run(Path(self.folder)).logged() if self.folder else iter(())
        return [{"step": record.step, "time": record.time, **record.values} for record in logged]

    def to_pandas(self) -> pandas.DataFrame:
        """What it logged as a DataFrame: one row a record, `time` in UTC, one column a metric; the index is `step`."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "to_pandas()") from None
        records = self.history()
        names = list(dict.fromkeys(["step", "time", *(name for record in records for name in record)]))
        frame = pandas.DataFrame.from_records(records, columns=names)
        frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True)
        indexed: pandas.DataFrame = frame.set_index("step")
        return indexed

    def _repr_html_(self) -> str:
        from hypertuner.index import portrait

        return portrait.as_html(self)

    def values(self, now: float | None = None) -> Mapping[str, Any]:
        """What a query sees of this run, by the names of `hypertuner.index.query`; `now` is what `age` counts to."""
        return _Values(self, time.time() if now is None else now)


_LABEL_KEYS = 4
_LABEL_VALUE = 16


def label_order(keys: Iterable[str]) -> tuple[str, ...]:
    """Settings in the order in which a label tells them: short names first, for more of them fit; seeds last."""
    return tuple(sorted(keys, key=lambda key: (key.endswith("seed"), len(key))))


def label_of(config: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first few of these settings that a run has, on one line; '' when it has none of them."""
    told = list(itertools.islice((key for key in keys if key in config), _LABEL_KEYS + 1))
    shown = " ".join(f"{key}={_short(config[key])}" for key in told[:_LABEL_KEYS])
    return f"{shown} …" if len(told) > _LABEL_KEYS else shown


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else text_of(value)
    return text if len(text) <= _LABEL_VALUE else f"{text[: _LABEL_VALUE - 1]}…"


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
    "archived": lambda row, now: row.archived,
}
# Python's dicts keep their order, so this is also that of the columns. An age is true only when it is asked.
FACT_COLUMNS = tuple(name for name in _FACTS if name != "age")


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


def config_column(key: str) -> str:
    """The name by which a query asks for a config key."""
    return f"config.{key}" if key in FACTS else key


def metric_column(key: str, config: Collection[str]) -> str:
    """The name by which a query asks for a metric, where runs have these config keys."""
    return f"metric.{key}" if key in FACTS or key in config else key


def keys_of(rows: Iterable[RunRow]) -> tuple[dict[str, None], dict[str, None]]:
    """Config keys and metrics of these runs, each once, in the order in which they come."""
    config: dict[str, None] = {}
    metrics: dict[str, None] = {}
    for row in rows:
        config.update(dict.fromkeys(row.config))
        metrics.update(dict.fromkeys(row.metrics))
    return config, metrics


def as_json(row: RunRow) -> dict[str, Any]:
    """A JSON-able dict of a row; NaN and infinity are null in `metrics` and spelled in `nonfinite`."""
    made = {name: as_plain(getattr(row, name)) for name in RunRow.__dataclass_fields__}
    nonfinite = {key: str(value) for key, value in row.metrics.items() if is_nonfinite(value)}
    return {**made, "nonfinite": nonfinite} if nonfinite else made


def as_plain(value: Any) -> Any:
    """`value` as strict JSON can hold it."""
    if is_nonfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
