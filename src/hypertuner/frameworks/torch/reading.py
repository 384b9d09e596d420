"""Tensors out of a checkpoint file, straight from its index; nothing is unpickled for strided tensors.

A storage's bytes are checked against their hash while they are read; torch.load never checks anything.
"""

from __future__ import annotations

import ctypes
import io
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import xxhash

from hypertuner.checkpoint.format.archive import Archive
from hypertuner.errors import CheckpointError, CorruptFileError, UnsafeFileError
from hypertuner.frameworks.torch.state import set_versions

_CHUNK = 16 << 20


class Tensors:
    """The tensors of one open file, each storage read once and shared by all that view it."""

    def __init__(self, archive: Archive, device: torch.device | str | None = None) -> None:
        self._archive = archive
        self._device = torch.device(device) if device is not None else torch.device("cpu")
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._document: dict[str, Any] | None = None
        if sys.byteorder != "little":
            raise CheckpointError("hypertuner reads files on little-endian machines only; this one is big-endian.")

    def part(self, part: str) -> OrderedDict[str, Any]:
        """All entries of a part ('state_dict', 'module_tensors') by name, in the file's order."""
        rows = self._archive.index.tensors.get(part, {})
        if part == "state_dict" and self._needs_torch():
            values = OrderedDict(self.document().get(part, {}))
        else:
            values = OrderedDict((name, self.tensor(part, name)) for name in rows)
        versions = self._archive.index.extra.get("state_versions")
        if part == "state_dict" and isinstance(versions, dict):
            set_versions(values, versions)
        return values

    @property
    def has_opaque(self) -> bool:
        """Whether the file holds values that safe defaults refuse."""
        return bool(self._archive.index.extra.get("state_odd"))

    def _needs_torch(self) -> bool:
        """Whether some entry is no strided tensor: then torch reads all, with its safe defaults."""
        index = self._archive.index
        rows = index.tensors.get("state_dict", {})
        return bool(index.extra.get("state_values")) or any(row.kind != "strided" for row in rows.values())

    def tensor(self, part: str, name: str) -> torch.Tensor:
        """One tensor. KeyError when the file has none of that name."""
        row = self._archive.index.tensors[part][name]
        if row.kind != "strided" or row.storage is None:
            value = self.document()[part][name]
            assert isinstance(value, torch.Tensor)
            return value
        dtype = getattr(torch, row.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise CheckpointError(
                f"{self._archive.path}: {name!r} has dtype {row.dtype}, which torch {torch.__version__} does not know."
            )
        empty = torch.empty(0, dtype=dtype, device=self._device)
        return empty.set_(self._storage(row.storage), row.offset, row.shape, row.stride)

    def _storage(self, key: str) -> torch.UntypedStorage:
        if key not in self._storages:
            self._storages[key] = self._read(key)
        return self._storages[key]

    def _read(self, key: str) -> torch.UntypedStorage:
        row = self._archive.index.storages[key]
        storage = torch.UntypedStorage(row.nbytes)  # type: ignore[no-untyped-call]  # untyped in torch
        if row.nbytes:
            view = memoryview((ctypes.c_char * row.nbytes).from_address(storage.data_ptr())).cast("B")
            digest = xxhash.xxh3_128()
            self._archive.file.seek(row.offset)
            done = 0
            while done < row.nbytes:
                got = self._archive.file.readinto(view[done : done + _CHUNK])
                if not got:
                    raise CorruptFileError(f"{self._archive.path} ends inside its weights.", path=self._archive.path)
                digest.update(view[done : done + got])
                done += got
            if row.xxh3 and digest.hexdigest() != row.xxh3:
                names = [
                    name
                    for rows in self._archive.index.tensors.values()
                    for name, tensor in rows.items()
                    if tensor.storage == key
                ]
                raise CorruptFileError(
                    f"{self._archive.path} is damaged: the bytes of {', '.join(names[:3]) or 'a tensor'} are not those "
                    "that were saved.\n  Load another checkpoint of the run (`hypertuner show RUN` lists them).",
                    path=self._archive.path,
                )
        return storage if self._device.type == "cpu" else storage.to(device=self._device)

    def document(self) -> dict[str, Any]:
        """The whole dict that torch.load gives, read with its safe defaults."""
        if self._document is None:
            self._document = _checked(load_safely(self._archive, self._device), self._archive)
        return self._document


def _checked(loaded: Any, archive: Archive) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise CorruptFileError(f"{archive.path} holds no dict.", path=archive.path)
    return loaded


class Mapped(Tensors):
    """The same, mapped from the file and not read: for who writes them somewhere else, and checks them there."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive)
        self._whole: Any = None  # torch says of what it maps only that it is some storage

    def _read(self, key: str) -> torch.UntypedStorage:
        row = self._archive.index.storages[key]
        if self._whole is None:
            self._whole = torch.UntypedStorage.from_file(str(self._archive.path), False, self._archive.nbytes)
        storage: torch.UntypedStorage = self._whole[row.offset : row.offset + row.nbytes]
        return storage

    def document(self) -> dict[str, Any]:
        """The whole dict that torch.load gives, read with its safe defaults."""
        if self._document is None:
            self._document = _checked(load_safely(self._archive, mmap=True), self._archive)
        return self._document


def check_device(device: torch.device | str) -> None:
    """Raises: CheckpointError when tensors cannot be placed on `device` here."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # an AssertionError where torch was built without CUDA
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            f"device={str(device)!r} cannot be used here: {reason}.\n"
            "  Leave device= out: the tensors are put on the CPU."
        ) from error


def load_safely(archive: Archive, device: torch.device | str | None = None, *, mmap: bool = False) -> Any:
    """What `torch.load(weights_only=True)` makes of an open file. UnsafeFileError for what it refuses.

    With `mmap` the tensors are mapped from the file that has its name now.
    """
    if archive.kind in (
        "torchscript",
        "pickle",
    ):  # code by their nature; torch would run the one, and not know the other
        raise refusal(archive.path, archive.globals)
    if archive.kind == "safetensors":
        return Tensors(archive, device).part("state_dict")
    archive.file.seek(0)
    try:
        source = archive.path if mmap else archive.file  # torch maps what has a name
        return torch.load(source, map_location=device or "cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise refusal(archive.path, archive.globals) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CorruptFileError(
            f"{archive.path} cannot be read as a torch file: {str(error).splitlines()[0]}", path=archive.path
        ) from error


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
