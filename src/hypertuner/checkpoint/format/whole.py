"""Whether a file is, to the last bit, what was written: the hashes and sums that it records, computed again."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import xxhash

from hypertuner.checkpoint.format.directory import Directory, damaged
from hypertuner.checkpoint.format.pickles import SymbolicPickle
from hypertuner.checkpoint.format.sealing import Hashes, Seal, read_seal, sealed_tail, tensors_of
from hypertuner.checkpoint.format.table import Index, ties_of

_CHUNK_BYTES = 256 * 1024  # what was read is still in the processor's cache when it is hashed


def is_as_sealed(directory: Directory) -> bool:
    """Whether a sealed file has the hash that its seal records, in one pass over it.

    Raises: CorruptFileError where the end is damaged, or missing.
    """
    sealed = _seal_of(directory)
    found = xxhash.xxh3_128()
    for chunk in _chunks(directory.file, 0, directory.end, directory.where):
        found.update(chunk)
    return found.hexdigest() == sealed.xxh3


def check_all(directory: Directory, index: Index, pickle: SymbolicPickle, data_pkl_sha256: str) -> None:
    """Find what in a sealed file is not as it was written, or contradicts itself.

    Raises: CorruptFileError that names the tensors or the member.
    """
    where = directory.where
    sealed = _seal_of(directory)
    hashes = Hashes(directory, directory.end)
    for key, row in index.storages.items():
        if hashes.storages[key] != row.xxh3:
            raise damaged(where, f"the bytes of {_owners(index, key)} (member 'data/{key}') are not what was written")
    if hashes.whole.hexdigest() != sealed.xxh3:
        _find_damage(directory)
    for key, row in index.storages.items():
        if directory.locate(f"data/{key}") != row[:2]:
            raise damaged(where, f"its index and its directory disagree about storage {key!r}")
    if data_pkl_sha256 != index.data_pkl_sha256:
        raise damaged(where, "its index belongs to another data.pkl")
    if tensors_of(directory, pickle.root) != index.tensors or ties_of(index.state_dict) != index.ties:
        raise damaged(where, "its index and its data.pkl describe different tensors")


def check_members(directory: Directory, index: Index, kind: str) -> str:
    """Compare the members of another program's archive with their CRCs: 'crc32', or 'structure' where it has none.

    Raises: CorruptFileError that names the member.
    """
    wrong: list[str] = []
    recorded = 0
    for name, entry in directory.members.items():
        if kind == "torchscript" and entry.method != 0:
            continue
        crc = 0
        for chunk in _chunks(directory.file, *directory.locate(name), directory.where):
            crc = zlib.crc32(chunk, crc)
        recorded += entry.crc32 != 0
        if crc != entry.crc32:
            wrong.append(name)
    if wrong and recorded:
        name = wrong[0]
        whose = f" ({_owners(index, name.removeprefix('data/'))})" if name.startswith("data/") else ""
        raise damaged(directory.where, f"the bytes of its member {name!r}{whose} are not what was written")
    return "crc32" if recorded else "structure"


def _chunks(file: BinaryIO, offset: int, nbytes: int, where: str) -> Iterator[memoryview]:
    """The bytes from `offset`; each chunk is good until the next is asked for."""
    assert isinstance(file, io.FileIO)
    chunk = memoryview(bytearray(min(nbytes, _CHUNK_BYTES)))
    file.seek(offset)
    while nbytes:
        got = file.readinto(chunk[: min(nbytes, _CHUNK_BYTES)])
        if not got:
            raise damaged(where, f"it ends {nbytes:,} bytes too early")
        yield chunk[:got]
        nbytes -= got


def _seal_of(directory: Directory) -> Seal:
    sealed = read_seal(directory.comment)
    if sealed is None:
        raise damaged(directory.where, "its seal, the zip comment, is missing or unreadable")
    if directory.tail != sealed_tail(len(directory.members), directory.start, directory.nbytes, sealed):
        raise damaged(directory.where, "its end record or its seal is not what was written")
    return sealed


def _find_damage(directory: Directory) -> None:
    for name in directory.members:
        if not name.startswith("data/"):
            directory.read(name)  # raises with the member's name
    raise damaged(directory.where, "bytes between its members, or of its directory, are not what was written")


def _owners(index: Index, key: str) -> str:
    names = [name for rows in index.tensors.values() for name, row in rows.items() if row.storage == key]
    shown = ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"tensor {shown}" if names else "a tensor"
