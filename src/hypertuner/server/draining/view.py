"""The queue as the page shows it: what runs and how far it is, what waits and why, how long all of it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Literal

from hypertuner.errors import StorageError
from hypertuner.index.progress import Learnt, Progress, progress_of
from hypertuner.index.row import label_of
from hypertuner.index.table import RunRow
from hypertuner.queue.reasons import why_waiting
from hypertuner.queue.turn import Drains, drained_by
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.server.contract.queue import QueueView, RunningRun, WaitingRun
from hypertuner.server.draining.drains import Draining
from hypertuner.server.draining.outlook import outlook
from hypertuner.server.known import Known
from hypertuner.store import RunState, Storage, records
from hypertuner.store.figures import newest_figures

_ALL_EVERY_S = 5.0
_WORTH = 30
"""Of very many runs a look at all takes long: no more than this share of the time goes into it."""
_LEARNS_EVERY_S = 10.0
_GOOD_FOR_S = 0.4
_MOST_ROWS = 1000
"""Of those that wait farther back nobody asks yet what they will take."""


class QueueSeen:
    """The queue of one storage, looked at again and again: all run folders only when it may have changed. Safe for
    several threads."""

    def __init__(self, storage: Storage, draining: Draining, known: Known) -> None:
        self._runs = known
        self._queue = Queue(storage)
        self._draining = draining
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._mark: object = None
        self._all_at = 0.0
        """When all run folders are looked at again, though nothing tells that the queue has changed."""
        self._learnt = Learnt(())
        self._learnt_at = float("-inf")
        self._asked: dict[tuple[str, str], tuple[str, ...]] = {}
        """Which settings were asked for, of a run by its name and when it was queued."""
        self._seen: tuple[float, int, QueueView] | None = None

    def now(self) -> QueueView:
        """The queue as it is, or was less than half a second ago and has not been changed here since."""
        with self._lock:
            seen, revision = self._seen, self._draining.revision
            if seen is not None and seen[1] == revision and time.monotonic() - seen[0] < _GOOD_FOR_S:
                return seen[2]
            view = self._look()
            self._seen = time.monotonic(), revision, view
            return view

    def _look(self) -> QueueView:
        entries = self._all_entries()
        drains = drained_by(self._queue)
        rows: Mapping[str, RunRow] = {}
        if entries:
            asked = sorted(entries, key=lambda entry: entry.is_waiting)[:_MOST_ROWS]
            rows = {entry.name: row for entry in asked if (row := self._runs.row(entry.name)) is not None}
            if time.monotonic() - self._learnt_at > _LEARNS_EVERY_S:
                self._learnt, self._learnt_at = self._learn(rows.values()), time.monotonic()
            entries = self._as_they_are(entries, rows)
        progress = {
            entry.name: progress_of(rows[entry.name], self._learnt)
            for entry in entries
            if not entry.is_waiting and entry.name in rows and rows[entry.name].state == RunState.running
        }
        ahead = outlook(self._queue, entries, drains, rows, progress, self._learnt)
        reasons = {**why_waiting(self._queue, entries, drains), **self._draining.reasons}
        return QueueView(
            is_paused=self._queue.is_paused,
            slots=drains.slots if drains is not None else self._draining.slots,
            drained_by=self._whose(drains),
            drainer=self._who(drains),
            running=[
                _running(entry, progress.get(entry.name, Progress())) for entry in entries if not entry.is_waiting
            ],
            waiting=[
                self._waiting(entry, rows.get(entry.name), reasons.get(entry.name, ""))
                for entry in entries
                if entry.is_waiting
            ],
            left_s=ahead.left_s,
            unknown=ahead.unknown,
        )

    def _all_entries(self) -> list[Entry]:
        """What the queue has to do with, in its order. Of a few, each is asked anew."""
        mark = self._queue.changed(), self._draining.revision
        began = time.monotonic()
        if mark != self._mark or began > self._all_at:
            self._mark = mark
            self._entries = self._queue.entries()
            ended = time.monotonic()
            self._all_at = ended + max(_ALL_EVERY_S, _WORTH * (ended - began))
        else:
            running = {entry.name: self._queue.entry(entry.run) for entry in self._entries if not entry.is_waiting}
            now = [running.get(entry.name, entry) for entry in self._entries]
            self._entries = [entry for entry in now if entry is not None]
        return self._entries

    def _learn(self, rows: Iterable[RunRow]) -> Learnt:
        scripts = {PurePath(row.script).name for row in rows if row.script}
        return Learnt(self._runs.of_scripts(scripts))

    def _as_they_are(self, entries: list[Entry], rows: Mapping[str, RunRow]) -> list[Entry]:
        """The same, of which those are asked again that are said to have started: what waits is not read anew."""
        started = self._draining.running
        found: list[Entry] = []
        for entry in entries:
            row = rows.get(entry.name)
            is_told = entry.name in started or (row is not None and row.state != RunState.queued)
            now = self._queue.entry(entry.run) if entry.is_waiting and is_told else entry
            if now is not None:
                found.append(now)
        self._entries = found
        return found

    def _label(self, entry: Entry, row: RunRow | None) -> str:
        """The settings that were asked for when it was made."""
        if row is None:
            return ""
        key = entry.name, entry.queued.queued_at
        if key not in self._asked:
            try:
                record = entry.run.record()
            except (OSError, StorageError):
                return ""
            self._asked[key] = record.asked if record is not None else ()
        return label_of(row.config, self._asked[key])

    def _whose(self, drains: Drains | None) -> Literal["this server", "another process", "nobody"]:
        if drains is None:
            return "nobody"
        return "this server" if self._draining.is_ours else "another process"

    def _who(self, drains: Drains | None) -> str:
        if drains is None:
            return self._draining.problem or "Nothing drains this queue: hypertuner queue starts what waits."
        if self._draining.is_ours:
            return "This server starts what waits."
        return f"Process {drains.identity.pid} on {drains.identity.host} starts what waits."

    def _waiting(self, entry: Entry, row: RunRow | None, reason: str) -> WaitingRun:
        queued = entry.queued
        again = f"again, as {queued.why}" if queued.why else ""
        return WaitingRun(
            name=entry.name,
            priority=queued.priority,
            after=list(queued.after),
            reason="; ".join(filter(None, [reason, again])),
            is_held=queued.held,
            waits_since=records.seconds(queued.queued_at) or 0.0,
            label=self._label(entry, row),
            takes_s=self._learnt.duration_s(row) if row is not None else None,
        )


def _running(entry: Entry, progress: Progress) -> RunningRun:
    attempt = entry.attempt
    assert attempt is not None
    started = attempt.started
    figures = newest_figures(attempt.layout)
    return RunningRun(
        name=entry.name,
        attempt=attempt.number,
        started_at=records.seconds(started.started_at) if started is not None else None,
        share=progress.share,
        left_s=progress.left_s,
        step=progress.step,
        gpus=list(started.assigned) if started is not None else [],
        cpu_share=figures.cpu if figures is not None else None,
        memory_bytes=figures.memory_bytes if figures is not None else None,
        is_stopping=attempt.layout.stop.exists(),
    )
