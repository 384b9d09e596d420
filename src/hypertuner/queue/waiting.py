"""The queue of a storage: what waits, in which order, and what people do with it.

There is no file of the queue. It is what the run folders say: a `queued.json` in each run that an attempt is to be made
of. Whoever changes one touches `.queue/changed`, so that whoever drains the queue looks at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.errors import CorruptFileError, QueueError, first_line
from hypertuner.queue import private
from hypertuner.store import Attempt, Run, RunState, Storage, layout, lineage, orders, records


@dataclass(frozen=True)
class Entry:
    """A run that the queue has to do with, at one moment."""

    run: Run
    queued: orders.Queued
    attempt: Attempt | None
    """The newest that was started; void ones do not count."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def is_waiting(self) -> bool:
        """Whether nobody has started what it asks for."""
        return self.attempt is None or self.attempt.number < self.queued.attempt

    @property
    def order(self) -> tuple[float, float, str]:
        """Sorts entries as they are started."""
        return (-self.queued.priority, self.queued.place, self.run.name)


@dataclass(frozen=True)
class Terms:
    """On which terms a run is queued."""

    priority: int = 0
    after: tuple[str, ...] = ()
    retries: int = 0
    retry_on: str = "infrastructure"
    time_limit_s: float | None = None
    live_code: bool = False


