"""`hypertuner rm`, `restore`, `clean` and `ls --trash`: into the trash, back out of it, and out of the world.

Each says how many runs and how many bytes before it does anything, and asks; where nobody can be asked it wants --yes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hypertuner.checkpoint import offer
from hypertuner.cli import terminal
from hypertuner.cli.terminal import Cell, Column, count_text, plain, size_text
from hypertuner.errors import ConfigError, RunNotFoundError, StorageError, did_you_mean
from hypertuner.index.runs import read_row
from hypertuner.index.selection import select
from hypertuner.index.table import RunRow, RunTable
from hypertuner.index.times import duration_s
from hypertuner.store import RunState, Storage
from hypertuner.store.care import check_may_leave
from hypertuner.store.trash import Trash, Trashed, freed_bytes

_LISTED = 20


def rm(storage: Storage, words: Sequence[str], *, yes: bool) -> int:
    """Move runs into the trash; 1 when the answer was no. Raises: what selecting does; StorageError for one in use."""
    runs = select(words, storage)
    if not runs:
        terminal.say("No run matches; nothing was moved.")
        return 0
    check_may_leave(storage, runs)
    total = sum(run.size_bytes() for run in runs)
    list_lines([run.name for run in runs])
    what = f"{count_text(len(runs), 'run')} ({size_text(total)})"
    if not agreed(f"Move {what} into the trash?", yes):
        terminal.say("Nothing was moved.")
        return 1
    for run in runs:
        storage.delete(run)
    terminal.say(
        f"{what} moved into the trash.\n"
        f"  hypertuner restore {runs[0].name if len(runs) == 1 else 'RUN …'}   brings back, "
        "hypertuner clean   frees the disk."
    )
    return 0


def restore(storage: Storage, names: Sequence[str]) -> None:
    """Bring runs back from the trash. Raises: RunNotFoundError; RunExistsError. Then none was moved but those said."""
    trash = Trash(storage.path)
    there = trash.list()
    found = [_trashed(name, there, storage) for name in dict.fromkeys(names)]
    for trashed in found:
        is_whole, count = trashed.is_whole, len(trashed.checkpoints)
        run = trash.restore(trashed)
        if is_whole:
            terminal.say(f"{run.name} is back: {run.folder}")
        else:
            offer.refresh(run)
            terminal.say(f"{count_text(count, 'checkpoint')} back in {run.folder}")


def _trashed(name: str, there: Sequence[Trashed], storage: Storage) -> Trashed:
    for trashed in there:  # deleted last first
        if trashed.run.name == name:
            return trashed
    known = [trashed.run.name for trashed in there]
    hint = did_you_mean(name, known) or (
        f" It holds {count_text(len(known), 'run')}: hypertuner ls --trash" if known else " It is empty."
    )
    raise RunNotFoundError(f"The trash of {storage.path} has no run {name!r}.{hint}", path=storage.path)


def clean(storage: Storage, *, older_than: str | None, yes: bool, dry_run: bool) -> int:
    """Remove what is in the trash for good; 1 when the answer was no. Raises: ConfigError for an age that is none."""
    trash = Trash(storage.path)
    gone = trash.list()
    if older_than is not None:
        seconds = duration_s(older_than)
        if seconds is None:
            raise ConfigError(
                f"--older-than {older_than!r} is no duration.\n  Write 30d, 12h or 1h30m (s m h d w).", key="older-than"
            )
        gone = [trashed for trashed in gone if time.time() - trashed.deleted_at >= seconds]
    if not gone:
        terminal.say("Nothing to clean away.")
        if not dry_run:
            trash.clean([])
        return 0
    runs = [trashed.run for trashed in gone]
    freed, total = freed_bytes(runs), sum(run.size_bytes() for run in runs)
    list_lines([f"{_named(trashed)}, deleted {terminal.since_text(trashed.deleted_at)}" for trashed in gone])
    whole = sum(trashed.is_whole for trashed in gone)
    loose = sum(len(trashed.checkpoints) for trashed in gone if not trashed.is_whole)
    counts = [count_text(whole, "run")] if whole or not loose else []
    counts += [count_text(loose, "checkpoint")] if loose else []
    what = f"{' and '.join(counts)}, {size_text(freed)}"
    if freed < total:
        terminal.say(f"{size_text(total - freed)} of it has another name elsewhere (a child's parent.pt) and stays.")
    if dry_run:
        terminal.say(f"Cleaning would free {what}.")
        return 0
    if not agreed(f"Remove {what} for ever?", yes):
        terminal.say("Nothing was removed.")
        return 1
    trash.clean(gone)
    terminal.say(f"{what} freed.")
    return 0


def _named(trashed: Trashed) -> str:
    if trashed.is_whole:
        return trashed.run.name
    return f"{count_text(len(trashed.checkpoints), 'checkpoint')} of {trashed.run.name}"


def show_trash(storage: Storage, *, as_json: bool) -> None:
    """Print what is in the trash, with what tells the runs apart: what differs between them, notes, when, how much."""
    there = Trash(storage.path).list()
    rows = list(RunTable([_row(trashed) for trashed in there]))
    if as_json:
        terminal.show_json(
            [
                {
                    "name": row.name,
                    "deleted_at": trashed.deleted_at,
                    "state": row.state if trashed.is_whole else None,
                    "checkpoints": None if trashed.is_whole else [path.name for path in trashed.checkpoints],
                    "differs": terminal.json_safe(row.differs),
                    "note": row.note,
                    "nbytes": row.nbytes,
                    "folder": str(trashed.run.folder),
                }
                for trashed, row in zip(there, rows, strict=True)
            ]
        )
    elif not there:
        terminal.say("The trash is empty.")
    else:
        columns = [
            Column("name", [Cell(plain(row.name), "bold") for row in rows]),
            Column("state", [_what_cell(trashed, row) for trashed, row in zip(there, rows, strict=True)], rank=1),
            Column("differs", [Cell(plain(row.label)) for row in rows], rank=3),
            Column("note", [Cell(plain(row.note)) for row in rows], rank=2),
            Column("size", [Cell(size_text(row.nbytes)) for row in rows], is_number=True, rank=1),
            Column("deleted", [Cell(terminal.since_text(trashed.deleted_at), "dim") for trashed in there], rank=1),
        ]
        terminal.show_table([column for column in columns if any(cell.text for cell in column.cells)])
        terminal.say(
            f"hypertuner restore NAME   brings one back; hypertuner clean   frees "
            f"{size_text(freed_bytes([trashed.run for trashed in there]))}.",
            "dim",
        )


def _what_cell(trashed: Trashed, row: RunRow) -> Cell:
    if trashed.is_whole:
        return terminal.state_cell(row.state)
    return Cell(count_text(len(trashed.checkpoints), "checkpoint"))


def _row(trashed: Trashed) -> RunRow:
    run = trashed.run
    if not trashed.is_whole:
        return RunRow(run.name, str(RunState.unknown), nbytes=run.size_bytes())
    try:
        return read_row(run)
    except (StorageError, OSError) as error:  # a damaged run can be restored, or cleaned away, as any other
        return RunRow(run.name, str(RunState.unknown), note=str(error), nbytes=run.size_bytes())


def list_lines(lines: Sequence[str]) -> None:
    """Say what is to go, a line each; of many, some."""
    for line in lines[:_LISTED]:
        terminal.say(f"  {plain(line)}")
    if len(lines) > _LISTED:
        terminal.say(f"  … and {len(lines) - _LISTED:,} more")


def agreed(question: str, yes: bool) -> bool:
    """Whether a person says yes. StorageError where there is nobody to ask."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise StorageError(f"{question} There is no terminal to ask on, so nothing was done.\n  --yes says yes.")
    return terminal.ask(question)
