"""Cleaning: what a storage can do without, least worth first, until it takes no more than it may; and doing without it.

    1  drafts of killed saves
    2  training state of older checkpoints, of runs that have ended
    3  checkpoints that are neither a run's best nor its last, nor pinned, nor what model.pt points at
    4  training state of the last checkpoints of finished runs, which then cannot be resumed
    5  failed and crashed runs without a checkpoint
    6  runs, the worst by their watched metric first; never one that is starred, pinned or needed

A run that is not over, or where nobody can tell, is left alone. All but drafts goes into the trash of the storage.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypertuner import files
from hypertuner.checkpoint import offer
from hypertuner.checkpoint.about import About, about
from hypertuner.checkpoint.pins import pinned
from hypertuner.errors import StorageError
from hypertuner.store import CheckpointFile, Run, RunState, Storage, layout
from hypertuner.store.care import check_is_idle, check_may_leave, waiting_children
from hypertuner.store.trash import Trash

_OVER = {RunState.finished, RunState.failed, RunState.stopped, RunState.pruned, RunState.crashed}


class Kind(str, enum.Enum):
    """What can go, least worth first."""

    drafts = "drafts of killed saves"
    older_training = "training state of older checkpoints"
    checkpoints = "checkpoints that are neither best, last nor pinned"
    last_training = "training state of last checkpoints of finished runs"
    empty_runs = "whole runs that failed without a checkpoint"
    runs = "whole runs, worst first"

    def __str__(self) -> str:
        return self.value


_THINS = (Kind.older_training, Kind.last_training)
_WHOLE = (Kind.empty_runs, Kind.runs)


@dataclass(frozen=True)
class Dispensable:
    """One thing that can go: a draft, a checkpoint, its training state, or a run's folder."""

    kind: Kind
    run: Run
    path: Path
    nbytes: int = 0
    """What the storage loses by it; a file that has another name there loses nothing."""


@dataclass(frozen=True)
class Plan:
    """What is to go, in the order of its worth."""

    before: int
    """Bytes that the storage takes, without its trash; a file with two names counts once."""
    after: int
    gone: tuple[Dispensable, ...]


def plan(storage: Storage, most_bytes: int, *, can_thin: bool = True) -> Plan:
    """What to do without so that the storage, without its trash, takes at most `most_bytes`. Nothing is touched.

    Where that is not enough, `after` says what stays. Raises: OSError.
    """
    names = _Names(storage.path)
    before = names.total
    gone: dict[Path, Dispensable] = {}
    for item in _dispensable(storage):
        if names.total <= most_bytes:
            break
        if item.kind in _THINS and not can_thin:
            continue
        nbytes = names.lose(item)
        if nbytes <= 0:
            continue
        # What was to lose its training state goes whole, and so does what is in a run that goes.
        inside = [path for path in gone if path == item.path or item.path in path.parents]
        nbytes += sum(gone.pop(path).nbytes for path in inside)
        gone[item.path] = replace(item, nbytes=nbytes)
    order = list(Kind)
    return Plan(before, names.total, tuple(sorted(gone.values(), key=lambda item: order.index(item.kind))))


def carry_out(storage: Storage, wanted: Plan, thin: Callable[[Path], None]) -> list[str]:
    """Do it, run by run; what could not be done, in words. A run that is in use by now is left alone."""
    problems: list[str] = []
    trash = Trash(storage.path)
    for folder in dict.fromkeys(item.run.folder for item in wanted.gone):
        items = [item for item in wanted.gone if item.run.folder == folder]
        try:
            _clean_run(storage, trash, items, thin)
        except (StorageError, OSError) as error:
            problems.append(str(error))
    return problems


def storage_bytes(storage: Storage) -> int:
    """Bytes that a storage takes, without its trash; a file with two names counts once."""
    return _Names(storage.path).total


def _clean_run(storage: Storage, trash: Trash, items: list[Dispensable], thin: Callable[[Path], None]) -> None:
    run = items[0].run
    if any(item.kind in _WHOLE for item in items):
        check_may_leave(storage, [run])
        trash.put(run)
        return
    check_is_idle(run)
    for folder in {item.path.parent for item in items if item.kind == Kind.drafts}:
        files.sweep_drafts(folder)
    # What a person pinned since is not touched.
    held = {file.path for file in pinned(run, run.checkpoints())}
    moved = [item.path for item in items if item.kind == Kind.checkpoints and item.path not in held]
    thinned = [item.path for item in items if item.kind in _THINS and item.path not in held]
    if moved or thinned:
        trash.put_checkpoints(run, moved, thinned)
    for path in thinned:
        thin(path)
    offer.refresh(run)