class Queue:
    """The queue of one storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.layout = layout.QueueLayout(storage.path)
        self._known: dict[str, tuple[tuple[int, int], Entry]] = {}
        self.unreadable: dict[str, str] = {}
        """Runs whose queued.json cannot be read, each with what is wrong: they are left alone."""

    def add(
        self,
        run: Run,
        arguments: Sequence[str],
        terms: Terms = Terms(),  # it is frozen
        *,
        resume: str | None = None,
        begins_from: str | None = None,
        begins_how: str = "start from",
        processes: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> orders.Queued:
        """Let a run wait for its next attempt, with this process's environment and interpreter.

        Args:
            arguments: handed to the script as they are.
            resume: the checkpoint of the run that it goes on from: 'last', 'best' or a step.
            begins_from: reference to a checkpoint, made by then, that becomes its parent when it starts.
            begins_how: 'start from' or 'fork'.

        Raises: QueueError when it waits already, or runs.
        """
        if run.is_waiting():
            raise QueueError(f"Run {run.name!r} is in the queue already.\n  Move it: hypertuner queue mv {run.name}")
        if run.state() == RunState.running:
            raise QueueError(f"Run {run.name!r} is running.\n  Stop it first: hypertuner stop {run.name}")
        for other in terms.after:
            if self.open(other).name == run.name:
                raise QueueError(f"Run {run.name!r} cannot wait for itself.\n  Leave out --after {other}.")
        kept = private.keep(self.storage.path, environment or os.environ, arguments)
        newest = run.newest_attempt()
        queued = orders.Queued(
            attempt=newest.number + 1 if newest is not None else 1,
            queued_at=records.now(),
            place=time.time(),
            python=sys.executable,
            private=kept,
            resume=resume,
            begins_from=begins_from,
            begins_how=begins_how,
            processes=processes,
            **dataclasses.asdict(terms),
        )
        self.write(run, queued)
        return queued

    def open(self, name: str) -> Run:
        """A run that another waits for, also under the name that it has got since. Raises: RunNotFoundError."""
        run = Run(self.storage.path / name)
        if not run.exists() and (now := lineage.renamed_to(self.storage.path, name)) is not None:
            name = now
        return self.storage.open(name)

    def write(self, run: Run, queued: orders.Queued) -> None:
        """Replace queued.json of a run."""
        files.replace(run.layout.queued, records.to_bytes(queued))
        self._touch()

    def entries(self) -> list[Entry]:
        """All runs that the queue has to do with, in the order in which they are started."""
        root = str(self.storage.path)
        # Of a hundred thousand runs a few are in the queue: one question each, and no object, for the rest.
        names = [name for name in self.storage.folder_names() if _is_there(f"{root}/{name}/{layout.QUEUED}")]
        for gone in (self._known.keys() | self.unreadable.keys()) - set(names):
            self._known.pop(gone, None)
            self.unreadable.pop(gone, None)
        found = (self._as_known(Run(self.storage.path / name)) for name in names)
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.order)

    def waiting(self) -> list[Entry]:
        """Those that wait, in the order in which they are started."""
        return [entry for entry in self.entries() if entry.is_waiting]

    def _as_known(self, run: Run) -> Entry | None:
        """The entry of a run; the same as before where it was waiting and its queued.json is the same. Whoever starts
        it looks again, and ten thousand that wait are not read anew for each that ends."""
        known = self._known.get(run.name)
        if known is not None and known[1].is_waiting and known[0] == _stamp(run.layout.queued):
            return known[1]
        return self.entry(run)

    def entry(self, run: Run) -> Entry | None:
        """What the queue has to do with a run; None: nothing."""
        if (mark := _stamp(run.layout.queued)) is None:
            self._known.pop(run.name, None)
            self.unreadable.pop(run.name, None)
            return None
        try:
            queued = run.queued()
            entry = Entry(run, queued, run.newest_attempt()) if queued is not None else None
        except (CorruptFileError, OSError) as error:
            self.unreadable[run.name] = first_line(error)
            return None
        if entry is not None:
            self.unreadable.pop(run.name, None)
            self._known[run.name] = (mark, entry)
        return entry

    def move(self, entry: Entry, *, before: Entry | None = None, last: bool = False) -> None:
        """Put a run before another, before all that wait, or last; its priority becomes that of its neighbours."""
        others = [other for other in self.waiting() if other.name != entry.name]
        if not others:
            return
        if last:
            place, priority = others[-1].queued.place + 1, others[-1].queued.priority
        else:
            at = next((i for i, other in enumerate(others) if before and other.name == before.name), 0)
            priority, place = others[at].queued.priority, others[at].queued.place - 1
            if at and others[at - 1].queued.priority == priority:
                place = (others[at - 1].queued.place + others[at].queued.place) / 2
                if not others[at - 1].queued.place < place < others[at].queued.place:
                    # No number lies between the two: those before make room.
                    place = others[at].queued.place - 0.5
                    for other in (one for one in others[:at] if one.queued.priority == priority):
                        self.write(other.run, dataclasses.replace(other.queued, place=other.queued.place - 1))
        self.write(entry.run, dataclasses.replace(entry.queued, place=place, priority=priority))

    def withdraw(self, entry: Entry) -> bool:
        """Take a run out of the queue: it is a draft again, or what its last attempt was; True. One that runs, or has
        been started in this moment, goes on, and is not tried again; False.
        """
        if entry.is_waiting:
            with contextlib.suppress(FileNotFoundError):
                files.remove(entry.run.layout.queued)
        else:
            self.write(entry.run, dataclasses.replace(entry.queued, retries=0))
        self._touch()
        # A supervisor claims its attempt first and looks for queued.json then: one of us sees the other.
        return dataclasses.replace(entry, attempt=entry.run.newest_attempt()).is_waiting

    def hold(self, entry: Entry, *, held: bool) -> None:
        """Let a run that waits stay where it is, until it is let go on."""
        self.write(entry.run, dataclasses.replace(entry.queued, held=held))

    def pause(self) -> None:
        """Start nothing new; what runs goes on."""
        files.make_folder(self.layout.folder)
        files.replace(self.layout.paused, records.to_bytes({"paused_at": records.now()}))
        self._touch()

    def unpause(self) -> None:
        """Let it go on."""
        with contextlib.suppress(FileNotFoundError):
            files.remove(self.layout.paused)
        self._touch()

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is to be started."""
        return self.layout.paused.exists()

    def changed(self) -> tuple[Any, ...]:
        """Differs from what it was when somebody has changed the queue, or made or removed a run."""
        return tuple(_stamp(path) for path in (self.layout.changed, self.storage.path))

    def sweep(self) -> None:
        """Remove the environments that no run needs any more; none, where one of them cannot be read."""
        entries = self.entries()
        if self.storage.path.is_dir() and not self.unreadable:
            private.sweep(self.storage.path, {entry.queued.private for entry in entries})

    def _touch(self) -> None:
        files.make_folder(self.layout.folder)
        with contextlib.suppress(OSError):
            files.replace(self.layout.changed, b"\n")


def _is_there(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116  # see above
    except OSError:
        return False
    return True


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
