"""model.pt: which of its checkpoints a run offers to the world, and putting that one there.

model.pt is derived. A crash between a checkpoint and its link leaves the one before: whoever opens the run gets the
right file all the same, and puts it there if he may write and the run is not going on. What somebody else put there,
a file that is none of the run's checkpoints, is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from hypertuner import files
from hypertuner.checkpoint.about import about
from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.errors import StorageError
from hypertuner.store import CheckpointFile, Run, RunState
from hypertuner.store.run import Stretch


def offer(run: Run, fallback: Path | None = None) -> Path | None:
    """Point model.pt to the best checkpoint when a metric is watched, else to the newest; where it points."""
    checkpoints = on_path(run)
    chosen = _chosen(checkpoints)
    path = chosen.path if chosen is not None else fallback
    if path is not None and not _is_same_file(path, run.layout.model):
        if len(checkpoints) == 1 and run.layout.model.exists() and not run.layout.old_model.exists():
            # The first checkpoint here, and yet there is a model: 1.0.4's, of which nothing else keeps a copy.
            files.link_or_copy(run.layout.model, run.layout.old_model)
        files.link_or_copy(path, run.layout.model)
    return path


def settle(run: Run) -> None:
    """Offer until a look finds the right checkpoint in place, while another attempt of the run saves, too."""
    while (chosen := _chosen(on_path(run))) is not None and not is_same(chosen.path, run.layout.model):
        offer(run)


def offered(run: Run) -> Path | None:
    """The file that a run offers, after its model.pt was repaired where a crash left the one before; None: no model.

    Never raises for want of permission to write.
    """
    model = run.layout.model
    checkpoints = run.checkpoints()
    chosen = _chosen(on_path(run))
    if chosen is None:
        return model if model.exists() else None
    if model.exists() and (is_same(chosen.path, model) or behind(model, checkpoints) is None):
        return model
    if not _is_going_on(run):
        with contextlib.suppress(OSError, StorageError):
            offer(run)
            return model
    return chosen.path


def refresh(run: Run) -> None:
    """Let model.pt be the file of the checkpoint it is, where that was thinned or restored; nothing else changes it."""
    chosen = _chosen(on_path(run))
    model = run.layout.model
    if chosen is None or _is_going_on(run) or _is_same_file(chosen.path, model):
        return
    if is_same(chosen.path, model):
        files.link_or_copy(chosen.path, model)


def on_path(run: Run) -> list[CheckpointFile]:
    """The checkpoints on a run's path, in the order they were made.

    What an earlier attempt saved after the point that a later one resumed is not on it.
    """
    found: list[CheckpointFile] = []
    stretches = {part.attempt.number: part for part in run.path() if part.run.folder == run.folder}
    for attempt in run.attempts():
        part = stretches.get(attempt.number)
        if part is None and stretches and attempt.number < max(stretches):
            continue
        for file in attempt.checkpoints():
            if part is None or part.metrics_bytes is None or _is_before(file, part):
                found.append(file)
    return found


def _is_before(file: CheckpointFile, part: Stretch) -> bool:
    try:
        saved = about(file.path).run
    except StorageError:
        return False
    saved_at = str(saved.get("saved_at") or "")
    return (saved.get("metrics_bytes") or 0, saved_at) <= (part.metrics_bytes or 0, part.saved_at or "")


def best_of(checkpoints: list[CheckpointFile]) -> CheckpointFile | None:
    """The best checkpoint by the metric that the newest one's Saver watched; None when none watched any.

    Ties go to the newer one; NaN never wins; a damaged file is passed over.
    """
    indexes = []
    for file in checkpoints:
        try:
            indexes.append((file, about(file.path)))
        except (StorageError, FileNotFoundError):  # gone meanwhile: the run goes on
            continue
    watched = [(index.run.get("monitor"), index.run.get("mode")) for _, index in indexes if index.run.get("monitor")]
    if not watched:
        return None
    monitor, mode = watched[-1]
    best: tuple[float, CheckpointFile] | None = None
    for file, index in indexes:
        value = index.metrics.get(str(monitor))
        if not isinstance(value, (int, float)) or value != value:
            continue
        score = float(value) if mode == "max" else -float(value)
        if best is None or score >= best[0]:
            best = (score, file)
    return best[1] if best else None


def _chosen(checkpoints: list[CheckpointFile]) -> CheckpointFile | None:
    return best_of(checkpoints) or (checkpoints[-1] if checkpoints else None)


def _is_going_on(run: Run) -> bool:
    """Whether an attempt may be at work, here or on a host that cannot be asked: only that one moves model.pt."""
    return run.state() in (RunState.running, RunState.unknown)


def behind(path: Path, checkpoints: Sequence[CheckpointFile]) -> CheckpointFile | None:
    """The checkpoint that a file (model.pt) is: a link to it, a copy, or the same with or without training state."""
    linked = (file for file in checkpoints if _is_same_file(file.path, path))
    return next(linked, None) or next((file for file in reversed(checkpoints) if is_same(file.path, path)), None)


def is_same(one: Path, other: Path) -> bool:
    """Whether two files are one checkpoint: one file, copies of one, or one is the other without training state."""
    if _is_same_file(one, other):
        return True
    identity = _identity(one)
    return identity is not None and identity == _identity(other)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _identity(path: Path) -> object:
    """What tells a checkpoint from any other, also from one saved at the same step; None for another program's file."""
    try:
        with archive.Archive.open(path) as opened:
            if opened.kind != FORMAT:
                return opened.file_hash
            index = opened.index
    except (StorageError, FileNotFoundError):
        return None
    weights = [index.storages[row.storage].xxh3 for row in index.state_dict.values() if row.storage in index.storages]
    return dict(index.run), weights
