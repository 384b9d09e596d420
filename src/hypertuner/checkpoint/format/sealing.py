"""Makes a torch file that was just written into a `hypertuner/1` file, and checks one.

Sealing appends the index as the archive's last member and sets the zip comment:

    hypertuner/1 xxh3-128=<32 hex> [mark=<64 hex> ]crc32=<8 hex>

The first hash covers every byte before the end record; the CRC covers the end record and the comment up to it. Both
have one spelling only, so every single bit of the file is under one of them. What torch wrote is not changed.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

import xxhash

from hypertuner.checkpoint.format import pickles, trust
from hypertuner.checkpoint.format.directory import (
    Directory,
    central_entry,
    damaged,
    end_64,
    end_record,
    local_header,
    read_at,
    read_directory,
)
from hypertuner.checkpoint.format.kinds import INDEX_MEMBER
from hypertuner.checkpoint.format.stubs import tensors_in
from hypertuner.checkpoint.format.table import FORMAT, Index, StorageRow, TensorRow, check, index_of, ties_of, to_json

_CHUNK_BYTES = 1024 * 1024
_COMMENT = re.compile(rb"hypertuner/1 xxh3-128=([0-9a-f]{32})(?: mark=([0-9a-f]{64}))? crc32=[0-9a-f]{8}\Z")


class Seal(NamedTuple):
    """What the comment of a sealed file says."""

    xxh3: str
    mark: str | None


def read_seal(comment: bytes) -> Seal | None:
    """The seal in a zip comment, or None where it is no seal."""
    match = _COMMENT.match(comment)
    return Seal(match[1].decode(), match[2].decode() if match[2] else None) if match else None


def sealed_tail(count: int, start: int, nbytes: int, seal: Seal) -> bytes:
    """The end record and comment, to the last bit, of a file with this directory and this seal."""
    marked = f" mark={seal.mark}" if seal.mark else ""
    comment = f"{FORMAT} xxh3-128={seal.xxh3}{marked} crc32=".encode()
    tail = end_record(count, start, nbytes, len(comment) + 8) + comment
    return tail + b"%08x" % zlib.crc32(tail)


def seal(file: BinaryIO, header: Mapping[str, Any], key: bytes | None = None) -> Index:
    """Append the index to a fresh torch file and seal it; returns the index. Reads the file through once.

    `file` is open for reading and writing at any position, and is left at its end; flushing and fsync are the
    caller's. `header` holds run, hyperparameters, metrics, parent, environment and recipe, as far as they are known,
    and whatever else is to be told. With `key` the file carries this user's mark.

    Raises: CorruptFileError where the file is not what torch.save writes; ValueError where it is sealed already or the
    index would be too large; TypeError where the header is not JSON-able. The file then is as it was.
    """
    where = str(getattr(file, "name", "the file"))
    directory = read_directory(file, where)
    hashes = Hashes(directory)
    central = read_at(file, directory.start, directory.nbytes, where)
    rest, index = ending(directory, central, hashes.whole, hashes.storages, header, key, _read)
    file.seek(directory.start)
    view = memoryview(rest)
    while view:  # an unbuffered file may take a part only
        view = view[file.write(view) :]
    return index


def ending(
    directory: Directory,
    central: bytes,
    whole: xxhash.xxh3_128,
    hashes: Mapping[str, str],
    header: Mapping[str, Any],
    key: bytes | None,
    root_of: Callable[[bytes, str], Any],
) -> tuple[bytes, Index]:
    """What makes a fresh torch file a sealed one, in the place of its directory `central` and of its end; its index.

    `whole` is the hash of all bytes before the directory; `hashes` are those of the storages, by key; `root_of` reads
    `data.pkl` without running it. Raises as `seal`.
    """
    where = directory.where
    if INDEX_MEMBER in directory.members or directory.comment:
        raise ValueError(f"{where} is sealed already")
    data_pkl = member(directory, "data.pkl")
    tensors = tensors_of(directory, root_of(data_pkl, where))
    index = index_of(
        header,
        tensors=tensors,
        storages=storages_of(directory, hashes),
        ties=ties_of(tensors.get("state_dict", {})),
        data_pkl_sha256=hashlib.sha256(data_pkl).hexdigest(),
    )
    check(index, where)
    text = to_json(index)

    name = f"{directory.prefix}/{INDEX_MEMBER}".encode()
    added = local_header(name, text) + text
    central += central_entry(name, text, directory.start)
    count, start = len(directory.members) + 1, directory.start + len(added)
    body = added + central + end_64(count, start, len(central))
    whole.update(body)
    mark = trust.mark_of(key, data_pkl, text) if key is not None else None
    return body + sealed_tail(count, start, len(central), Seal(whole.hexdigest(), mark)), index


class Hashes:
    """xxh3-128 of every storage, and of all bytes up to `end`, in one pass over the file."""

    def __init__(self, directory: Directory, end: int | None = None) -> None:
        self.whole = xxhash.xxh3_128()
        self.storages: dict[str, str] = {}
        end = directory.start if end is None else end
        spans = iter(sorted((*directory.locate(name), name.removeprefix("data/")) for name in storage_names(directory)))
        one = xxhash.xxh3_128()
        at = 0
        file = directory.file
        file.seek(0)
        begin, nbytes, key = next(spans, (end, 0, ""))
        while at < end:
            chunk = memoryview(file.read(min(_CHUNK_BYTES, end - at)))
            if not chunk:
                raise damaged(directory.where, f"it ends at byte {at:,}")
            self.whole.update(chunk)
            # Storages that end within the chunk, then the one that goes on.
            while begin < at + len(chunk) or (begin + nbytes <= at + len(chunk) and key):
                one.update(chunk[max(0, begin - at) : max(0, begin + nbytes - at)])
                if begin + nbytes > at + len(chunk):
                    break
                self.storages[key] = one.hexdigest()
                one = xxhash.xxh3_128()
                begin, nbytes, key = next(spans, (end, 0, ""))
            at += len(chunk)


def member(directory: Directory, name: str) -> bytes:
    """The bytes of a member that every torch file has.

    Raises: CorruptFileError where it is missing.
    """
    if name not in directory.members:
        raise damaged(directory.where, f"it has no member {name!r}, so it is not a file that torch.save wrote")
    return directory.read(name)


def storage_names(directory: Directory) -> Iterable[str]:
    """The members that hold storages, in the order in which they lie."""
    return (name for name in directory.members if name.startswith("data/") and name != "data/")


def storages_of(directory: Directory, hashes: Mapping[str, str] | None = None) -> dict[str, StorageRow]:
    """The storages of a file, by key."""
    found = {name.removeprefix("data/"): directory.locate(name) for name in storage_names(directory)}
    return {key: StorageRow(*place, hashes[key] if hashes else None) for key, place in found.items()}


def _read(data_pkl: bytes, where: str) -> Any:
    return pickles.read(data_pkl, where, most_operations=pickles.MOST_OPERATIONS_OF_OURS).root


def tensors_of(directory: Directory, root: Any) -> dict[str, dict[str, TensorRow]]:
    """The tensors that `data.pkl` describes, by part and name; `root` is what it makes."""
    tensors = tensors_in(root, directory.where)
    if "byteorder" in directory.members and directory.read("byteorder", 16) != b"little":
        # The bytes are not as this table says; torch swaps them.
        return {
            part: {name: row._replace(kind="other") for name, row in rows.items()} for part, rows in tensors.items()
        }
    return tensors
