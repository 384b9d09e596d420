"""The runs of a storage as a table, read from their folders."""

from __future__ import annotations

import time

from hypertuner.errors import StorageError
from hypertuner.index.query import Query
from hypertuner.index.table import RunRow, RunTable
from hypertuner.store import Run, RunState, Storage, metrics, records
from hypertuner.store.direction import direction
from hypertuner.store.said import say


def runs(query: str | None = None, storage: Storage | str | None = None) -> RunTable:
    """The runs of a storage (`./storage` when None), newest first; those that `query` matches.

    A query is like Python: `val_acc > 0.9 and learning_rate < 0.01 and "mnist" in tags`.
    Raises: QueryError with the position of a mistake, or of a name that no run has.
    """
    asked = Query(query) if query else None
    place = storage if isinstance(storage, Storage) else Storage(storage)
    rows = []
    for run in place.list():
        try:
            rows.append(read_row(run))
        except (StorageError, OSError) as error:
            say(str(error))
            rows.append(RunRow(name=run.name, state=str(RunState.unknown), note=str(error)))
    table = RunTable(sorted(rows, key=lambda row: (-row.created, row.name)))
    return table.filter(asked) if asked is not None else table


def read_row(run: Run) -> RunRow:
    """One run as the table shows it. CorruptFileError when one of its files is damaged."""
    summary = metrics.summarise(run.logged())
    notes = run.notes()
    record = run.record()
    best = {}
    for name, value in summary.highest.items():
        if (way := direction(name)) is not None:
            best[name] = value if way == "max" else summary.lowest[name]
    return RunRow(
        name=run.name,
        state=str(run.state()),
        config=run.effective_config(),
        metrics=summary.last,
        best=best,
        tags=notes.tags,
        created=run.created(),
        duration_s=_duration(run, summary),
        step=summary.step,
        checkpoints=len(run.checkpoints()) or int(run.layout.model.exists()),
        nbytes=run.size_bytes(),
        parent=record.parent.reference if record is not None and record.parent is not None else None,
        script=record.script if record is not None else None,
        note=notes.note,
        starred=notes.starred,
        first=summary.first,
        lowest=summary.lowest,
        highest=summary.highest,
    )


def _duration(run: Run, summary: metrics.Summary) -> float | None:
    """Seconds from the start of the newest attempt to its end, or to what it wrote last."""
    attempt = run.newest_attempt()
    started = records.seconds(attempt.started.started_at) if attempt and attempt.started else None
    if attempt is None or started is None:
        return None
    ended = attempt.exit()
    if ended is not None:
        until = records.seconds(ended.ended_at)
    elif attempt.state() == RunState.running:
        until = time.time()
    else:
        until = summary.time
    return None if until is None else max(0.0, until - started)
