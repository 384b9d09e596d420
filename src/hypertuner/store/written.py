"""When an attempt wrote last, and how long ago that is by the clock of the file system that keeps it.

Of an attempt on a host that cannot be asked, that is all that tells whether it goes on. The clocks of two hosts may be
minutes apart, so the time of a file is compared with that of another file of the same file system.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypertuner import files, settings
from hypertuner.errors import StorageError
from hypertuner.store.layout import AttemptLayout, QueueLayout

_GOOD_FOR_S = 10.0


def wrote_at(attempt: AttemptLayout) -> float | None:
    """When an attempt wrote last, in seconds since 1970 by the file system's clock; None when it cannot be told."""
    parts = map(attempt.output_part, attempt.output_parts())
    times = [_modified(path) for path in (attempt.started, attempt.metrics, attempt.figures, *parts)]
    return max((when for when in times if when is not None), default=None)


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


class FileClock:
    """The clock of the file system that keeps a storage; this host's where nothing may be written there."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._ahead_s = 0.0
        self._asked_at: float | None = None

    def now(self) -> float:
        """Seconds since 1970. The file system is asked every 10 s at most."""
        if self._asked_at is None or not 0 <= time.time() - self._asked_at < _GOOD_FOR_S:
            self._ahead_s = self._ask() - time.time()
            self._asked_at = time.time()
        return time.time() + self._ahead_s

    def age(self, moment: float) -> float:
        """Seconds since a moment of this clock, at least 0."""
        return max(0.0, self.now() - moment)

    def _ask(self) -> float:
        if settings.is_off() or not self._storage.is_dir():
            return time.time()
        place = QueueLayout(self._storage)
        try:
            files.make_folder(place.folder)
            with files.Draft(place.clock) as draft:  # is never committed: nothing of it stays
                draft.file.write(b"\n")
                return os.fstat(draft.file.fileno()).st_mtime
        except (OSError, StorageError):
            return time.time()
