"""The bytes of a file's storages as memory of torch's: mapped out of the file, or read from it.

Each storage is a storage of torch's own, exactly as long as it was saved, so that saving it again drags nothing along.
Both outlive the close of the file, and the removal of its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch

from hypertuner.checkpoint.format.table import StorageRow
from hypertuner.errors import CheckpointError, CorruptFileError, first_line
from hypertuner.frameworks import mounts

_PIECE_BYTES = 16 << 20
_PARALLEL_FROM_BYTES = 64 << 20
_THREADS = 4  # two fill a laptop's memory; over a network each waits for its own answers


class Storages(Protocol):
    """Where the bytes come from."""

    def fetch(self, rows: Iterable[StorageRow]) -> None:
        """Have these ready: they are about to be asked for."""
        ...

    def flat(self, row: StorageRow, dtype: torch.dtype) -> torch.Tensor:
        """A storage as a tensor of one dimension, on the CPU; asked for once."""
        ...

    def view(
        self, row: StorageRow, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
    ) -> torch.Tensor | None:
        """The one tensor in a storage, where it can be had without more; else None."""
        ...


def open_storages(file: io.FileIO, path: Path, *, pin_memory: bool = False) -> Storages:
    """The storages of an open file, in the way that suits the place where it lies."""
    if not pin_memory and mounts.is_mapped(file.fileno(), path):
        # Where no map can be had (no address space, a file system without maps) the file is read.
        with contextlib.suppress(OSError, ValueError):
            return Mapped(file, path)
    return Read(file, path, pin_memory=pin_memory)


class Mapped:
    """One private map of the whole file: a page is read when it is looked at; what is written stays in memory."""

    def __init__(self, file: io.FileIO, path: Path) -> None:
        how: dict[str, Any] = {"access": mmap.ACCESS_COPY}
        if sys.platform != "win32":
            # Not reserved: a model larger than the memory may be looked at in parts.
            how = {"flags": mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)}
            how["prot"] = mmap.PROT_READ | mmap.PROT_WRITE
            if sys.version_info >= (3, 13):
                how["trackfd"] = False  # or each map would hold a descriptor
        self._map = mmap.mmap(file.fileno(), 0, **how)
        self._file, self._path = file, path

    def fetch(self, rows: Iterable[StorageRow]) -> None:
        """Nothing: a page comes when it is looked at."""

    def flat(self, row: StorageRow, dtype: torch.dtype) -> torch.Tensor:
        """A view of the map. What does not lie as its type asks (other programs' files) is read."""
        offset, nbytes, _ = row
        size = dtype.itemsize
        if not nbytes:
            return torch.empty(0, dtype=dtype)
        if offset % size:
            return Read(self._file, self._path).flat(row, dtype)
        if nbytes % size:
            dtype, size = torch.uint8, 1
        return torch.frombuffer(self._map, dtype=dtype, count=nbytes // size, offset=offset)

    def view(
        self, row: StorageRow, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
    ) -> torch.Tensor | None:
        """Its bytes in the map, in this shape."""
        start, nbytes, _ = row
        count, odd = divmod(nbytes, dtype.itemsize)
        if odd or not count or start % dtype.itemsize:
            return None
        flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=start)
        if shape == (count,) and stride == (1,):  # it lies so already, as half of a model's tensors do
            return flat
        return flat.as_strided_(shape, stride, offset) if offset else flat.as_strided_(shape, stride)


class Read:
    """Memory of its own for each storage, filled by reads of many MB, several at once where there is much to read."""

    def __init__(self, file: io.FileIO, path: Path, *, pin_memory: bool = False) -> None:
        self._file, self._path = file, path
        self._pin_memory = pin_memory
        self._ready: dict[int, torch.Tensor] = {}

    def fetch(self, rows: Iterable[StorageRow]) -> None:
        """Read these. CorruptFileError where the file ends before they do."""
        pieces: list[tuple[memoryview, int]] = []
        for row in rows:
            if row.nbytes and row.offset not in self._ready:
                memory = self._ready[row.offset] = self._memory(row.nbytes)
                view = bytes_of(memory.untyped_storage())
                pieces += [(view[at : at + _PIECE_BYTES], row.offset + at) for at in range(0, row.nbytes, _PIECE_BYTES)]
        if hasattr(os, "preadv") and sum(len(view) for view, _ in pieces) >= _PARALLEL_FROM_BYTES:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="hypertuner-read") as pool:
                for _ in pool.map(self._fill, pieces):
                    pass
        else:
            for piece in pieces:
                self._fill(piece)

    def flat(self, row: StorageRow, dtype: torch.dtype) -> torch.Tensor:
        """Its bytes, in memory of their own."""
        if not row.nbytes:
            return torch.empty(0, dtype=dtype)
        self.fetch([row])
        memory = self._ready.pop(row.offset)
        return memory if row.nbytes % dtype.itemsize else memory.view(dtype)

    def view(
        self, row: StorageRow, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
    ) -> torch.Tensor | None:
        """Its bytes in memory of their own, in this shape."""
        flat = self.flat(row, dtype)
        return flat.as_strided_(shape, stride, offset) if flat.dtype is dtype else None

    def _memory(self, nbytes: int) -> torch.Tensor:
        try:
            return torch.empty(nbytes, dtype=torch.uint8, pin_memory=self._pin_memory)
        except RuntimeError as error:
            if not self._pin_memory:
                raise
            raise CheckpointError(
                f"pin_memory=True cannot be had here: {first_line(error)}.\n"
                "  Leave it out: ordinary memory holds the tensors."
            ) from error

    def _fill(self, piece: tuple[memoryview, int]) -> None:
        view, offset = piece
        while view:
            if hasattr(os, "preadv"):
                got = os.preadv(self._file.fileno(), [view], offset)
            else:
                self._file.seek(offset)
                got = self._file.readinto(view) or 0
            if not got:
                raise CorruptFileError(f"{self._path} ends inside its weights.", path=self._path)
            view, offset = view[got:], offset + got


def bytes_of(storage: torch.UntypedStorage) -> memoryview:
    """The bytes of a storage on the CPU, not copied: to be read or written, and gone when it is."""
    nbytes = storage.nbytes()
    if not nbytes:
        return memoryview(b"")
    return memoryview((ctypes.c_char * nbytes).from_address(storage.data_ptr())).cast("B")
