"""load: the model that a reference names, as an object, as weights, or into a model that is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hypertuner.checkpoint.format.archive import open_model
from hypertuner.checkpoint.reference import resolve
from hypertuner.checkpoint.selection import EVERYTHING, Selection
from hypertuner.errors import CheckpointError, MismatchError
from hypertuner.frameworks import restoring
from hypertuner.frameworks.adapter import torch_adapter
from hypertuner.store import Run


def load(
    reference: str | os.PathLike[str] | Run,
    into: Any = None,
    weights: bool = False,
    part: str | None = None,
    device: Any = None,
    strict: bool = True,
    trust: bool | None = None,
    *,
    rename: Mapping[str, str] | None = None,
    only: str | Sequence[str] = (),
    ignore_mismatched: bool = False,
) -> Any:
    """The model that a reference names: 'run', 'run@best', 'run@last', 'run@1200', or a path.

    Args:
        reference: The checkpoint, or a Run.
        into: Put the weights into this model, and return a LoadReport.
        weights: Return the tensors by name instead of the object.
        part: Of a model of several parts, this one.
        device: Where the tensors go; the CPU when None.
        strict: With `into`, refuse anything that does not fit.
        trust: True runs the code that the file holds, whoever made it; None runs only your own files', and those that
            you vouched for (`hypertuner trust`).
        rename: With `into`, how names begin in the file and in the model: `{"encoder.": "backbone."}`. The longest
            that fits counts; `{"model.": ""}` takes a beginning away.
        only: With `into`, patterns of names in the model: `only="backbone.*"` loads these, and `strict` asks that all
            of these fit; the rest keeps its values.
        ignore_mismatched: With `into`, tensors of another shape keep their values and are named, although `strict`.

    Raises:
        RunNotFoundError: No such run.
        CheckpointNotFoundError: The run has no such checkpoint.
        CorruptFileError: The file is damaged or no model.
        UnsafeFileError: The object would run code that carries no mark of yours.
        MismatchError: It does not fit; nothing was changed.
        CheckpointError: The object cannot be rebuilt here.
    """
    found = resolve(reference)
    adapter = torch_adapter()
    selection = Selection(rename or {}, (only,) if isinstance(only, str) else tuple(only), ignore_mismatched)
    if into is None and selection != EVERYTHING:
        raise TypeError("rename=, only= and ignore_mismatched= say what is put into a model: give into=model")
    with open_model(found.path) as archive:
        trusted = bool(trust) or (trust is None and restoring.is_own(archive))
        if into is not None:
            if part is not None:
                into, selection = {part: into}, selection.within(part)
            try:
                return adapter.fill(into, archive, strict=strict, trusted=trusted, selection=selection)
            except MismatchError:
                if part is not None:  # which parts there are is what whoever names a wrong one wants to know
                    _part(adapter.read(archive, trusted=trusted, weights=True), part, True, found.reference)
                raise
        loaded = adapter.read(archive, trusted=trusted, device=device, weights=weights)
    if part is None:
        return loaded
    return _part(loaded, part, weights, found.reference)


def _part(loaded: Any, part: str, weights: bool, reference: str) -> Any:
    if weights:
        chosen = {name.removeprefix(f"{part}."): value for name, value in loaded.items() if name.startswith(f"{part}.")}
        if chosen:
            return chosen
        names = sorted({name.partition(".")[0] for name in loaded})
    elif isinstance(loaded, dict):
        if part in loaded:
            return loaded[part]
        names = sorted(loaded)
    else:
        names = []
    raise CheckpointError(
        f"{reference!r} has no part {part!r}"
        + (f"; it has: {', '.join(map(repr, names[:8]))}." if names else ": it is one model.")
    )
