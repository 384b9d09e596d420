"""Weights in files that open without hypertuner: a plain torch state_dict, and safetensors.

Only tensors are taken, so no trust is needed and no code of the model runs. The file appears whole or not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hypertuner import files
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.errors import CheckpointError, MissingExtraError, StorageError
from hypertuner.frameworks.torch.adapter import TorchAdapter
from hypertuner.store.records import to_text

FORMS = ("safetensors", "state_dict")


def export(archive: Archive, target: Path, form: str, *, replace: bool = False) -> list[str]:
    """Write the weights of an open file to `target`; what people should know about the result, a line each.

    `form` is 'state_dict' (what `torch.load` and `load_state_dict` take) or 'safetensors' (ties once, config and
    metrics in its metadata). `target` must not exist unless `replace`.

    Raises: StorageError when `target` exists; MissingExtraError without safetensors; CheckpointError for what
        safetensors cannot hold; CorruptFileError; UnsafeFileError for a foreign file that holds objects.
    """
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, got {form!r}")
    values = TorchAdapter().read(archive, trusted=False, weights=True, verify="full")
    notes = []
    if archive.kind == FORMAT and (odd := archive.index.extra.get("state_odd")):
        notes.append(f"left out, for it is no plain value: {', '.join(map(str, odd))}")
    files.make_folder(target.absolute().parent)
    with files.Draft(target.absolute()) as draft:
        if form == "state_dict":
            torch.save(_with_versions(values, archive), draft.file)
        else:
            draft.file.write(_safetensors(values, archive, notes))
        if replace:
            draft.commit_replace()
        else:
            try:
                draft.commit_new()
            except FileExistsError:
                raise StorageError(f"{target} exists already; nothing was written.", path=target) from None
    return notes


def _with_versions(values: Mapping[str, Any], archive: Archive) -> OrderedDict[str, Any]:
    """A state_dict as `Module.state_dict` makes it: with the versions of its modules, where the file knows them."""
    state: OrderedDict[str, Any] = OrderedDict(values)
    metadata = getattr(values, "_metadata", None)
    if metadata is None and archive.kind == FORMAT:
        versions = archive.index.extra.get("state_versions") or {}
        metadata = OrderedDict((path, {"version": version}) for path, version in versions.items())
    if metadata:
        state._metadata = metadata  # type: ignore[attr-defined]  # where torch itself keeps it
    return state


def _safetensors(values: Mapping[str, Any], archive: Archive, notes: list[str]) -> bytes:
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise MissingExtraError("safetensors", "safetensors", "export to safetensors") from None
    tensors: dict[str, torch.Tensor] = {}
    ties: dict[str, str] = {}
    kept: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()
    left_out = []
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            left_out.append(name)
            continue
        tensor = value.detach()
        _check_holdable(name, tensor)
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if tensor.numel() and (place, tensor.dtype) in kept:
            ties[name] = kept[place, tensor.dtype]
            continue
        kept[place, tensor.dtype] = name
        # Views of one storage that are not the same tensor: each gets bytes of its own.
        shares = place[0] in storages
        storages.add(place[0])
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format) if shares else tensor.contiguous()
    if left_out:
        notes.append(f"left out, for safetensors holds tensors only: {', '.join(left_out[:8])}")
    if ties:
        notes.append("tied, written once: " + ", ".join(f"{name} = {first}" for name, first in list(ties.items())[:8]))
    story: dict[str, Any] = {"ties": ties}
    if archive.kind == FORMAT:
        index = archive.index
        story |= {"config": index.hyperparameters, "run": index.run, "metrics": index.metrics}
    # `format` is what transformers asks for; a tie under its own name is how safetensors.torch.save_model notes it.
    metadata = {**ties, "format": "pt", "hypertuner": to_text(story)}
    try:
        written: bytes = safetensors.torch.save(tensors, metadata)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        kinds = ", ".join(sorted({str(tensor.dtype) for tensor in tensors.values()}))
        raise CheckpointError(
            f"safetensors {safetensors.__version__} cannot hold the weights of {archive.path}: {error}.\n"
            f"  Their types: {kinds}. --format state_dict holds all of them."
        ) from error
    return written


def _check_holdable(name: str, tensor: torch.Tensor) -> None:
    what = ""
    if tensor.layout != torch.strided:
        what = f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    elif tensor.is_quantized:
        what = f"quantised ({str(tensor.dtype).removeprefix('torch.')})"
    elif tensor.is_meta:
        what = "without values (on the meta device)"
    if what:
        raise CheckpointError(
            f"{name!r} is {what}, which safetensors cannot hold.\n  --format state_dict holds it, or save it dense."
        )
