"""Tensors out of a checkpoint file, straight from its index; nothing is unpickled for strided tensors.

A tensor is made when it is asked for, of bytes that are mapped, or read, then. With `hashed` they are compared with
their hash first; torch.load never checks anything.
"""

from __future__ import annotations

import copy
import io
import pickle
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Set
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
import xxhash

from hypertuner.checkpoint.format import collecting
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.format.table import Index, StorageRow
from hypertuner.errors import CheckpointError, CorruptFileError, UnsafeFileError, first_line
from hypertuner.frameworks import mounts
from hypertuner.frameworks.torch.state import set_versions
from hypertuner.frameworks.torch.storages import Storages, bytes_of, open_storages


class Tensors:
    """The tensors of one open file, each storage made once and shared by all that view it."""

    def __init__(
        self,
        archive: Archive,
        device: torch.device | str | None = None,
        *,
        hashed: bool = False,
        pin_memory: bool = False,
    ) -> None:
        self._archive = archive
        self._device = torch.device(device) if device is not None else torch.device("cpu")
        self._hashed = hashed
        self._pin_memory = pin_memory
        self._is_plain = self._device.type == "cpu" and not hashed
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._document: dict[str, Any] | None = None
        if sys.byteorder != "little":
            raise CheckpointError("hypertuner reads files on little-endian machines only; this one is big-endian.")

    def looks(self, part: str) -> Mapping[str, Any]:
        """What is in a part ('state_dict', 'module_tensors') by name, in the file's order, its bytes unread.

        A row of the index for each tensor; where torch must read the part, what it read.
        """
        if part == "state_dict" and self._needs_torch:
            found: Mapping[str, Any] = self.document().get(part, {})
            return found
        return self._index.tensors.get(part, {})

    def part(self, part: str, names: Iterable[str] | None = None) -> OrderedDict[str, Any]:
        """The entries of a part by name, in the file's order, or those of these names."""
        if part == "state_dict" and self._needs_torch:
            whole = self.document().get(part, {})
            values = OrderedDict((name, whole[name]) for name in (whole if names is None else names))
        else:
            wanted = list(self._index.tensors.get(part, {}) if names is None else names)
            self.fetch(part, wanted)
            values = self._many(part, wanted)
        versions = self._index.extra.get("state_versions")
        if part == "state_dict" and isinstance(versions, dict):
            set_versions(values, versions)
        return values

    def fetch(self, part: str, names: Iterable[str] | None = None) -> None:
        """Have the bytes of these ready, all of them at once where that is quicker."""
        index = self._index
        rows = index.tensors.get(part, {})
        keys = (rows[name].storage for name in (rows if names is None else names))
        # Asked for below whatever is there already: a map has nothing to do.
        self._source.fetch(index.storages[key] for key in keys if key is not None and key not in self._storages)

    @property
    def has_opaque(self) -> bool:
        """Whether the file holds values that safe defaults refuse."""
        return bool(self._index.extra.get("state_odd"))

    @cached_property
    def _needs_torch(self) -> bool:
        """Whether some entry is no strided tensor: then torch reads all, with its safe defaults."""
        index = self._index
        rows = index.tensors.get("state_dict", {})
        return bool(index.extra.get("state_values")) or not set(map(itemgetter(0), rows.values())) <= {"strided"}

    def tensor(self, part: str, name: str) -> torch.Tensor:
        """One tensor. KeyError when the file has none of that name."""
        index = self._index
        kind, key, type_name, shape, stride, offset = index.tensors[part][name]
        if kind != "strided" or key is None:
            value = self.document()[part][name]
            assert isinstance(value, torch.Tensor)
            return value
        dtype = self._dtypes.get(type_name) or self._dtype(type_name, name)
        storage = self._storages.get(key)
        if storage is None:
            row = index.storages[key]
            flat = self._source.flat(row, dtype)
            if self._hashed:
                self._check(key, row, flat)
            storage = (flat if self._device.type == "cpu" else flat.to(self._device)).untyped_storage()
            self._storages[key] = storage
        return torch.empty(0, dtype=dtype, device=self._device).set_(storage, offset, shape, stride)

    @collecting.paused()
    def _many(self, part: str, names: list[str]) -> OrderedDict[str, Any]:
        """Many tensors: those alone in their storages, as most are, with as little as can be done for each."""
        rows, storages, dtypes = self._index.tensors.get(part, {}), self._index.storages, self._dtypes
        view_of = self._source.view
        made: OrderedDict[str, Any] = OrderedDict()  # not `OrderedDict[…]()`: that leaves its type in the dict
        shared = self._shared if self._is_plain else storages.keys()
        for name in names:
            kind, key, type_name, shape, stride, offset = rows[name]
            if kind == "strided" and key is not None and key not in shared:
                dtype = dtypes.get(type_name) or self._dtype(type_name, name)
                tensor = view_of(storages[key], dtype, shape, stride, offset)
                if tensor is not None:
                    made[name] = tensor
                    continue
            made[name] = self.tensor(part, name)
        return made

    @cached_property
    def _shared(self) -> Set[str | None]:
        """The storages that several tensors view: kept, so that all of them get the same."""
        keys = [row[1] for rows in self._index.tensors.values() for row in rows.values()]
        return {key for key, count in Counter(keys).items() if count > 1} if len(set(keys)) < len(keys) else set()

    def _dtype(self, type_name: str, name: str) -> torch.dtype:
        dtype = getattr(torch, type_name, None)
        if not isinstance(dtype, torch.dtype):
            raise CheckpointError(
                f"{self._archive.path}: {name!r} has dtype {type_name}, which torch {torch.__version__} does not know."
            )
        self._dtypes[type_name] = dtype
        return dtype

    @cached_property
    def _index(self) -> Index:
        return self._archive.index

    @cached_property
    def _source(self) -> Storages:
        return open_storages(self._archive.file, self._archive.path, pin_memory=self._pin_memory)

    def _check(self, key: str, row: StorageRow, flat: torch.Tensor) -> None:
        if row.xxh3 and xxhash.xxh3_128_hexdigest(bytes_of(flat.untyped_storage())) != row.xxh3:
            parts = self._index.tensors.values()
            names = [name for rows in parts for name, tensor in rows.items() if tensor.storage == key]
            raise CorruptFileError(
                f"{self._archive.path} is damaged: the bytes of {', '.join(names[:3]) or 'a tensor'} are not those "
                "that were saved.\n  Load another checkpoint of the run (`hypertuner show RUN` lists them).",
                path=self._archive.path,
            )

    def document(self) -> dict[str, Any]:
        """The whole dict that torch.load gives, read with its safe defaults."""
        if self._document is None:
            if self._hashed:  # torch reads what it likes: all of it is checked
                self._archive.check_whole()
            elif not self._archive.lenient:
                self._archive.check_data_pkl()
            loaded = load_safely(self._archive, self._device)
            if not isinstance(loaded, dict):
                raise CorruptFileError(f"{self._archive.path} holds no dict.", path=self._archive.path)
            self._document = loaded
        return self._document


