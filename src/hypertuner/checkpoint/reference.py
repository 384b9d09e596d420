"""References: how people name a checkpoint, and the file that name leads to.

brave-otter         the model it offers (model.pt)
brave-otter@best    its best checkpoint by the metric its Saver watches
brave-otter@last    its newest checkpoint
brave-otter@1200    the checkpoint saved at step 1200
path/to/file.pt     a file; path/to/brave-otter, a run's folder
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hypertuner.checkpoint.format import archive
from hypertuner.errors import CheckpointNotFoundError, StorageError
from hypertuner.store import CheckpointFile, Run, Storage
from hypertuner.store.run import Stretch, is_run_folder


@dataclass(frozen=True)
class Resolved:
    """The file that a reference leads to, and the run it belongs to, if it lies in one."""

    path: Path
    run: Run | None
    reference: str


def resolve(reference: str | os.PathLike[str] | Run, storage: Storage | None = None) -> Resolved:
    """The file that `reference` names.

    Raises: RunNotFoundError; CheckpointNotFoundError, which says what there is instead.
    """
    if isinstance(reference, Run):
        return Resolved(_offered(reference), reference, reference.name)
    text = os.fspath(reference)
    path = Path(text)
    if isinstance(reference, os.PathLike) or os.sep in text or "/" in text or path.is_file():
        if is_run_folder(path):
            run = Run(path.absolute())
            return Resolved(_offered(run), run, text)
        if not path.exists():
            folder, at, which = text.rpartition("@")
            if at and is_run_folder(Path(folder)):
                run = Run(Path(folder).absolute())
                return Resolved(_chosen(run, which), run, text)
            raise CheckpointNotFoundError(f"No file {path}.\n  Name a run, run@best, run@last, run@STEP or a file.")
        return Resolved(path, _run_around(path), text)
    name, at, which = text.partition("@")
    run = (storage or Storage()).open(name)
    return Resolved(_chosen(run, which) if at else _offered(run), run, text)


def _run_around(path: Path) -> Run | None:
    """The run that a file lies in: model.pt, or attempts/<n>/checkpoints/<file>."""
    parents = path.absolute().parents
    for folder in (parents[0], *(parents[3:4])):
        if is_run_folder(folder):
            return Run(folder)
    return None


def _offered(run: Run) -> Path:
    if run.layout.model.exists():
        return run.layout.model
    checkpoints = on_path(run)
    if checkpoints:
        # model.pt is derived: a crash between the two leaves a whole checkpoint without it.
        return checkpoints[-1].path
    raise _none_of(run, "")


def _chosen(run: Run, which: str) -> Path:
    checkpoints = on_path(run)
    if which == "last":
        if checkpoints:
            return checkpoints[-1].path
        return _offered(run)
    if which == "best":
        best = best_of(checkpoints)
        if best is None:
            raise _none_of(run, "best")
        return best.path
    if which.isdecimal():
        found = [file for file in checkpoints if file.step == int(which)]
        if found:
            return found[-1].path
    raise _none_of(run, which)


def _none_of(run: Run, which: str) -> CheckpointNotFoundError:
    checkpoints = on_path(run)
    what = f"checkpoint {which!r}" if which else "model"
    message = f"Run {run.name!r} has no {what}.\n  {run.folder} "
    if not checkpoints:
        return CheckpointNotFoundError(message + "holds no checkpoints yet; `saver.save()` writes one.")
    steps = ", ".join(str(file.step) for file in checkpoints[-10:])
    message += f"has: last, {steps}."
    if which == "best":
        metrics = sorted({name for file in checkpoints for name in _metrics(file)})
        message += " 'best' needs a metric to go by: Saver(model, monitor="
        message += f"{metrics[0]!r}), one of: {', '.join(metrics)}." if metrics else "'val_loss'), and log it."
    return CheckpointNotFoundError(message)


def _metrics(file: CheckpointFile) -> dict[str, object]:
    try:
        return dict(archive.inspect(file.path).metrics)
    except StorageError:
        return {}


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
        about = archive.inspect(file.path).run
    except StorageError:
        return False
    saved_at = str(about.get("saved_at") or "")
    return (about.get("metrics_bytes") or 0, saved_at) <= (part.metrics_bytes or 0, part.saved_at or "")


def best_of(checkpoints: list[CheckpointFile]) -> CheckpointFile | None:
    """The best checkpoint by the metric that the newest one's Saver watched; None when none watched any.

    Ties go to the newer one; NaN never wins; a damaged file is passed over.
    """
    indexes = []
    for file in checkpoints:
        try:
            indexes.append((file, archive.inspect(file.path)))
        except StorageError:
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
