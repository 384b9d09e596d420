"""Committing a checkpoint: a new file, synced, linked into place; then model.pt; then retention.

The order is the promise: nothing older is removed or replaced before the new file is durable under its name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.checkpoint import reference
from hypertuner.checkpoint.format import archive, trust
from hypertuner.errors import CheckpointError, ConfigError
from hypertuner.store import Attempt, CheckpointFile, Run
from hypertuner.store.said import say, say_once


@dataclass(frozen=True)
class Checkpoint:
    """Everything that was saved at one step: one file, complete and self-describing."""

    run: str | None
    step: int
    epoch: int | None
    metrics: Mapping[str, Any]
    path: Path | None
    """None in a process that writes nothing: a worker, or under HYPERTUNER_MODE=off."""
    step_given: bool = True
    """False when nobody said the step and nothing was logged: it is then 0 for want of a number."""


def commit(
    attempt: Attempt, run: Run, step: int, header: Mapping[str, Any], write: Callable[[io.RawIOBase], Mapping[str, Any]]
) -> Path:
    """Save one checkpoint of an attempt; its path, once it is durable.

    `write` fills the file and returns what the index says besides `header`. A failure leaves what was there.
    Raises: CheckpointError when a newer attempt owns the run; StorageFullError; what `write` raises.
    """
    check_is_newest(attempt, run)
    files.make_folder(attempt.layout.checkpoints)
    repeat = 0
    while (path := attempt.layout.checkpoint(step, repeat)).exists():
        repeat += 1
    with files.Draft(path, mode=0o444) as draft, files.full_disk_named(path):
        extra = write(draft.file)
        archive.seal(draft.file, {**header, **extra}, _key())
        draft.commit_new()
    return path


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


def offer(run: Run, fallback: Path | None = None) -> Path | None:
    """Point model.pt to the best checkpoint when a metric is watched, else to the newest; where it points."""
    checkpoints = reference.on_path(run)
    best = reference.best_of(checkpoints)
    chosen = best.path if best is not None else (checkpoints[-1].path if checkpoints else fallback)
    if chosen is not None and not _is_same_file(chosen, run.layout.model):
        if len(checkpoints) == 1 and run.layout.model.exists() and not run.layout.old_model.exists():
            # The first checkpoint here, and yet there is a model: 1.0.4's, of which nothing else keeps a copy.
            files.link_or_copy(run.layout.model, run.layout.old_model)
        files.link_or_copy(chosen, run.layout.model)
    return chosen


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def repair(run: Run) -> None:
    """Point model.pt where it belongs, when a crash came between a checkpoint and its link."""
    if run.checkpoints() and not run.layout.model.exists():
        offer(run)


def retain(attempt: Attempt, *, keep_last: int, keep_best: int) -> None:
    """Remove the checkpoints of this attempt beyond the newest `keep_last` and the best `keep_best`.

    Never one of an earlier attempt; a file that cannot be removed or read stays, and is said.
    """
    remaining = attempt.checkpoints()
    kept = set(remaining[-keep_last:] if keep_last else [])
    candidates = list(remaining)
    for _ in range(keep_best):
        best = reference.best_of(candidates)
        if best is None:
            break
        kept.add(best)
        candidates.remove(best)
    for file in remaining:
        if file not in kept:
            _remove(file)


def _remove(file: CheckpointFile) -> None:
    try:
        files.remove(file.path)
    except OSError as error:
        say(f"could not remove the old checkpoint {file.path}: {error.strerror}")
