"""The checkpoint that a run begins from: which file, and its identity, recorded before anything can move it."""

from __future__ import annotations

import xxhash

from hypertuner.checkpoint.format.archive import Archive, open_model
from hypertuner.checkpoint.reference import Resolved
from hypertuner.store.active import PendingParent
from hypertuner.store.records import Parent

_CHUNK = 16 << 20


def parent_of(found: Resolved, how: str) -> PendingParent:
    """What run.json says of a parent. CorruptFileError when the file is no checkpoint."""
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
