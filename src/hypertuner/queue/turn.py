"""Whose turn it is to drain a storage: exactly one process's at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass

from hypertuner import files
from hypertuner.errors import QueueError, StorageError
from hypertuner.queue.waiting import Queue
from hypertuner.store import records
from hypertuner.store.process import ProcessIdentity


class Turn:
    """The right to drain a storage, which one process has at a time; it ends with the block or with the process."""

    def __init__(self, queue: Queue, slots: int) -> None:
        self._queue = queue
        self._slots = slots
        self._descriptor = -1
        self._since = ""

    def __enter__(self) -> Turn:
        try:
            import fcntl
        except ImportError:
            raise QueueError(
                "A queue is drained on Linux and macOS; this system starts runs in the foreground only.\n"
                "  hypertuner run SCRIPT key=value"
            ) from None
        place = self._queue.layout
        files.make_folder(place.folder)
        # The folder itself is locked: it is there for every drainer, and the system lets go of it when a process ends.
        self._descriptor = os.open(place.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._refuse(drained_by(self._queue))
        except OSError:  # a file system without locks: whoever is named there is asked
            other = drained_by(self._queue)
            if other is not None and other.identity.is_alive() is not False:
                self._refuse(other)
        self._since = records.now()
        self.tell(self._slots)
        return self

    def tell(self, slots: int) -> None:
        """Write down who drains the storage, with how many slots."""
        record = {**dataclasses.asdict(ProcessIdentity.mine()), "since": self._since, "slots": slots}
        files.replace(self._queue.layout.drainer, records.to_bytes(record))

    def _refuse(self, other: Drains | None) -> None:
        os.close(self._descriptor)
        raise is_drained(self._queue, other)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            files.remove(self._queue.layout.drainer)
        os.close(self._descriptor)


@dataclass(frozen=True)
class Drains:
    """Who drains a storage."""

    identity: ProcessIdentity
    since: str
    slots: int


def is_drained(queue: Queue, other: Drains | None) -> QueueError:
    """What whoever comes second is told; None: nobody knows who came first."""
    who = f"Process {other.identity.pid} on {other.identity.host}" if other is not None else "Another process"
    since = f" since {other.since}" if other is not None else ""
    return QueueError(
        f"{who} drains this storage{since}: {queue.storage.path}.\n"
        "  What is queued is started by it. To take over: hypertuner queue stop, then again."
    )


def drained_by(queue: Queue) -> Drains | None:
    """Who drains a storage, as it says itself; None when nobody does, or who did is gone."""
    try:
        values = records.read_json(queue.layout.drainer)
        names = {one.name for one in dataclasses.fields(ProcessIdentity)}
        identity = ProcessIdentity(**{name: values[name] for name in names})
        found = Drains(identity, str(values["since"]), int(values["slots"]))
    except (OSError, StorageError, KeyError, TypeError, ValueError):
        return None
    return found if identity.is_alive() is not False else None
