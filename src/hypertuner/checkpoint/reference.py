"""References: how people name a checkpoint, and the file that name leads to.

brave-otter         the model it offers (model.pt)
brave-otter@best    its best checkpoint by the metric its Saver watches
brave-otter@last    its newest checkpoint
brave-otter@1200    the checkpoint saved at step 1200
path/to/file.pt     a file; path/to/brave-otter, a run's folder
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hypertuner.checkpoint import offer
from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.offer import best_of, on_path
from hypertuner.errors import CheckpointNotFoundError, RunNotFoundError, StorageError
from hypertuner.store import CheckpointFile, Run, Storage
from hypertuner.store.run import is_run_folder

_FORMS = "Name a run, run@best, run@last, run@STEP or a file."
_FILES = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}


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
    try:
        path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise CheckpointNotFoundError(f"{text[:60]!r}… is too long for a name.\n  {_FORMS}") from None
    if isinstance(reference, os.PathLike) or os.sep in text or "/" in text or path.is_file():
        if is_run_folder(path):
            run = Run(path.absolute())
            return Resolved(_offered(run), run, text)
        if not path.exists():
            folder, at, which = text.rpartition("@")
            if at and is_run_folder(Path(folder)):
                run = Run(Path(folder).absolute())
                return Resolved(_chosen(run, which), run, text)
            raise CheckpointNotFoundError(f"No file {path}.\n  {_FORMS}")
        return Resolved(path, _run_around(path), text)
    name, at, which = text.partition("@")
    storage = storage or Storage()
    try:
        run = storage.open(name)
    except RunNotFoundError:
        if path.suffix.lower() in _FILES:
            raise CheckpointNotFoundError(
                f"No file {path} in {Path.cwd()}, and no run called so in {storage.path}.\n  {_FORMS}"
            ) from None
        raise
    return Resolved(_chosen(run, which) if at else _offered(run), run, text)


def _run_around(path: Path) -> Run | None:
    """The run that a file lies in: model.pt, or attempts/<n>/checkpoints/<file>."""
    parents = path.absolute().parents
    for folder in (*parents[:1], *parents[3:4]):
        if is_run_folder(folder):
            return Run(folder)
    return None


def _offered(run: Run) -> Path:
    if (found := offer.offered(run)) is None:
        raise _none_of(run, "")
    return found


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
    if re.fullmatch(r"[0-9]{1,18}", which):
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
