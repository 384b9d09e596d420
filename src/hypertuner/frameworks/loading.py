"""load: the model that a reference names, as an object, as weights, or into a model that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hypertuner.checkpoint.format import collecting
from hypertuner.checkpoint.format.archive import Archive, Verify, open_model
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.checkpoint.reference import resolve
from hypertuner.checkpoint.selection import Selection
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
    verify: Verify = "index",
    pin_memory: bool = False,
) -> Any:
    """The model that a reference names: 'run', 'run@best', 'run@last', 'run@1200', or a path.

    The file is mapped: a tensor's bytes are read when they are looked at, and stay good when the file is closed,
    renamed or deleted. On a network file system they are read at once instead (HYPERTUNER_READ says otherwise).
    `into` a model that has memory is one copy; `into` a model built with `torch.device("meta")` is none.

    Args:
        reference: The checkpoint, or a Run.
        into: Put the weights into this model, and return a LoadReport.
        weights: Return the tensors by name instead of the object.
        part: Of a model of several parts, this one.
        device: Where the tensors go; the CPU when None. With `into`, where a model built on the meta device goes.
        strict: With `into`, refuse anything that does not fit.
        trust: True runs the code that the file holds, whoever made it; None runs only your own files', and those that
            you vouched for (`hypertuner trust`).
        rename: With `into`, how names begin in the file and in the model: `{"encoder.": "backbone."}`. The longest
            that fits counts; `{"model.": ""}` takes a beginning away.
        only: With `into`, patterns of names in the model: `only="backbone.*"` loads these, and `strict` asks that all
            of these fit; the rest keeps its values. With `weights`, patterns of names in the file. No other bytes are
            read.
        ignore_mismatched: With `into`, tensors of another shape keep their values and are named, although `strict`.
        verify: What is checked first. 'index': that the index and the file's directory are whole and agree, and that
            every tensor lies within its storage and every storage within the file; the weights are not looked at, so
            that a bit which flipped among them goes unseen. 'full': also that every byte is the one that was
            saved (with `only` and `part`: every byte of the tensors that are loaded). 'none': only what keeps memory
            safe; takes out of a damaged file what can still be had.
        pin_memory: Read into page-locked memory, from which copies to a GPU are quicker. Not with `into`.

    Raises:
        RunNotFoundError: No such run.
        CheckpointNotFoundError: The run has no such checkpoint.
        CorruptFileError: The file is damaged or no model.
        UnsafeFileError: The object would run code that carries no mark of yours.
        MismatchError: It does not fit; nothing was changed.
        CheckpointError: The object cannot be rebuilt here; a device or page-locked memory cannot be had.
    """
    if verify not in ("index", "full", "none"):
        raise ValueError(f"verify is 'index', 'full' or 'none', got {verify!r}")
    found = resolve(reference)
    adapter = torch_adapter()
    selection = Selection(
        rename or {}, (only,) if isinstance(only, str) else tuple(only), ignore_mismatched=ignore_mismatched
    )
    if into is None and (selection.rename or ignore_mismatched):
        raise TypeError("rename= and ignore_mismatched= say what is put into a model: give into=model")
    if into is None and selection.only and not weights:
        raise TypeError("only= says which tensors: give into=model, or weights=True to have them by name")
    if into is not None and pin_memory:
        raise TypeError("pin_memory= is for tensors that are made: into=model has its own memory")
    if part is not None and (into is not None or weights):
        selection = selection.within(part)
    # Only where none of the user's own code runs.
    quiet = collecting.paused() if weights and into is None else contextlib.nullcontext()
    with quiet, open_model(found.path) as archive:
        archive.lenient = verify == "none"
        trusted = bool(trust) or (
            trust is None and _asks_for_trust(archive, into, weights) and restoring.is_own(archive)
        )
        if into is not None:
            into = into if part is None else {part: into}
            how: dict[str, Any] = {"selection": selection, "verify": verify, "device": device}
            try:
                return adapter.fill(into, archive, strict=strict, trusted=trusted, **how)
            except MismatchError:
                if part is not None:  # which parts there are is what whoever names a wrong one wants to know
                    _check_part(archive, part, found.reference)
                raise
        how = {"device": device, "verify": verify, "pin_memory": pin_memory}
        if weights:
            loaded = adapter.read(archive, trusted=trusted, weights=True, selection=selection, **how)
            return loaded if part is None else {name[len(part) + 1 :]: value for name, value in loaded.items()}
        loaded = adapter.read(archive, trusted=trusted, **how)
    return loaded if part is None else _part(loaded, part, found.reference)


def _asks_for_trust(archive: Archive, into: Any, weights: bool) -> bool:
    """Whether anything that is loaded is code: weights are, where there is odd state among them."""
    if archive.kind != FORMAT:
        return False
    return (into is None and not weights) or bool(archive.index.extra.get("state_odd"))


def _check_part(archive: Archive, part: str, reference: str) -> None:
    names = archive.index.state_dict
    if not any(name.startswith(f"{part}.") for name in names):
        _part(dict.fromkeys(name.partition(".")[0] for name in names), part, reference)


def _part(loaded: Any, part: str, reference: str) -> Any:
    if isinstance(loaded, dict) and part in loaded:
        return loaded[part]
    names = sorted(loaded) if isinstance(loaded, dict) else []
    raise CheckpointError(
        f"{reference!r} has no part {part!r}"
        + (f"; it has: {', '.join(map(repr, names[:8]))}." if names else ": it is one model.")
    )
