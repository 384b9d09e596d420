"""The trash of a storage: deleted runs, and checkpoints that were cleaned out of runs, until restored or cleaned away.

A run goes into it by one rename, into a folder of its own whose name says when; nothing is copied, and a run is never
half in it. Checkpoints lie in such a folder at their places in the run, in a run's folder that holds nothing else.
Links are moved and removed as links, never followed: what they point to stays. Cleaning first renames what it removes,
so a run that is half gone is never offered for restoring.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypertuner import files
from hypertuner.errors import RunExistsError, RunNotFoundError, StorageError
from hypertuner.store import layout, lineage, names
from hypertuner.store.run import Run

_GOING = "going-"


@dataclass(frozen=True)
class Trashed:
    """One deleted run, or checkpoints of one."""

    run: Run
    """Where it lies now, under its own name."""
    deleted_at: float

    @property
    def is_whole(self) -> bool:
        """Whether it is a run; else it is checkpoints of one."""
        return self.run.exists()

    @property
    def checkpoints(self) -> list[Path]:
        """Of what is no whole run: its checkpoints."""
        return sorted(path for path in self.run.layout.attempts.glob("*/*/*.pt") if layout.checkpoint_step(path))


class Trash:
    """The deleted runs of the storage at `storage`. Making the object touches nothing."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self.path = storage / layout.TRASH

    def put(self, run: Run) -> Path:
        """Move a run of this storage into the trash; where it is now. StorageError for what is none of its runs."""
        names.check_name(run.name)
        if run.folder.parent.resolve() != self._storage.resolve():
            raise StorageError(f"{run.folder} is no run of {self._storage}; nothing was moved.", path=run.folder)
        self._check()
        place = self.path / layout.trash_place()
        files.make_folder(place)
        target = place / run.name
        try:
            files.move(run.folder, target)
        except OSError:
            files.remove_empty_folder(place)
            raise
        return target

    def put_checkpoints(self, run: Run, moved: Sequence[Path], linked: Sequence[Path]) -> Path:
        """Checkpoints of a run: `moved` ones leave it, `linked` ones get a second name here; the folder they are in.

        Raises: StorageError; OSError. What was moved until then can be restored.
        """
        self._check()
        folder = self.path / layout.trash_place() / run.name
        for path in (*moved, *linked):
            target = folder / path.relative_to(run.folder)
            files.make_folder(target.parent)
            if path in moved:
                files.move(path, target)
            else:
                files.link_or_copy(path, target)
        return folder

    def list(self) -> list[Trashed]:
        """What is in it, deleted last first."""
        found = []
        for place, when in self._places():
            found += [Trashed(Run(folder), when) for folder in place.iterdir() if names.is_name(folder.name)]
        return sorted(found, key=lambda trashed: (-trashed.deleted_at, -_filled_at(trashed.run), trashed.run.name))

    def restore(self, trashed: Trashed) -> Run:
        """Move a run back to where it was, or checkpoints back into theirs.

        Raises: RunExistsError when another has its name now; RunNotFoundError when the run of the checkpoints is gone.
        """
        if not trashed.is_whole:
            return self._restore_checkpoints(trashed)
        name = trashed.run.name
        twin = next((there for there in _names_in(self._storage) if there.casefold() == name.casefold()), None)
        if twin is not None:
            raise RunExistsError(
                f"{name!r} cannot be restored: {self._storage} has a run called {twin!r} now.\n"
                f"  Give that one another name first: hypertuner mv {twin} NEW",
                path=self._storage / twin,
            )
        self._check()
        files.move(trashed.run.folder, self._storage / name)
        files.remove_empty_folder(trashed.run.folder.parent)
        return Run(self._storage / name)

    def _restore_checkpoints(self, trashed: Trashed) -> Run:
        self._check()
        folder = lineage.folder_called(self._storage, trashed.run.name, trashed.deleted_at)
        if folder is None:
            raise RunNotFoundError(
                f"The checkpoints in {trashed.run.folder} belong to run {trashed.run.name!r}, which is not in "
                f"{self._storage} any more.\n  They are model files by themselves: copy them where you want them.",
                path=trashed.run.folder,
            )
        for path in trashed.checkpoints:
            target = folder / path.relative_to(trashed.run.folder)
            files.make_folder(target.parent)
            files.link_or_copy(path, target)  # in the place of the same checkpoint without training state, too
        self.clean([trashed])
        return Run(folder)

    def clean(self, gone: Sequence[Trashed]) -> None:
        """Remove these runs for good, and what an interrupted cleaning left."""
        self._check()
        for trashed in gone:
            place = trashed.run.folder.parent
            going = self.path / f"{_GOING}{place.name}"
            files.move(place, going)
            files.remove_folder(going)
        for place in self.path.glob(f"{_GOING}*") if self.path.exists() else ():
            if not place.is_symlink():
                files.remove_folder(place)
        for place, _ in list(self._places()):
            if not any(place.iterdir()):  # a deletion that was interrupted before its rename
                files.remove_empty_folder(place)

    def _places(self) -> Iterator[tuple[Path, float]]:
        for name in _names_in(self.path) if not self.path.is_symlink() else ():
            when = layout.trashed_at(name)
            place = self.path / name
            if when is not None and place.is_dir() and not place.is_symlink():
                yield place, when

    def _check(self) -> None:
        if self.path.is_symlink():
            raise StorageError(
                f"{self.path} is a link, and what it points to may be no part of the storage: nothing was done.\n"
                "  Make it a folder.",
                path=self.path,
            )


def freed_bytes(runs: Sequence[Run]) -> int:
    """Bytes that the disk gains when these runs are removed: what has a name elsewhere stays (a child's parent.pt)."""
    names_gone: Counter[tuple[int, int]] = Counter()
    files_gone: dict[tuple[int, int], os.stat_result] = {}
    for run in runs:
        if run.folder.is_symlink():
            continue
        for place, _, here in os.walk(run.folder):
            for name in here:
                try:
                    status = os.lstat(Path(place, name))
                except OSError:
                    continue
                key = (status.st_dev, status.st_ino)
                names_gone[key] += 1
                files_gone[key] = status
    return sum(status.st_size for key, status in files_gone.items() if names_gone[key] >= status.st_nlink)


def _filled_at(run: Run) -> int:
    """When a run was moved into its place in the trash: tells apart what was deleted in one second."""
    try:
        return run.folder.parent.stat().st_mtime_ns
    except OSError:
        return 0


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  # names are what is asked for
    except (FileNotFoundError, NotADirectoryError):
        return []
