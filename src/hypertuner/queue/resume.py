"""Resuming: whether a run may go on, from which checkpoint, and what has changed since it began."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypertuner.checkpoint import parents, reference
from hypertuner.errors import CheckpointNotFoundError, ConfigError, QueueError
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.values import to_config

_JOB = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
"""What stays the same when a cluster requeues a job, which it does only after it has ended the first."""


@dataclass(frozen=True)
class Resumable:
    """A run, and the checkpoint of it that the next attempt goes on from: 'last', 'best' or a step."""

    run: Run
    which: str

    @property
    def reference(self) -> str:
        """How that checkpoint is named."""
        return f"{self.run.name}@{self.which}"


def resumable(what: str, storage: Storage | None = None, *, force: bool = False) -> Resumable:
    """The run that `RUN` or `RUN@STEP` names, which may go on from there.

    Raises: QueueError when it runs, or may run (`force` says it does not); RunNotFoundError; CheckpointNotFoundError;
    CheckpointError when the training state was taken out of that checkpoint.
    """
    name = what if "@" in what else f"{what}@last"
    found = reference.resolve(name, storage)
    if found.run is None:
        raise CheckpointNotFoundError(f"{what} is a file, and a run is resumed.\n  Name it: RUN, or RUN@STEP.")
    check_is_over(found.run, force=force)
    parents.check_is_whole(found)
    return Resumable(found.run, name.rpartition("@")[2])


def check_is_over(run: Run, *, force: bool = False) -> None:
    """Raises: QueueError when the run is running, or where nobody can tell, unless `force` says that it is not."""
    state = run.state()
    attempt = run.newest_attempt()
    started = attempt.started if attempt is not None else None
    if started is None or state not in (RunState.running, RunState.unknown):
        return
    where = f"process {started.pid} on {started.host}, started {started.started_at}"
    if state == RunState.running:
        raise QueueError(
            f"Run {run.name!r} is running: {where}.\n  Stop it first, or make a new run of it: hypertuner run --fork "
            f"{run.name}@last"
        )
    if not force and not _is_requeued(started.environment):
        raise QueueError(
            f"Run {run.name!r} may be running: {where}, which cannot be asked from here.\n"
            "  Two processes that train one run spoil it. If you know that it has ended: --force."
        )


def _is_requeued(environment: Mapping[str, str]) -> bool:
    """Whether this process belongs to the cluster's job that the run was started by."""
    return _JOB[0] in environment and all(environment.get(name) == os.environ.get(name) for name in _JOB)


def next_of(run: Run, config: Mapping[str, Any], *, force: bool = False) -> Resumable | None:
    """Where a run goes on that is started again under its name and with `config`; None: from its beginning.

    Raises: QueueError when it is running, or may be; ConfigError when `config` is another than it has.
    """
    check_is_over(run, force=force)
    check_config(run, config)
    try:
        reference.resolve(f"{run.name}@last", Storage(run.folder.parent))
    except CheckpointNotFoundError:
        return None
    return Resumable(run, "last")


def check_config(run: Run, given: Mapping[str, Any]) -> None:
    """Raises: ConfigError when `given` sets a key that the run has otherwise: a config does not change."""
    has = run.config()
    wrong = {
        key: value
        for key, value in to_config(given).items()
        if run.attempts() and (key not in has or (has[key] != value and str(has[key]) != str(value)))
    }
    if wrong:
        said = ", ".join(f"{key} {has.get(key, 'not set')} → {value}" for key, value in wrong.items())
        words = " ".join(f"{key}={value}" for key, value in wrong.items())
        raise ConfigError(
            f"Run {run.name!r} has started before, so its config does not change ({said}).\n"
            f"  A new run that goes on from it: hypertuner run --fork {run.name}@last {words}",
            key=next(iter(wrong)),
        )