@dataclass
class _Names:
    """The files of a storage by their names, and how many bytes are left when some of them go."""

    folder: Path
    total: int = 0
    _inodes: dict[str, object] = field(default_factory=dict)
    _links: dict[object, int] = field(default_factory=dict)
    _nbytes: dict[object, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, folders, others in os.walk(self.folder):
            if Path(place) == self.folder:
                folders[:] = [name for name in folders if name != layout.TRASH]
            for name in others:
                path = f"{place}{os.sep}{name}"
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                self._add(path, (status.st_dev, status.st_ino), status.st_size)

    def lose(self, item: Dispensable) -> int:
        """Take an item away where that makes the storage smaller; by how much, else 0 and nothing is taken."""
        names = [name for name in _names_at(item.path) if name in self._inodes]
        added = 0
        if item.kind in _THINS:
            told = about(item.path)
            added = told.nbytes - told.training_nbytes
            model = str(item.run.layout.model)
            if item.kind == Kind.last_training and self._inodes.get(model) == self._inodes.get(str(item.path)):
                names.append(model)
        gone = [self._inodes[name] for name in names]
        freed = sum(self._nbytes[inode] for inode in set(gone) if gone.count(inode) == self._links[inode]) - added
        if freed <= 0:
            return 0
        for name, inode in zip(names, gone, strict=True):
            self._links[inode] -= 1
            if not self._links[inode]:
                self.total -= self._nbytes[inode]
            del self._inodes[name]
        if added:
            for name in names:
                self._add(name, ("thinned", item.path), added)
        return freed

    def _add(self, name: str, inode: object, nbytes: int) -> None:
        if inode not in self._nbytes or not self._links[inode]:
            self._nbytes[inode], self._links[inode] = nbytes, 0
            self.total += nbytes
        self._links[inode] += 1
        self._inodes[name] = inode


def _names_at(path: Path) -> list[str]:
    """The names of a file, or of all files in a folder."""
    return [f"{place}{os.sep}{name}" for place, _, others in os.walk(path) for name in others] or [str(path)]


@dataclass(frozen=True)
class _Look:
    """One run that is over, as far as cleaning it goes."""

    run: Run
    state: RunState
    ranking: tuple[object, ...]
    """What it is compared in: script, metric, direction."""
    score: float | None
    is_starred: bool
    pins: frozenset[CheckpointFile]
    protected: frozenset[CheckpointFile]
    """Its best, its last, and what its model.pt points at."""
    others: tuple[CheckpointFile, ...]
    """The rest, least worth first."""
    is_empty: bool
    """Whether it failed, and saved nothing."""


def _dispensable(storage: Storage) -> Iterator[Dispensable]:
    """All that can go, least worth first."""
    runs = [look for run in storage.list() if (look := _look(run)) is not None]
    ranks = _ranks(runs)
    # The worst first; of equals, the oldest.
    runs.sort(key=lambda look: (look.is_starred, ranks[look.run.name], look.run.created()))
    for look in runs:
        for folder in look.run.layout.drafted_in():
            yield from (Dispensable(Kind.drafts, look.run, path) for path in files.sweep_drafts(folder, dry_run=True))
    for look in runs:
        for file in look.others:
            if (told := _told(file)) is not None and told.has_training:
                yield Dispensable(Kind.older_training, look.run, file.path)
    for look in runs:
        yield from (Dispensable(Kind.checkpoints, look.run, file.path) for file in look.others)
    for look in runs:
        for file in sorted(look.protected - look.pins, key=lambda file: (file.attempt, file.step, file.repeat)):
            told = _told(file)
            if look.state == RunState.finished and told is not None and told.has_training:
                yield Dispensable(Kind.last_training, look.run, file.path)
    needed = waiting_children(storage)
    may_go = [look for look in runs if not look.is_starred and not look.pins and look.run.name not in needed]
    for look in sorted((look for look in may_go if look.is_empty), key=lambda look: look.run.created()):
        yield Dispensable(Kind.empty_runs, look.run, look.run.folder)
    yield from (Dispensable(Kind.runs, look.run, look.run.folder) for look in may_go if not look.is_empty)


def _look(run: Run) -> _Look | None:
    """None for a run that is left alone: it is not over, or cannot be read, or lies elsewhere."""
    try:
        if run.folder.is_symlink() or (state := run.state()) not in _OVER:
            return None
        checkpoints = run.checkpoints()
        pins = pinned(run, checkpoints)
        on_path = offer.on_path(run)
        best = offer.best_of(on_path)
        record, notes = run.record(), run.notes()
    except (StorageError, OSError):
        return None
    offered = offer.behind(run.layout.model, checkpoints)
    protected = {*on_path[-1:], *(file for file in (best, offered) if file is not None)}
    others = [file for file in checkpoints if file not in protected and file not in pins and _told(file) is not None]
    monitor, mode, score = _score(best)
    return _Look(
        run,
        state,
        (record.script if record else None, monitor, mode),
        score,
        notes.starred,
        frozenset(pins),
        frozenset(protected),
        # What no longer belongs to the run's path first, then the oldest.
        tuple(sorted(others, key=lambda file: file in on_path)),
        state in (RunState.failed, RunState.crashed) and not checkpoints and not run.layout.model.exists(),
    )


def _told(file: CheckpointFile) -> About | None:
    try:
        return None if file.path.is_symlink() else about(file.path)
    except (StorageError, OSError):
        return None


def _score(best: CheckpointFile | None) -> tuple[str | None, str | None, float | None]:
    """The watched metric, its direction, and its best value as a number of which more is better."""
    if best is None or (told := _told(best)) is None:
        return None, None, None
    monitor, mode = str(told.run.get("monitor")), str(told.run.get("mode"))
    value = told.metrics.get(monitor)
    if not isinstance(value, (int, float)):
        return None, None, None
    return monitor, mode, float(value) if mode == "max" else -float(value)


def _ranks(runs: list[_Look]) -> dict[str, float]:
    """0 for the worst of the runs that watch one metric, 1 for the best; ½ for one that can be compared with none."""
    ranks = {look.run.name: 0.5 for look in runs}
    for ranking in {look.ranking for look in runs}:
        rivals = [look for look in runs if look.ranking == ranking and look.score is not None]
        rivals.sort(key=lambda look: look.score or 0.0)
        if len(rivals) > 1:
            ranks.update((look.run.name, place / (len(rivals) - 1)) for place, look in enumerate(rivals))
    return ranks
