"""Writes a whole checkpoint file from front to back in one pass: each byte is hashed while it is at hand.

The layout comes first, from torch itself, as an `Image` with gaps; the bytes of the storages go where the gaps are.
What is written is what `torch.save` writes, but for its random serialization id and for our own last member and
comment. Needs only `write`: a pipe or an upload will do.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Protocol

import xxhash

from hypertuner.checkpoint.format import fresh
from hypertuner.checkpoint.format.directory import Directory, read_directory, with_crcs
from hypertuner.checkpoint.format.image import Image
from hypertuner.checkpoint.format.sealing import ending, storage_names
from hypertuner.checkpoint.format.table import Index
from hypertuner.errors import CorruptFileError

try:  # 8 GB/s a core, where zlib gives 2.5 to 4; the same value
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

_CHUNK_BYTES = 1024 * 1024  # stays in the processor's cache while three sums and the kernel read it
_GATHERED_BYTES = 1024 * 1024  # smaller pieces are written together
_SYNC_BYTES = 4 * 1024 * 1024  # the disk begins with that much while the next is made
_DESCRIPTOR = b"PK\x07\x08"


class LayoutError(Exception):
    """The image is not laid out as this writer knows it; nothing was written."""


class Output(Protocol):
    """A file that is written from front to back."""

    def write(self, data: memoryview | bytes, /) -> int:
        """Write all of it."""
        ...

    def reserve(self, nbytes: int) -> None:
        """Take room for that much."""
        ...

    def begin_sync(self, start: int, nbytes: int) -> None:
        """Let the disk begin with these bytes."""
        ...


def stream(
    output: Output,
    image: Image,
    payloads: Mapping[str, memoryview],
    header: Mapping[str, Any],
    key: bytes | None,
    where: str = "the file",
) -> Index:
    """Write `image` with the bytes of its storages, sealed as by `archive.seal`; returns the index.

    `payloads` are the bytes of each storage, by its key.
    Raises: LayoutError, before anything is written; what writing raises.
    """
    directory, spans = _checked(image, payloads, where)
    pen = _Pen(output)
    output.reserve(directory.start)
    crcs: dict[str, int] = {}
    hashes = {key: xxhash.xxh3_128().hexdigest() for key in payloads}
    at, crc = 0, None
    for start, name in spans:
        pen.write(_described(image.between(at, start), crc))
        data = payloads[name]
        hashes[name], crc = pen.payload(data)
        crcs[f"{directory.prefix}/data/{name}"] = crc
        at = start + data.nbytes
    pen.write(_described(image.between(at, directory.start), crc))
    central = with_crcs(image.between(directory.start, directory.start + directory.nbytes), crcs)
    rest, index = ending(directory, central, pen.whole, hashes, header, key, fresh.root_of)
    pen.finish(rest)
    return index


def _checked(image: Image, payloads: Mapping[str, memoryview], where: str) -> tuple[Directory, list[tuple[int, str]]]:
    """The directory, and (offset, key) of each storage that has bytes, in the order in which they lie."""
    try:
        directory = read_directory(image, where)  # type: ignore[arg-type]  # it reads and seeks: all that is asked
        places = {name.removeprefix("data/"): directory.locate(name) for name in storage_names(directory)}
    except CorruptFileError as error:
        raise LayoutError(str(error)) from error
    if {key: nbytes for key, (_, nbytes) in places.items()} != {key: data.nbytes for key, data in payloads.items()}:
        raise LayoutError("the file has other storages than the tensors")
    spans = sorted((offset, key) for key, (offset, nbytes) in places.items() if nbytes)
    if [(offset, payloads[key].nbytes) for offset, key in spans] != image.gaps:
        raise LayoutError("torch left out other bytes than those of the storages")
    for offset, key in spans:
        end = offset + payloads[key].nbytes
        if image.between(end, end + 8) != _DESCRIPTOR + bytes(4):
            raise LayoutError("a storage is not followed by its descriptor")
    return directory, spans


def _described(between: bytes, crc: int | None) -> bytes:
    """What stands between two storages, with the CRC of the first in the descriptor at its beginning."""
    return between if crc is None else between[:4] + struct.pack("<I", crc) + between[8:]


class _Pen:
    """Writes and hashes; small pieces are gathered."""

    def __init__(self, output: Output) -> None:
        self.whole = xxhash.xxh3_128()
        self._output = output
        self._gathered = bytearray()
        self._written = 0
        self._synced = 0

    def write(self, data: bytes | memoryview) -> None:
        self.whole.update(data)
        self._gathered += data
        if len(self._gathered) >= _GATHERED_BYTES:
            self._flush()

    def payload(self, data: memoryview) -> tuple[str, int]:
        """Write one storage; its xxh3-128 and its CRC."""
        own, crc = xxhash.xxh3_128(), 0
        for start in range(0, data.nbytes, _CHUNK_BYTES):
            chunk = data[start : start + _CHUNK_BYTES]
            own.update(chunk)
            crc = crc32(chunk, crc)
            if chunk.nbytes < _CHUNK_BYTES:
                self.write(chunk)
                continue
            self.whole.update(chunk)
            self._flush()
            self._put(chunk)
        return own.hexdigest(), crc

    def finish(self, rest: bytes) -> None:
        """Write the end, whose bytes are hashed already."""
        self._gathered += rest
        self._flush()

    def _flush(self) -> None:
        if self._gathered:
            self._put(self._gathered)
            self._gathered = bytearray()

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:  # an unbuffered file may take a part only
            taken = self._output.write(view)
            self._written += taken
            view = view[taken:]
        if self._written - self._synced >= _SYNC_BYTES:
            self._output.begin_sync(self._synced, self._written - self._synced)
            self._synced = self._written
