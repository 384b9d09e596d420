"""Committing a checkpoint: a new file, synced, linked into place; then model.pt; then retention (`retention.py`).

The order is the promise: nothing older is removed or replaced before the new file is durable under its name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.checkpoint.format import archive, trust
from hypertuner.errors import CheckpointError, ConfigError
from hypertuner.store import Attempt, Run
from hypertuner.store.said import say_once


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
    if not attempt.layout.checkpoints.exists():  # its first save
        _sweep(run)
    files.make_folder(attempt.layout.checkpoints)
    path = attempt.layout.checkpoint(step, _next_repeat(attempt, step))
    with files.Draft(path, mode=0o444) as draft:
        extra = write(draft.file)
        archive.seal(draft.file, {**header, **extra}, _key())
        draft.commit_new()
    # A new attempt may have begun while this one wrote: model.pt is no longer this one's to move.
    check_is_newest(attempt, run)
    return path


def _next_repeat(attempt: Attempt, step: int) -> int:
    """One more than any that is there: a name that retention set free would sort before what is older."""
    return max((file.repeat + 1 for file in attempt.checkpoints() if file.step == step), default=0)


def _sweep(run: Run) -> None:
    """Remove the drafts that killed processes left in the run."""
    for folder in (run.folder, *run.layout.attempts.glob("*/"), *run.layout.attempts.glob("*/*/")):
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
