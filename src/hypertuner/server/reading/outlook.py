"""How far the runs that go on have come, and how long they still take, as finished runs of their scripts tell."""

from __future__ import annotations

import time
from contextlib import suppress

from hypertuner.errors import StorageError
from hypertuner.index.progress import Learnt, Progress, progress_of
from hypertuner.index.row import RunRow
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.packed import NAME, SCRIPT, STATE, unpack
from hypertuner.store import RunState

_LEARN_EVERY_S = 10.0
_ASK_EVERY_S = 1.0
_MOST_OF_A_SCRIPT = 300
NOTHING = Progress()


class Outlook:
    """The progress of each run that goes on."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._progress: dict[str, tuple[float, Progress]] = {}
        self._learnt: dict[str, tuple[float, Learnt]] = {}

    def of(self, name: str) -> Progress:
        """How far a run has come, as far as that is known."""
        found = self._progress.get(name)
        return NOTHING if found is None else found[1]

    def take(self, row: RunRow) -> None:
        """A row was read: of a run that goes on, find out how far it is."""
        if row.state != RunState.running or row.script is None:
            self.forget(row.name)
            return
        now = time.monotonic()
        before = self._progress.get(row.name)
        if before is not None and now - before[0] < _ASK_EVERY_S:
            return
        with suppress(StorageError, OSError):
            self._progress[row.name] = (now, progress_of(row, self._of_script(row.script, now)))

    def forget(self, name: str) -> None:
        """The run goes on no more."""
        self._progress.pop(name, None)

    def _of_script(self, script: str, now: float) -> Learnt:
        found = self._learnt.get(script)
        if found is None or now - found[0] > _LEARN_EVERY_S:
            finished = []
            for row in self._catalogue.newest_first():
                if row[SCRIPT] == script and row[STATE] == RunState.finished:
                    finished.append(unpack(row, str(self._catalogue.storage.path / row[NAME])))
                    if len(finished) == _MOST_OF_A_SCRIPT:
                        break
            found = self._learnt[script] = (now, Learnt(finished))
        return found[1]
