"""One checkpoint, whole: its config, its tensors, where it was made, whether its code is trusted: by its index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hypertuner.checkpoint.format import archive, pickles
from hypertuner.checkpoint.format.archive import Archive, Index, TensorRow
from hypertuner.checkpoint.format.table import FORMAT, ITEM_BYTES
from hypertuner.errors import StorageError
from hypertuner.server.contract import models
from hypertuner.server.contract.models import CheckpointDetail
from hypertuner.server.weights import code
from hypertuner.server.weights.checkpoints import Saved
from hypertuner.server.weights.family import Birth
from hypertuner.store import Run

_MOST_TENSORS = 50_000
_MOST_VALUE = 2000
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def detail_of(run: Run, saved: Saved, born: Sequence[Birth]) -> CheckpointDetail:
    """Everything that a checkpoint says of itself. Raises: CorruptFileError; OSError."""
    path = saved.file.path
    index = archive.inspect(path)
    rows = index.model_tensors
    shared = {name for group in index.ties for name in group}
    which = None if saved.is_alone else saved.which
    has_object = code.has_object(path)
    can_resume = saved.about is not None and saved.about.has_training and not saved.is_alone
    return CheckpointDetail(
        row=saved.row(born),
        config=dict(index.hyperparameters),
        environment=dict(_environment(index)),
        model_class=_model_class(path) if has_object else None,
        parameters=index.values,
        tensors=[_tensor(name, row, is_shared=name in shared) for name, row in list(rows.items())[:_MOST_TENSORS]],
        trust=code.trust_of(path),
        load_code=code.load_code(run, which, has_object=has_object),
        resume_command=f"hypertuner resume {saved.reference}" if can_resume else None,
    )


def _tensor(name: str, row: TensorRow, *, is_shared: bool) -> models.TensorRow:
    count = math.prod(row.shape)
    return models.TensorRow(
        name=name,
        kind=_kind(name, row),
        dtype=row.dtype,
        shape=list(row.shape),
        count=count,
        nbytes=count * ITEM_BYTES.get(row.dtype, 0),
        is_shared=is_shared,
    )


def _kind(name: str, row: TensorRow) -> Literal["parameter", "buffer", "other"]:
    """By its name and type: a file does not record which of its tensors are trained."""
    if row.kind != "strided":
        return "other"
    is_buffer = name.rpartition(".")[2] in _BUFFERS or not row.dtype.startswith(("float", "bfloat", "complex"))
    return "buffer" if is_buffer else "parameter"


def _environment(index: Index) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, value in index.environment.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": _short(inner) for name, inner in value.items() if name != "diff"}
        else:
            found[key] = ", ".join(map(str, value)) if isinstance(value, list) else _short(value)
    return found


def _short(value: Any) -> Any:
    return value[:_MOST_VALUE] if isinstance(value, str) else value


def _model_class(path: Any) -> str | None:
    """The class of the model object: what its pickle names first. Nothing of it is run."""
    try:
        with Archive.open(path) as opened:
            root: Any = opened.pickle().root if opened.kind == FORMAT else None
            data = root.get("module") if isinstance(root, dict) else None
            names = pickles.globals_of(data, str(path)) if isinstance(data, bytes) else ()
    except (StorageError, OSError):
        return None
    return next(iter(names), None)
