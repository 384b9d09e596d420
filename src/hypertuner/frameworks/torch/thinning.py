"""Thinning: a checkpoint without its training state, in the place of the one with it.

What stays is as it was, bit for bit: weights, model object, recipe, config, metrics, run. Nothing in the file is
unpickled: the part of 'opaque' that belongs to the training state is cut out of the pickle's text. Tensors are mapped,
so a file of any size takes little memory.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.checkpoint.format import archive, pickles, trust
from hypertuner.checkpoint.format.archive import Archive, Index
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.checkpoint.vouching import trusted_as
from hypertuner.errors import ConfigError, CorruptFileError
from hypertuner.frameworks.torch import reading, saving
from hypertuner.frameworks.torch.state import is_plain
from hypertuner.store import records

_MODEL = ("state_dict", "module_tensors")
_OURS = (*_MODEL, "module", "opaque")


def thin(path: Path) -> None:
    """Take the training state out of the checkpoint at `path`, atomically; nothing happens where it has none.

    The new file carries this user's mark, or is vouched for, where the old one was.
    Raises: CorruptFileError, the file then stays as it is; StorageError; OSError.
    """
    with Archive.open(path) as old:
        if old.kind != FORMAT:
            raise CorruptFileError(f"{path} is a {old.kind} file, not one that hypertuner saved.", path=path)
        index = old.index
        root: Any = old.pickle().root
        if not isinstance(root, dict) or not (index.extra.get("training") or "training" in root):
            return
        trusted, key = _trusted(old)
        document = _without_training(old, root)
        header = _header(index)
        with files.Draft(path, mode=0o444) as draft:
            saving.write(draft.file, document, header, key if trusted == "yours" else None)
            _check(path, index, archive.inspect(str(draft.file.name)))
            draft.commit_replace()
    if trusted == "vouched" and key is not None:
        with Archive.open(path) as thinned:
            trust.vouch(thinned.mark_by(key))


def _trusted(old: Archive) -> tuple[str | None, bytes | None]:
    try:
        return trusted_as(old), trust.user_key()
    except ConfigError:  # no key can be had: then nothing carries its mark
        return None, None


def _header(index: Index) -> dict[str, Any]:
    """What the index says that is not computed from the bytes."""
    return {
        **index.extra,
        "run": index.run,
        "hyperparameters": index.hyperparameters,
        "metrics": index.metrics,
        "parent": index.parent,
        "environment": index.environment,
        "recipe": index.recipe,
        "training": [],
        "thinned": {"at": records.now(), "left_out": index.extra.get("training", [])},
    }


def _without_training(old: Archive, root: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its training state, its tensors mapped. Bytes that are code are those the mark covers."""
    document = {name: value for name, value in root.items() if name != "training"}
    tensors = reading.Tensors(old)
    for part in _MODEL:
        if part in document:
            document[part] = tensors.part(part)
    if old.index.extra.get("state_odd"):
        document["opaque"] = without_part(root["opaque"], "training")
    else:
        document.pop("opaque", None)
    if is_plain({name: value for name, value in document.items() if name not in _MODEL}):
        return document
    # Something that a later hypertuner added: as safe loading gives it.
    return {
        name: document[name] if name in _OURS else value
        for name, value in tensors.document().items()
        if name in document
    }


def without_part(data: bytes, part: str) -> bytes:
    """The pickle of a dict whose last key is `part`, with an empty dict as its value; `data` where it is no such one.

    The text up to that key stays, so that nothing has to be unpickled; frames, which would be cut, are left out.
    """
    last_key: int | None = None  # where the text goes on once that key is on the stack
    depth_of_dict = 4  # the dict, a mark, its first key and value: from there on the next key is pushed
    kept = bytearray()
    stack: list[Any] = []
    operations = list(pickletools.genops(data))
    ends = [at for _, _, at in operations[1:]] + [len(data)]
    for (operation, _, begin), end in zip(operations, ends, strict=True):
        before = list(operation.stack_before)
        if operation.name == "FRAME":
            continue
        depth = len(stack)
        if pickletools.markobject in before:
            while stack and stack.pop() is not pickletools.markobject:
                pass
            before = before[: before.index(pickletools.markobject)]
        del stack[len(stack) - len(before) :]
        stack.extend(operation.stack_after)
        kept += data[begin:end]
        if depth == depth_of_dict and len(stack) == depth_of_dict + 1:
            last_key = len(kept)
    cut = bytes(kept[:last_key]) + b"}u." if last_key else data
    root = pickles.read(cut).root
    is_as_meant = isinstance(root, dict) and list(root)[-1] == part and root[part] == {} and len(root) > 1
    return cut if is_as_meant else data


def _check(path: Path, old: Index, new: Index) -> None:
    """CorruptFileError where a tensor's bytes are not those that were saved: damage must not be sealed anew."""
    for part in _MODEL:
        before, now = old.tensors.get(part, {}), new.tensors.get(part, {})
        wrong = [name for name in before if _bytes_of(old, before[name]) != _bytes_of(new, now.get(name))]
        if wrong or before.keys() != now.keys():
            named = ", ".join(wrong[:3]) or "its tensors"
            raise CorruptFileError(
                f"{path} is damaged: the bytes of {named} are not those that were saved.\n"
                "  Load another checkpoint of the run (`hypertuner show RUN` lists them).",
                path=path,
            )


def _bytes_of(index: Index, row: Any) -> object:
    """A tensor without the name of its storage: its view, and what the storage holds."""
    if row is None or row.storage is None:
        return row
    return row._replace(storage=None), index.storages[row.storage].xxh3
