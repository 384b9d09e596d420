"""Committing a checkpoint: a new file, synced, linked into place; then model.pt; then retention (`retention.py`).

The order is the promise: nothing older is removed or replaced before the new file is durable under its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.checkpoint import offer
from hypertuner.checkpoint.format import trust
from hypertuner.checkpoint.saves import UnderWay
from hypertuner.errors import CheckpointError, ConfigError, StorageError
from hypertuner.store import Attempt, Run, layout
from hypertuner.store.said import say_once


@dataclass(frozen=True)
class Checkpoint:
    """Everything that was saved at one step: one file, complete and self-describing."""

    run: str | None
    step: int
    epoch: int | None
    metrics: Mapping[str, Any]
    path: Path | None
    """None in a process that writes nothing: a worker, or under HYPERTUNER_MODE=off; and of a save that was left out
    (background='skip')."""
    step_given: bool = True
    """False when nobody said the step and nothing was logged: it is then 0 for want of a number."""
    under_way: UnderWay | None = field(default=None, repr=False, compare=False)
    """The save in the background that makes it durable."""

    @property
    def is_durable(self) -> bool:
        """Whether the file is under its name and survives a power cut; False where saving it raised."""
        if self.path is None or self.under_way is None:
            return self.path is not None
        # A folder that could not be synced holds the name all the same, until the power goes.
        return self.under_way.is_done and self.under_way.error is None and self.path.exists()

    def wait(self) -> Checkpoint:
        """Return when the checkpoint is durable, or the later one that took its place (background='coalesce').

        Raises: what saving it raised.
        """
        if self.under_way is not None:
            self.under_way.wait()
        return self


def commit(attempt: Attempt, run: Run, path: Path, write: Callable[[files.NewFile, bytes | None], None]) -> None:
    """Save one checkpoint of an attempt at `path`, which `free_path` gave; returns when it is durable.

    `write` fills the file, seals it, and marks it by the key it is given. A failure leaves what was there.
    Raises: CheckpointError when a newer attempt owns the run; StorageFullError; what `write` raises.
    """
    check_is_newest(attempt, run)
    if not attempt.layout.checkpoints.exists():  # its first save
        _sweep(run)
    files.make_folder(attempt.layout.checkpoints)
    with files.Draft(path, mode=0o444) as draft:
        write(draft.file, _key())
        draft.commit_new()
    # A new attempt may have begun while this one wrote: model.pt is no longer this one's to move.
    check_is_newest(attempt, run)


def publish(attempt: Attempt, run: Run, path: Path) -> None:
    """Point model.pt to the run's best or newest checkpoint, now that the one at `path` is committed.

    Raises: CheckpointError when a newer attempt began meanwhile: model.pt then is what that one offers.
    """
    offer.offer(run, path)
    try:
        check_is_newest(attempt, run)
    except CheckpointError:
        # The newer one may have moved model.pt between this one's look and its move.
        with contextlib.suppress(OSError, StorageError):
            offer.settle(run)
        raise


def free_path(attempt: Attempt, step: int, taken: Collection[Path] = ()) -> Path:
    """Where the next checkpoint of a step belongs, after those that are there and `taken`, still being written.

    A name that retention has set free is not given again: it would sort before what is older.
    """
    there = [(file.step, file.repeat) for file in attempt.checkpoints()]
    there += filter(None, map(layout.checkpoint_step, taken))
    return attempt.layout.checkpoint(step, max((repeat + 1 for at, repeat in there if at == step), default=0))


def _sweep(run: Run) -> None:
    """Remove the drafts that killed processes left in the run, and of runs."""
    for folder in (run.folder.parent, *run.layout.drafted_in()):
        files.sweep_drafts(folder)


def _key() -> bytes | None:
    """The user's key; None, said once, when it cannot be had: the file then carries no mark, and is saved."""
    try:
        return trust.user_key()
    except ConfigError as error:
        say_once(f"models are saved without your mark, so that loading them back needs trust=True: {error}")
        return None


def check_is_newest(attempt: Attempt, run: Run) -> None:
    """CheckpointError when another attempt was started since: only the newest moves model.pt."""
    newest = run.newest_attempt()
    if newest is not None and newest.number > attempt.number:
        raise CheckpointError(
            f"Run {run.name!r} was started again: attempt {newest.number} owns it, this is attempt {attempt.number}.\n"
            f"  What this attempt saved stays in {attempt.layout.checkpoints}. Stop one of the two."
        )
