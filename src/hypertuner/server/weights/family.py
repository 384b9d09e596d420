"""Which run began from which: the family tree of a storage's runs, also after runs were renamed or deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.errors import StorageError
from hypertuner.index.difference import ABSENT, changes
from hypertuner.index.row import RunRow
from hypertuner.server.contract.models import Lineage, LineageEdge, LineageNode
from hypertuner.store import Storage, lineage, records
from hypertuner.store.direction import direction
from hypertuner.store.layout import RunLayout
from hypertuner.store.monitor import watched_metric

_MOST_NODES = 3000

Look = Callable[[str], tuple[int, int]]
"""(colour, mark) of a run's name."""


@dataclass(frozen=True)
class Birth:
    """A run that began from a checkpoint: of which run, as that is called now, and at which step."""

    child: str
    parent: str
    step: int | None
    how: str
    is_here: bool
    """Whether the parent is in the storage."""


class Family:
    """The tree of one storage. What run.json says is read once. Safe for several threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._records: dict[str, tuple[tuple[int, int], records.Parent | None]] = {}

    def births(self, rows: Iterable[RunRow]) -> list[Birth]:
        """How those of `rows` began that began from a checkpoint, in their order."""
        found = []
        with self._lock:
            for row in rows:
                if row.parent is None or not row.folder or (parent := self._parent_of(row)) is None:
                    continue
                named = parent.run or parent.reference.partition("@")[0]
                folder = lineage.folder_called(self._storage.path, named, row.created) if parent.run else None
                name = folder.name if folder is not None else named
                if name != row.name:
                    found.append(Birth(row.name, name, parent.step, parent.how, folder is not None))
        return found

    def _parent_of(self, row: RunRow) -> records.Parent | None:
        path = RunLayout(Path(row.folder)).record
        try:
            status = path.stat()
            stamp = status.st_ino, status.st_mtime_ns
            known = self._records.get(row.folder)
            if known is None or known[0] != stamp:
                record = records.read(records.RunRecord, path)
                known = self._records[row.folder] = stamp, record.parent if record is not None else None
        except (OSError, StorageError):
            return None
        return known[1]


def children(births: Iterable[Birth]) -> dict[str, list[Birth]]:
    """Name of a run → those that began from it."""
    found: dict[str, list[Birth]] = {}
    for birth in births:
        found.setdefault(birth.parent, []).append(birth)
    return found


def tree(
    row: Callable[[str], RunRow | None], births: Iterable[Birth], *, run: str | None, metric: str | None, look: Look
) -> Lineage:
    """The family of one run, or of all that have one; without `metric`, by the one that their names say is watched."""
    births = list(births)
    if run is not None:
        births = _family_of(run, births)
    names = dict.fromkeys(name for birth in births for name in (birth.parent, birth.child))
    if run is not None:
        names[run] = None
    shown = list(names)[:_MOST_NODES]
    by_name = {name: found for name in shown if (found := row(name)) is not None}
    if metric is None:
        logged = {key: value for name in shown if name in by_name for key, value in by_name[name].metrics.items()}
        watched = watched_metric(logged, None, None)
        metric = watched[0] if watched is not None else None
    kept = set(shown)
    return Lineage(
        metric=metric,
        nodes=[_node(name, by_name.get(name), metric, look) for name in shown],
        edges=[_edge(birth, by_name, metric) for birth in births if {birth.parent, birth.child} <= kept],
    )


def _family_of(run: str, births: list[Birth]) -> list[Birth]:
    """The births of all who are related to a run."""
    related, seen = {run}, 0
    while seen != len(related):
        seen = len(related)
        for birth in births:
            if birth.parent in related or birth.child in related:
                related |= {birth.parent, birth.child}
    return [birth for birth in births if birth.child in related]


def value_of(row: RunRow | None, metric: str | None) -> float | None:
    """The best value of a metric that a run reached, its last where no way is better; None without a finite one."""
    if row is None or metric is None:
        return None
    value = row.best.get(metric, row.metrics.get(metric))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < float("inf") else None


def _node(name: str, row: RunRow | None, metric: str | None, look: Look) -> LineageNode:
    colour, mark = look(name)
    return LineageNode(
        name=name,
        state=row.state if row is not None else "unknown",
        colour=colour,
        mark=mark,
        metric=value_of(row, metric),
        is_gone=row is None,
    )


def _edge(birth: Birth, rows: Mapping[str, RunRow], metric: str | None) -> LineageEdge:
    parent, child = rows.get(birth.parent), rows.get(birth.child)
    changed: dict[str, list[Any]] = {}
    if parent is not None and child is not None:
        for key, pair in changes(parent.config, child.config).items():
            changed[key] = [None if value is ABSENT else value for value in pair]
    before, after = value_of(parent, metric), value_of(child, metric)
    gain = None
    if metric is not None and before is not None and after is not None:
        gain = before - after if direction(metric) == "min" else after - before
    return LineageEdge(
        parent=birth.parent, child=birth.child, how=birth.how, step=birth.step, changed=changed, gain=gain
    )
