"""The checkpoint that a run begins from: which file, and its identity, recorded before anything can move it."""

from __future__ import annotations

import xxhash

from hypertuner.checkpoint.about import about
from hypertuner.checkpoint.format.archive import Archive, open_model
from hypertuner.checkpoint.offer import on_path
from hypertuner.checkpoint.reference import Resolved
from hypertuner.errors import CheckpointError, StorageError
from hypertuner.store import CheckpointFile
from hypertuner.store.active import PendingParent
from hypertuner.store.records import Parent

_CHUNK = 16 << 20


def parent_of(found: Resolved, how: str) -> PendingParent:
    """What run.json says of a parent.

    Raises: CorruptFileError when the file is no checkpoint; CheckpointError for a fork of one that was thinned.
    """
    if how == "fork":
        check_is_whole(found)
    with open_model(found.path) as archive:
        run = archive.index.run if archive.kind == "hypertuner/1" else {}
        digest = archive.file_hash or _hash(archive)
    step = run.get("step")
    return PendingParent(
        Parent(
            reference=found.reference,
            how=how,
            run=_run_of(found, run.get("name")),
            step=step if isinstance(step, int) else None,
            checkpoint=digest,
        ),
        found.path,
    )


def check_is_whole(found: Resolved) -> None:
    """CheckpointError for a checkpoint whose training state was taken out: nothing can go on from it in full."""
    if not about(found.path).is_thinned:
        return
    message = f"{found.reference} has its weights only: its training state was taken out to save room.\n  "
    whole = [file.step for file in on_path(found.run) if _is_whole(file)] if found.run else []
    if found.run is not None and whole:
        message += f"Whole are: {', '.join(f'{found.run.name}@{step}' for step in whole[-10:])}. "
    raise CheckpointError(f"{message}A new run can start from the weights: --from {found.reference}")


def _is_whole(file: CheckpointFile) -> bool:
    try:
        return about(file.path).has_training
    except (StorageError, OSError):
        return False


def _run_of(found: Resolved, recorded: object) -> str | None:
    """Name, as it is now, of the run that the checkpoint is one of. What the file records may be a former name."""
    is_own = found.run is not None and found.path != found.run.layout.parent
    if found.run is not None and is_own:
        return found.run.name
    return recorded if isinstance(recorded, str) else None


def _hash(archive: Archive) -> str:
    digest = xxhash.xxh3_128()
    archive.file.seek(0)
    while chunk := archive.file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
