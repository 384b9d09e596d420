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
            run=run.get("name") or (found.run.name if found.run else None),
            step=step if isinstance(step, int) else None,
            checkpoint=digest,
        ),
        found.path,
    )


def _hash(archive: Archive) -> str:
    digest = xxhash.xxh3_128()
    archive.file.seek(0)
    while chunk := archive.file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
