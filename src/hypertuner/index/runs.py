"""The runs of a storage as a table: read from their folders, or from the index where that is as true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypertuner.errors import StorageError
from hypertuner.index import facts
from hypertuner.index.query import Query
from hypertuner.index.row import RunRow
from hypertuner.index.table import RunTable
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.run import Glance
from hypertuner.store.said import say_once

if TYPE_CHECKING:
    from hypertuner.index.database import Database


def runs(query: str | None = None, storage: Storage | str | None = None) -> RunTable:
    """The runs of a storage (`./storage` when None), newest first; those that `query` matches.

    A query is like Python: `val_acc > 0.9 and learning_rate < 0.01 and "mnist" in tags`.
    Raises: QueryError with the position of a mistake, or of a name that no run has.
    """
    asked = Query(query) if query else None
    place = storage if isinstance(storage, Storage) else Storage(storage)
    table = RunTable(sorted(read_rows(place, index_of(place)), key=lambda row: (-row.created, row.name)))
    return table.filter(asked) if asked is not None else table


def read_row(run: Run) -> RunRow:
    """One run as the table shows it. CorruptFileError when one of its files is damaged."""
    return look(run, None)[1]


def read_rows(storage: Storage, index: Database | None = None) -> list[RunRow]:
    """All runs, by name. An `index` saves reading the ones that did not change, and is brought up to date.

    A run whose files cannot be read is said, and listed with that as its note.
    """
    known = index.read() if index is not None else {}
    rows: list[RunRow] = []
    changed: dict[str, bytes] = {}
    created: dict[str, float] = {}
    for name in storage.folder_names():
        folder = str(storage.path / name)
        before = None
        if (entry := known.pop(name, None)) is not None:
            before, signature = facts.decode(entry)
            # The process is asked first: one that ended since has left its exit.json, and the signature is wrong.
            row = before.complete()
            if signature is not None and signature.holds(folder):
                rows.append(row)
                continue
        run = Glance(storage.path / name)
        if not run.exists():
            continue
        signature = facts.signature_of(folder) if index is not None else None
        try:
            found, row = look(run, before)
        except (StorageError, OSError) as error:
            say_once(str(error))
            rows.append(RunRow(name=name, state=str(RunState.unknown), note=str(error)))
            continue
        rows.append(row)
        if (data := facts.encode(found, signature)) is not None:
            changed[name] = data
            created[name] = row.created
    if index is not None:
        index.write(changed, gone=known, created=created)
    return rows


def look(run: Run, before: facts.Facts | None) -> tuple[facts.Facts, RunRow]:
    """What the files of a run say, and its row as it is now; only what was logged since `before` is read.

    Raises: CorruptFileError; OSError.
    """
    found = facts.read_facts(run, before)
    row = found.complete()
    if row.state == RunState.crashed:
        # It may have said goodbye between the two looks, at its files and at its process.
        found = facts.read_facts(Run(run.folder))
        row = found.complete()
    return found, row


def index_of(storage: Storage) -> Database | None:
    """The index of a storage; None where this Python has no SQLite."""
    try:
        from hypertuner.index.database import Database
    except ImportError:  # a Python that was built without SQLite
        return None
    return Database(storage.path)
