"""What checkpoints say of themselves, kept in the index from one server to the next; disposable, as all of it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import orjson

from hypertuner.checkpoint import about
from hypertuner.checkpoint.about import About, Stamp
from hypertuner.index.database import Database
from hypertuner.index.spelling import is_nonfinite


class Remembered:
    """The memory of one storage."""

    def __init__(self, storage: Path) -> None:
        self._database = Database(storage)
        self._below = f"{storage.absolute()}/"
        self._kept: set[Stamp] | None = None
        self._lock = threading.Lock()

    def recall(self) -> None:
        """Read it, once."""
        with self._lock:
            if self._kept is not None:
                return
            found = {}
            for path, entry in self._database.checkpoints().items():
                with suppress(ValueError, TypeError):  # another version's
                    inode, nbytes, changed_ns, said = orjson.loads(entry)
                    found[Stamp(path, inode, nbytes, changed_ns)] = About(**said)
            about.recall(found)
            self._kept = set(found)

    def keep(self) -> None:
        """Write down what is new."""
        with self._lock:
            kept = self._kept or set()
            fresh = {
                stamp: said
                for stamp, said in about.known().items()
                if stamp not in kept and stamp.path.startswith(self._below)
            }
            entries = {stamp.path: data for stamp, said in fresh.items() if (data := _encoded(stamp, said))}
            self._database.write_checkpoints(entries)
            self._kept = kept | fresh.keys()


def _encoded(stamp: Stamp, said: About) -> bytes | None:
    """None for what JSON cannot hold: it is read from the file each time."""
    if any(is_nonfinite(value) for value in said.metrics.values()):
        return None
    try:
        return orjson.dumps([stamp.inode, stamp.nbytes, stamp.changed_ns, asdict(said)])
    except (orjson.JSONEncodeError, TypeError):
        return None
