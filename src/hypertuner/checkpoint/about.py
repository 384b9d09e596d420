"""What a checkpoint says of itself, as far as keeping it goes; read once, and known while the file is the same.

A save asks this of every checkpoint there is. Reading each index anew would cost more than writing a small model.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.table import Index

_MODEL = ("state_dict", "module_tensors")


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


def about(path: Path) -> About:
    """What the checkpoint at `path` says. Raises: CorruptFileError; OSError."""
    status = path.stat()
    return _about(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16_384)  # a server shows those of thousands of runs
def _about(path: str, inode: int, nbytes: int, changed_ns: int) -> About:
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
