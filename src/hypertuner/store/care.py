"""What may be done to a run that exists: whether it is in use, and giving it another name.

A run is in use while a process writes into it, as far as can be told from here, and a checkpoint while a run that
waits or runs is to begin from it. Names in children stay as they were recorded; `store/lineage.py` finds the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hypertuner import files
from hypertuner.errors import ConfigError, RunExistsError, StorageError
from hypertuner.store import lineage, names, records
from hypertuner.store.attempt import RunState
from hypertuner.store.run import Run
from hypertuner.store.storage import Storage

# How long a process that cannot be asked (another host, another container) may be silent and still be believed to
# run: an epoch of a large model logs nothing for many minutes.
_SILENT_S = 3600.0
_LONGEST_TAG = 200
_WAITS = (RunState.queued, RunState.running)


def check_is_idle(run: Run) -> None:
    """StorageError when a process writes into the run, or wrote within the last hour on a host we cannot ask."""
    try:
        state = run.state()
    except StorageError:  # a damaged record: how lately it was written tells
        state = RunState.unknown
    if state == RunState.running:
        raise StorageError(
            f"Run {run.name!r} is running.\n  Stop it first, or wait until it has ended.", path=run.folder
        )
    silent_s = time.time() - _last_write(run)
    if state == RunState.unknown and not run.is_old() and silent_s < _SILENT_S:
        raise StorageError(
            f"Run {run.name!r} may be running on a host that cannot be asked from here: it wrote "
            f"{max(0, int(silent_s // 60))} min ago.\n  Stop it there; after an hour of silence it counts as ended.",
            path=run.folder,
        )


def waiting_children(
    storage: Storage, leaving: Sequence[Run] = (), among: Iterable[Run] | None = None
) -> Mapping[str, list[Run]]:
    """Name of a run → the runs that wait or run and begin from it, but for those of `leaving`; `among` are those that
    are asked, all of the storage when None."""
    gone = {run.folder for run in leaving}
    found: dict[str, list[Run]] = {}
    for child in storage.list() if among is None else among:
        try:
            if child.folder in gone or child.state() not in _WAITS or (parent := child.parent()) is None:
                continue
        except StorageError:
            continue
        found.setdefault(parent.name, []).append(child)
    return found


def check_may_leave(storage: Storage, runs: Sequence[Run]) -> None:
    """StorageError, for the first of `runs` that is running, or that a run which waits or runs begins from."""
    children = waiting_children(storage, runs)
    for run in runs:
        check_one_may_leave(run, children)


def check_one_may_leave(run: Run, children: Mapping[str, list[Run]]) -> None:
    """StorageError for a run that is running, or that one of `children` (see `waiting_children`) begins from."""
    check_is_idle(run)
    if held_by := children.get(run.name):
        listed = ", ".join(f"{child.name} ({child.state()})" for child in held_by[:4])
        raise StorageError(
            f"Run {run.name!r} is needed: {listed} begins from it.\n  Wait until that has ended, or remove both.",
            path=run.folder,
        )


def rename(storage: Storage, run: Run, name: str) -> Run:
    """Give a run another name. Its children find it by the old one: see `store/lineage.py`.

    Raises: ConfigError for a name that cannot be; RunExistsError; StorageError.
    """
    names.check_name(name)
    check_is_idle(run)
    for there in storage.folder_names():
        if there.casefold() == name.casefold() and there != run.name:
            raise RunExistsError(f"A run called {there!r} is in {storage.path} already.\n  Choose another name.")
    if name == run.name:
        return run
    notes = run.notes()
    # Before the rename: a crash between the two leaves a note of a name that the run still has, which changes nothing.
    run.write_notes(replace(notes, former={**notes.former, run.name: records.now()}))
    target = storage.path / name
    files.move(run.folder, target)
    lineage.forget()
    return Run(target)


def check_tag(name: str) -> str:
    """A tag without the spaces around it. ConfigError for text that can be none: a tag is one word, without commas."""
    name = name.strip()
    if not name or not name.isprintable() or "," in name or len(name) > _LONGEST_TAG:
        raise ConfigError(
            f"{name[:80]!r} can be no tag: a tag is one word, without commas.\n  hypertuner tag RUN +baseline -old",
            key="tag",
        )
    return name


def retag(runs: Iterable[Run], added: Sequence[str], removed: Sequence[str]) -> None:
    """Add and remove tags; the others keep their order."""
    for run in runs:
        notes = run.notes()
        tags = tuple(dict.fromkeys(tag for tag in (*notes.tags, *added) if tag not in removed))
        if tags != notes.tags:
            run.write_notes(replace(notes, tags=tags))


def _last_write(run: Run) -> float:
    newest = 0.0
    for place, _, here in os.walk(run.folder):
        for path in (place, *(os.path.join(place, name) for name in here)):  # noqa: PTH118  # many, and only asked
            try:
                newest = max(newest, os.lstat(path).st_mtime)
            except OSError:
                continue
    return newest
