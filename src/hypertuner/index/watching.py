"""The runs of a storage, looked at again and again: only what may have changed is read anew.

A run that has ended stays as it was read, until the whole storage is looked at again: when a run was made or removed,
when the queue was changed, and now and then, because people write notes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypertuner.errors import StorageError
from hypertuner.index import facts
from hypertuner.index.row import RunRow
from hypertuner.index.runs import look, runs
from hypertuner.index.table import RunTable
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.layout import QueueLayout

_ALL_EVERY_S = 10.0
_MAY_CHANGE = (RunState.running, RunState.unknown, RunState.queued, RunState.draft)


class Watch:
    """A storage that is looked at several times a second."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows: dict[str, RunRow] = {}
        self._known: dict[str, facts.Facts] = {}
        self._stamps: dict[str, tuple[int | None, ...]] = {}
        self._of_storage: tuple[int | None, ...] = ()
        self._all_at = 0.0

    def look(self) -> RunTable:
        """The runs as they are now, newest first."""
        of_storage = (*_stamp(str(self._storage.path)), *_stamp(str(QueueLayout(self._storage.path).changed)))
        if of_storage != self._of_storage or time.monotonic() - self._all_at > _ALL_EVERY_S:
            self._all_at, self._of_storage = time.monotonic(), of_storage
            self._rows = {row.name: row for row in runs(storage=self._storage)}
            for gone in self._known.keys() - self._rows.keys():
                self._known.pop(gone)
                self._stamps.pop(gone, None)
        for name, row in self._rows.items():
            if row.state in _MAY_CHANGE and row.folder:
                self._rows[name] = self._again(name, row)
        return RunTable(self._rows.values())

    def _again(self, name: str, row: RunRow) -> RunRow:
        if row.state in (RunState.queued, RunState.draft):
            # Thousands may wait: two questions tell that one still does.
            stamp = (*_stamp(row.folder), *_stamp(f"{row.folder}{os.sep}attempts"))
            if stamp == self._stamps.get(name):
                return row
            self._stamps[name] = stamp
        try:
            self._known[name], found = look(Run(Path(row.folder)), self._known.get(name))
        except (StorageError, OSError):
            return row  # it is looked at again, and what is wrong said, when all are
        return found


def _stamp(path: str) -> tuple[int | None, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116  # asked thousands of times a second: a Path costs more than the call
    except OSError:
        return (None, None)
    return status.st_mtime_ns, status.st_ino
