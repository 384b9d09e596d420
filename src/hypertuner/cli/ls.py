"""`hypertuner ls`: the runs of a storage as a table that tells them apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.cli.doing import doing
from hypertuner.cli.terminal import (
    Cell,
    Column,
    age_text,
    count_text,
    duration_text,
    is_number,
    is_terminal,
    plain,
    say,
    show_json,
    show_table,
    since_text,
    size_text,
    value_text,
    without_room,
)
from hypertuner.errors import ConfigError, QueryError, did_you_mean
from hypertuner.index.fields import FACTS
from hypertuner.index.query import Query
from hypertuner.index.runs import runs
from hypertuner.index.table import RunTable
from hypertuner.index.times import duration_s, moment
from hypertuner.store import Storage
from hypertuner.store.direction import direction
from hypertuner.store.monitor import watched_metric
from hypertuner.store.written import FileClock

_SHOWN_ON_A_TERMINAL = 50
_LABEL = "differs"


@dataclass(frozen=True)
class Asked:
    """Which runs are listed, and how."""

    query: str | None = None
    sort: str | None = None
    limit: int | None = None
    columns: str | None = None
    since: str | None = None
    everything: bool = False
    archived: bool = False

    def of(self, table: RunTable) -> RunTable:
        """Those of a storage's runs that are asked for, in the order that is asked for; of archived ones only those
        that the query asks about, or all, or only those.

        Raises: QueryError; ConfigError for a `since` that is no age and no date.
        """
        if self.query is not None:
            table = table.filter(self.query)
        if self.archived:
            table = table.filter("archived")
        elif not self.everything and (self.query is None or "archived" not in Query(self.query).names):
            table = table.in_sight()
        if self.since is not None:
            table = table.filter(f"created >= {_moment(self.since)!r}")
        return table.sort(self.sort) if self.sort else table

    @property
    def named_columns(self) -> list[str] | None:
        """The columns that are asked for; None: those that tell most."""
        return self.columns.split(",") if self.columns else None


def ls(storage: Storage, asked: Asked, *, as_json: bool = False) -> None:
    """Print the runs that match. Raises: QueryError; ConfigError."""
    table = asked.of(runs(storage=storage))
    found, limit = len(table), asked.limit
    if limit is None and is_terminal() and not as_json:
        limit = _SHOWN_ON_A_TERMINAL
    table = table[:limit]
    if as_json:
        show_json(table.to_json())
    elif not found:
        say(_nothing(storage, asked))
    else:
        hidden = show_runs(table, asked.named_columns)
        if hidden:
            say(f"no room for {', '.join(hidden)} (--columns chooses, --json has all)", "dim")
        if found > len(table):
            say(f"{count_text(found - len(table), 'more run')} (--limit {found} shows all)", "dim")


def _moment(text: str) -> float:
    """The moment, in seconds since 1970, that an age or a date spells."""
    if (ago := duration_s(text)) is not None:
        return time.time() - ago
    if (when := moment(text)) is not None:
        return when
    raise ConfigError(
        f"--since {text!r} is neither an age nor a date.\n  Write 12h, 7d, 1h30m (s m h d w) or 2026-03-01.",
        key="since",
    )


def _nothing(storage: Storage, asked: Asked) -> str:
    query, since = asked.query, asked.since
    if any(True for _ in storage.list()):
        if asked.archived and not (query or since):
            return "No run is archived: hypertuner archive RUN takes one out of sight."
        told = (query, f"was made since {since}" if since else None, "archived" if asked.archived else None)
        which = " and ".join(filter(None, told))
        found = f"No run matches {which}" if which else f"All runs of {storage.path} are archived"
        return f"{found}\n  `hypertuner ls --all` lists all of {storage.path}."
    return (
        f"No runs in {storage.path} yet.\n"
        "  hypertuner run train.py learning_rate=0.1   makes one; hypertuner demo   shows how it goes."
    )


def show_runs(table: RunTable, wanted: Sequence[str] | None = None) -> list[str]:
    """Print a table of runs; the columns for which there was no room."""
    return show_table(columns_of(table, wanted))


def columns_of(table: RunTable, wanted: Sequence[str] | None = None, clock: FileClock | None = None) -> list[Column]:
    """The columns of a table of runs: those wanted, else those that tell most."""
    now = time.time()
    rows = [row.values(now) for row in table]
    best = _best_column(table)
    label = Column(_LABEL, [Cell(plain(row.label)) for row in table], rank=0 if wanted else 2)
    clock = clock or FileClock(Path(table[0].folder).parent if len(table) and table[0].folder else Path())

    def made(name: str, rank: int) -> Column:
        if name == "state":
            return Column(name, [doing(row, clock) for row in table], rank=rank)
        return label if name == _LABEL else _column(name, rank, rows, best)

    if wanted:
        ranks = dict.fromkeys((name.strip() for name in wanted), 0)
        _check({name: rank for name, rank in ranks.items() if name != _LABEL}, rows)
        return [made(name, 0) for name in ranks]
    ranks = _chosen(table)
    columns = [made(name, rank) for name, rank in ranks.items()]
    settings = {plain(_config_column(key)) for key in table.telling()}
    if is_terminal() and settings.intersection(without_room(columns)):
        # One column of what differs takes the room of two or three settings, and leaves none out unsaid.
        at = next(number for number, column in enumerate(columns) if column.title in settings)
        columns[at] = label
        columns = [column for column in columns if column.title not in settings]
    return columns


def _config_column(key: str) -> str:
    return f"config.{key}" if key in FACTS else key


def _best_column(table: RunTable) -> str | None:
    """The metric that best tells these runs apart, as the query spells its best value."""
    metrics = {name: value for row in table for name, value in row.metrics.items()}
    watched = watched_metric(metrics, None, None)
    return f"best({watched[0]})" if watched else None


def _chosen(table: RunTable) -> dict[str, int]:
    """Columns in their order, each with the rank by which it goes where there is no room."""
    config = dict.fromkeys(key for row in table for key in row.config)
    metrics = dict.fromkeys(name for row in table for name in row.metrics)
    best = _best_column(table)
    ranks = {"name": 0, "state": 0}
    if best:
        ranks[best] = 1
    telling = table.telling()
    for key in table.differing():
        # Where there is no room, real differences stay.
        ranks[_config_column(key)] = 2 if key in telling else 5
    telling = sorted(metrics, key=lambda name: direction(name) is None)
    ranks |= {f"metric.{name}" if name in config else name: 5 for name in telling if best != f"best({name})"}
    ranks |= {"step": 4, "age": 3}
    if any(row.parent for row in table):
        ranks["parent"] = 3
    if any(row.tags for row in table):
        ranks["tags"] = 6
    return ranks


def _check(names: Mapping[str, int], rows: Sequence[Mapping[str, Any]]) -> None:
    known = {name for row in rows for name in row}
    for name in names:
        if name not in known:
            raise QueryError(
                f"No run has {name!r} to show.{did_you_mean(name, sorted(known))}\n"
                "  Columns are what a query may name: name, state, age, a config key, a metric, best(val_acc).",
                query=name,
                position=0,
            )


def _column(name: str, rank: int, rows: Sequence[Mapping[str, Any]], best: str | None) -> Column:
    values = [row.get(name) for row in rows]
    cells = [_cell(name, value, row) for value, row in zip(values, rows, strict=True)]
    numbers = [value for value in values if is_number(value) and value == value]
    if name == best and len(numbers) > 1:
        way = direction(name.removeprefix("best(").removesuffix(")"))
        top = min(numbers) if way == "min" else max(numbers)
        cells = [
            Cell(cell.text, "bold green") if value == top else cell for cell, value in zip(cells, values, strict=True)
        ]
    return Column(plain(name), cells, any(map(is_number, values)), rank)


def _cell(name: str, value: Any, row: Mapping[str, Any]) -> Cell:
    if value is None:
        return Cell("")
    match name:
        case "name":
            return Cell(f"{'★ ' if row['starred'] else ''}{plain(value)}", "bold")
        case "age":
            return Cell(age_text(value) if row["created"] else "", "dim")
        case "created":
            return Cell(since_text(value), "dim")
        case "duration":
            return Cell(duration_text(value))
        case "size":
            return Cell(size_text(value))
        case "tags":
            return Cell(plain(", ".join(value)))
    return Cell(value_text(value))
