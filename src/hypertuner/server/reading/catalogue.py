"""The catalogue: a row for each run of the storage as it was last looked at, and what has changed since when.

`revision` grows with every change that can be seen. Rows are put in from any thread; whoever asks gets them as they
are at that moment. Before all folders were looked at, rows are what the index says, and `is_complete` is False.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hypertuner.index.row import RunRow
from hypertuner.index.table import RunTable
from hypertuner.server.reading.looks import Looks
from hypertuner.server.reading.packed import (
    ARCHIVED,
    DURATION,
    NAME,
    SHAPE,
    STATE,
    WROTE_AT,
    Packed,
    Shape,
    Shapes,
    newest_first,
    unpack,
)
from hypertuner.store import RunState, Storage

_MOST_CHANGES = 5_000
_GOES_ON = (RunState.running, RunState.unknown)


class Changes(NamedTuple):
    """What has changed since a revision."""

    revision: int
    rows: list[Packed]
    gone: list[str]


class Catalogue:
    """The rows of one storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.revision = 0
        self.is_complete = False
        self.looks = Looks()
        self.unsaved_looks: dict[str, int] = {}
        """Chosen, and not yet in the index."""
        self.listeners: list[Callable[[], None]] = []
        """Called, in whichever thread, when the revision has grown."""
        self._shapes = Shapes()
        self._rows: dict[str, Packed] = {}
        self._counts: Counter[Shape] = Counter()
        self._in_sight = 0
        self._changed: dict[str, int] = {}
        """Revision of the last change of a row, present or gone; the latest last."""
        self._since = 0
        """Changes up to this revision are forgotten."""
        self._newest: tuple[int, list[Packed]] | None = None
        self._known: tuple[int, frozenset[str]] | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, name: str) -> Packed | None:
        """The row of a run, or None."""
        return self._rows.get(name)

    def names(self) -> list[str]:
        """The names of all runs."""
        with self._lock:
            return list(self._rows)

    @property
    def total(self) -> int:
        """How many runs are not archived."""
        return self._in_sight

    def newest_first(self) -> list[Packed]:
        """All rows; not to be changed."""
        with self._lock:
            if self._newest is None or self._newest[0] != self.revision:
                self._newest = (self.revision, self._in_order())
            return self._newest[1]

    def known_names(self) -> frozenset[str]:
        """Config keys and metrics that runs have: what a query may ask about."""
        with self._lock:
            if self._known is None or self._known[0] != len(self._counts):
                found = {key for shape in self._counts for part in ("config", "metrics") for key in shape.names[part]}
                self._known = (len(self._counts), frozenset(found))
            return self._known[1]

    def shapes(self) -> list[Shape]:
        """The shapes that rows have."""
        with self._lock:
            return list(self._counts)

    def row(self, name: str) -> RunRow | None:
        """The row of a run as the index has it."""
        packed = self.get(name)
        return None if packed is None else unpack(packed, str(self.storage.path / name))

    def table(self) -> RunTable:
        """All rows, newest first."""
        folder = self.storage.path
        return RunTable(unpack(row, str(folder / row[NAME])) for row in self.newest_first())

    def put(self, rows: Iterable[RunRow]) -> None:
        """Take in rows that were read anew; one that says what it said before changes nothing."""
        packed = [self._shapes.pack(row) for row in rows]
        with self._lock:
            changed = [row for row in packed if not self._replace(row)]
            if changed:
                self._has_changed([row[NAME] for row in changed])
                if self.is_complete:
                    self._give_looks(changed)
        if changed:
            self._tell()

    def drop(self, names: Iterable[str]) -> None:
        """These runs are no more."""
        with self._lock:
            gone = [name for name in names if name in self._rows]
            for name in gone:
                row = self._rows.pop(name)
                self._uncount(row)
                self.looks.forget(row)
            if gone:
                self._has_changed(gone)
        if gone:
            self._tell()

    def complete(self) -> None:
        """All folders were looked at: from here on rows are what the folders say, and each run has its look."""
        with self._lock:
            if self.is_complete:
                return
            self.is_complete = True
            rows = self.newest_first()
            lacking = [row for row in rows if not self.looks.known(row)]
            self._give_looks(lacking)
            self._has_changed([row[NAME] for row in lacking])
        self._tell()

    def changes(self, since: int) -> Changes | None:
        """What has changed since a revision; None when that is too much, or too long ago to say."""
        with self._lock:
            if since < self._since or since > self.revision:
                return None
            names: list[str] = []
            for name in reversed(self._changed):
                if self._changed[name] <= since:
                    break
                names.append(name)
            rows = [row for name in names if (row := self._rows.get(name)) is not None]
            return Changes(self.revision, rows, [name for name in names if name not in self._rows])

    def _in_order(self) -> list[Packed]:
        before, rows = self._newest, self._rows
        changes = None if before is None else self.changes(before[0])
        if before is None or changes is None:
            return sorted(rows.values(), key=newest_first)
        again = {row[NAME] for row in changes.rows} | set(changes.gone)
        found = [rows[row[NAME]] for row in before[1] if row[NAME] not in again]
        for row in changes.rows:
            insort(found, row, key=newest_first)
        return found

    def _replace(self, row: Packed) -> bool:
        """Put a row in the place of the old one; whether that said the same."""
        name = row[NAME]
        old = self._rows.get(name)
        self._rows[name] = row
        if old is not None:
            if _says_the_same(old, row):
                # The order holds the old one, which says the same.
                return True
            self._uncount(old)
        else:
            self.looks.known(row)
        self._counts[row[SHAPE]] += 1
        self._in_sight += not row[ARCHIVED]
        return False

    def _uncount(self, row: Packed) -> None:
        self._in_sight -= not row[ARCHIVED]
        self._counts[row[SHAPE]] -= 1
        if not self._counts[row[SHAPE]]:
            del self._counts[row[SHAPE]]
            self._known = None

    def _has_changed(self, names: list[str]) -> None:
        self.revision += 1
        if len(names) > _MOST_CHANGES:
            self._since = self.revision
            self._changed.clear()
            return
        for name in names:
            self._changed.pop(name, None)
            self._changed[name] = self.revision
        while len(self._changed) > 2 * _MOST_CHANGES:
            oldest = next(iter(self._changed))
            self._since = max(self._since, self._changed.pop(oldest))

    def _give_looks(self, rows: list[Packed]) -> None:
        self.unsaved_looks.update(self.looks.give(self.newest_first(), rows))

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()


def _says_the_same(old: Packed, new: Packed) -> bool:
    """Whether two rows differ in nothing but how long a run that runs has been doing so."""
    if old == new:
        return True
    if len(old) != len(new) or new[STATE] not in _GOES_ON or old[STATE] != new[STATE]:
        return False
    return all(old[place] == new[place] for place in range(len(new)) if place not in (DURATION, WROTE_AT))