def check_device(device: torch.device | str) -> None:
    """Raises: CheckpointError when tensors cannot be placed on `device` here."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # an AssertionError where torch was built without CUDA
        raise CheckpointError(
            f"device={str(device)!r} cannot be used here: {first_line(error)}.\n"
            "  Leave device= out: the tensors are put on the CPU."
        ) from error


def load_safely(archive: Archive, device: torch.device | str | None = None) -> Any:
    """What `torch.load(weights_only=True)` makes of an open file. UnsafeFileError for what it refuses."""
    if archive.kind in (
        "torchscript",
        "pickle",
    ):  # code by their nature; torch would run the one, and not know the other
        raise refusal(archive.path, archive.globals)
    if archive.kind == "safetensors":
        return Tensors(archive, device).part("state_dict")
    archive.file.seek(0)
    name = _name_to_map(archive)
    try:
        if name is not None:
            return torch.load(name, map_location=device or "cpu", weights_only=True, mmap=True)
        return torch.load(archive.file, map_location=device or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refusal(archive.path, archive.globals) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CorruptFileError(
            f"{archive.path} cannot be read as a torch file: {first_line(error)}", path=archive.path
        ) from error


def _name_to_map(archive: Archive) -> str | None:
    """A name by which torch can map the file that is open, whatever its own name means by now; None to read it."""
    if archive.kind == "torch-legacy" or not mounts.is_mapped(archive.file.fileno(), archive.path):
        return None
    name = f"/proc/self/fd/{archive.file.fileno()}"
    return name if Path(name).exists() else None


def in_own_memory(archive: Archive, values: Any) -> Any:
    """What `load_safely` gave, independent of the file: what is trained on is not read from a map at the first step."""
    return values if _name_to_map(archive) is None else copy.deepcopy(values)


def refusal(path: Path, names: tuple[str, ...]) -> UnsafeFileError:
    """The refusal of a file that holds objects, with what it would import."""
    listed = "\n".join(f"    {name}" for name in names[:20])
    more = f"\n    … and {len(names) - 20} more" if len(names) > 20 else ""
    return UnsafeFileError(
        f"{path} holds whole Python objects, and reading them runs code.\n"
        f"  It would import:\n{listed}{more}\n"
        f"  If you know who made it: hypertuner.load({str(path)!r}, trust=True).",
        path=path,
        globals=names,
    )


def load_objects(archive: Archive, device: torch.device | str | None = None) -> Any:
    """What the pickle in a foreign file makes, whatever it runs: only when the user said `trust=True`."""
    archive.file.seek(0)
    try:
        if archive.kind == "torchscript":
            return torch.jit.load(archive.file, map_location=device or "cpu")  # type: ignore[no-untyped-call]
        if archive.kind == "pickle":  # written by pickle.dump: torch knows it not
            return pickle.load(io.BufferedReader(archive.file))  # noqa: S301  # as the user asked
        return torch.load(archive.file, map_location=device or "cpu", weights_only=False)
    except AttributeError as error:
        raise CheckpointError(
            f"{archive.path} holds an object whose class is not where it was: {error}.\n"
            "  Load it in a program that defines that class in the same module, or read only its weights there."
        ) from error
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{archive.path} needs a module that is not here: {error}.\n  Run from the folder that has it."
        ) from error
