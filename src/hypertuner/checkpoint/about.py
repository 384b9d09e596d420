"""What a checkpoint says of itself, as far as keeping it goes; read once, and known while the file is the same.

A save asks this of every checkpoint there is. Reading each index anew would cost more than writing a small model.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.table import Index

_MODEL = ("state_dict", "module_tensors")
_MOST_KNOWN = 32_768  # a server shows those of thousands of runs


class Stamp(NamedTuple):
    """A file as it was when it was looked into. A checkpoint is never changed in place."""

    path: str
    inode: int
    nbytes: int
    changed_ns: int


@dataclass(frozen=True)
class About:
    """What keeping a checkpoint depends on."""

    run: Mapping[str, Any]
    metrics: Mapping[str, Any]
    nbytes: int
    has_training: bool
    """Whether it has training state, which can be thinned away."""
    training_nbytes: int
    """What its tensors take; objects beside them are not counted."""
    is_thinned: bool


_known: dict[Stamp, About] = {}
_lock = threading.Lock()


def about(path: Path) -> About:
    """What the checkpoint at `path` says. Raises: CorruptFileError; OSError."""
    status = path.stat()
    stamp = Stamp(str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    found = _known.get(stamp)
    if found is None:
        found = _read(path, stamp.nbytes)
        recall({stamp: found})
    return found


def known() -> dict[Stamp, About]:
    """What was read, or recalled, and may be kept elsewhere."""
    with _lock:
        return dict(_known)


def recall(found: Mapping[Stamp, About]) -> None:
    """Know this, as if it had just been read; it counts only for files that are as their stamps say."""
    with _lock:
        _known.update(found)
        while len(_known) > _MOST_KNOWN:
            del _known[next(iter(_known))]


def _read(path: Path, nbytes: int) -> About:
    index = archive.inspect(path)
    training = _training_bytes(index)
    return About(
        run=index.run,
        metrics=index.metrics,
        nbytes=nbytes,
        has_training=bool(index.extra.get("training") or "training" in index.tensors),
        training_nbytes=training,
        is_thinned=bool(index.extra.get("thinned")),
    )


def _training_bytes(index: Index) -> int:
    """Bytes of the storages that only the training state has."""
    keys = {part: {row.storage for row in rows.values()} for part, rows in index.tensors.items()}
    alone = keys.get("training", set()).difference(*(keys.get(part, set()) for part in _MODEL))
    return sum(row.nbytes for key, row in index.storages.items() if key in alone)
