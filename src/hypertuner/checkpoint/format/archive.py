"""One checkpoint file, open for reading: what it is, its index, its members, and whether all of it is whole.

Nothing in a file is run, imported or believed unchecked, and torch is not needed. One descriptor is held: what was
checked is what is read, also when the name has meanwhile come to mean another file.
"""

from __future__ import annotations

import hashlib
import io
import time
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

from hypertuner.checkpoint.format import foreign, pickles, trust
from hypertuner.checkpoint.format.directory import Directory, damaged
from hypertuner.checkpoint.format.kinds import (
    INDEX_MEMBER,
    READABLE,
    kind_of,
    recognise,
    refusal,
    refuse_zip,
)
from hypertuner.checkpoint.format.pickles import SymbolicPickle
from hypertuner.checkpoint.format.sealing import (
    Hashes,
    Seal,
    member,
    read_seal,
    seal,
    sealed_tail,
    storage_names,
    storages_of,
    tensors_of,
)
from hypertuner.checkpoint.format.table import (
    FORMAT,
    MOST_BYTES,
    Index,
    StorageRow,
    TensorRow,
    check,
    from_json,
    newer,
    ties_of,
)
from hypertuner.errors import CorruptFileError
from hypertuner.opening import open_regular

__all__ = [
    "Archive",
    "Index",
    "StorageRow",
    "SymbolicPickle",
    "TensorRow",
    "Verified",
    "inspect",
    "kind_of",
    "open_model",
    "seal",
    "verify",
]

_CHUNK_BYTES = 1024 * 1024


class Archive:
    """A torch file that is open; use `with Archive.open(path) as archive`."""

    def __init__(self, file: io.FileIO, path: Path, kind: str, directory: Directory) -> None:
        self.file = file  # the one descriptor, unbuffered; seek before every read
        self.path = path
        self.kind = kind
        self._directory = directory

    @classmethod
    def open(cls, path: Path | str) -> Archive:
        """Open a torch file ('hypertuner/1', 'torch', 'torchscript'), hypertuner's own or another's.

        Raises: CorruptFileError, with what the file is instead and what to do; OSError where it cannot be opened.
        """
        file = open_regular(path)
        try:
            kind, directory = recognise(file, str(path))
            if directory is not None:
                return cls(file, Path(path), kind, directory)
            if kind == "zip":
                raise refuse_zip(file, str(path))
            if kind in READABLE:
                raise CorruptFileError(
                    f"{path} is a {kind} file, not one of torch's archives.\n"
                    f"  hypertuner show {path}   tells what it holds.",
                    path=Path(path),
                )
            raise refusal(kind, str(path))
        except (CorruptFileError, OSError):
            file.close()
            raise

    def close(self) -> None:
        """Close the file; what was read stays valid."""
        self.file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members, without the archive's own folder, in the order in which they lie."""
        return tuple(self._directory.members)

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self._directory.file_nbytes

    def read(self, name: str) -> bytes:
        """The bytes of a member, checked against its CRC.

        Raises: KeyError where there is no such member; CorruptFileError.
        """
        return self._directory.read(name)

    def storage(self, key: str) -> tuple[int, int]:
        """(offset, length) in `file` of the bytes of a storage.

        Raises: KeyError where there is no such storage; CorruptFileError where the file contradicts itself.
        """
        place = self._directory.locate(f"data/{key}")
        if self.kind == FORMAT and self.index.storages[key][:2] != place:
            raise self._damaged(f"its index and its directory disagree about storage {key!r}")
        return place

    @cached_property
    def index(self) -> Index:
        """The checked index; of another program's file, what its pickle and its directory say.

        Raises: CorruptFileError, also where a newer hypertuner made the file.
        """
        if self.kind == FORMAT:
            return self._own_index()
        if self.kind.startswith("hypertuner/"):
            raise CorruptFileError(newer(str(self.path), self.kind), path=self.path)
        pickle = self.pickle()
        tensors = tensors_of(self._directory, pickle)
        index = Index(
            format=self.kind,
            tensors=tensors,
            storages=storages_of(self._directory),
            ties=ties_of(tensors.get("state_dict", {})),
            data_pkl_sha256=self.data_pkl_sha256(),
            extra={"globals": list(pickle.globals)},
        )
        check(index, str(self.path))
        return index

    def pickle(self) -> SymbolicPickle:
        """`data.pkl`, read without running it.

        Raises: CorruptFileError, for another program's file also where it would take more than a short while.
        """
        most = pickles.MOST_OPERATIONS_OF_OURS if self.kind == FORMAT else pickles.MOST_OPERATIONS
        return pickles.read(self._data_pkl, str(self.path), most_operations=most)

    @property
    def globals(self) -> tuple[str, ...]:
        """What unpickling `data.pkl` would import."""
        return self.pickle().globals

    def data_pkl_sha256(self) -> str:
        """SHA-256 of the bytes of `data.pkl` as they are (the index says what they were)."""
        return hashlib.sha256(self._data_pkl).hexdigest()

    @property
    def mark(self) -> str | None:
        """The mark that somebody's key left on the file, unchecked; None where there is none."""
        found = read_seal(self._directory.comment)
        return found.mark if found else None

    @property
    def file_hash(self) -> str | None:
        """The recorded xxh3-128 of the file's bytes before its end record; None in another program's file."""
        found = read_seal(self._directory.comment)
        return found.xxh3 if found else None

    def is_marked_by(self, key: bytes) -> bool:
        """Whether the holder of `key` vouched for the code in this file, as it is now.

        What was checked is kept: `pickle()` and `index` afterwards speak of the same bytes, even if the file changes.
        """
        if self.kind != FORMAT or self.mark is None:
            return False
        return trust.is_mark(self.mark, key, self._data_pkl, self._index_bytes)

    def mark_by(self, key: bytes) -> str:
        """The mark that `key` leaves on this file, as it is now, whether it carries it or not.

        What was read for it is kept, as by `is_marked_by`. Raises: CorruptFileError where it is none of hypertuner's.
        """
        if self.kind != FORMAT:
            raise CorruptFileError(f"{self.path} is a {self.kind} file, not one that hypertuner saved.", path=self.path)
        return trust.mark_of(key, self._data_pkl, self._index_bytes)

    @cached_property
    def _data_pkl(self) -> bytes:
        return member(self._directory, "data.pkl")

    @cached_property
    def _index_bytes(self) -> bytes:
        return self._directory.read(INDEX_MEMBER, MOST_BYTES)

    def _own_index(self) -> Index:
        index = from_json(self._index_bytes, str(self.path))
        names = set(storage_names(self._directory))
        if names != {f"data/{key}" for key in index.storages}:
            raise self._damaged("its index names other storages than its directory")
        # The members' own headers are left alone until a storage is asked for: reading each would touch the whole of
        # a large file. The directory alone proves that no storage can reach into another or out of the file.
        for key, row in index.storages.items():
            entry = self._directory.members[f"data/{key}"]
            if row.nbytes != entry.nbytes or row.offset < entry.start + 30 or row.offset + row.nbytes > entry.limit:
                raise self._damaged(f"its index and its directory disagree about storage {key!r}")
        return index

    def _damaged(self, what: str) -> CorruptFileError:
        return damaged(str(self.path), what)


class Loose(Archive):
    """A model file that is no zip archive: safetensors, torch's format from before 1.6, or a bare pickle."""

    def __init__(self, file: io.FileIO, path: Path, kind: str) -> None:
        self.file = file
        self.path = path
        self.kind = kind

    @cached_property
    def index(self) -> Index:
        """The tensors of a safetensors file; of a pickle, what can be told without running it."""
        if self.kind == "safetensors":
            return foreign.index_of_safetensors(self.file, str(self.path))
        return foreign.index_of_pickle(self.file, str(self.path), self.kind)

    @property
    def globals(self) -> tuple[str, ...]:
        """What unpickling it would import; () for safetensors, which holds no code."""
        return tuple(self.index.extra.get("globals", ()))

    @property
    def mark(self) -> str | None:
        """None: nobody marks these."""
        return None

    @property
    def file_hash(self) -> str | None:
        """None: it records none."""
        return None


def open_model(path: Path | str) -> Archive:
    """Open a model file of any kind that can be read: torch's archives, and `Loose` ones.

    Raises: CorruptFileError, with what the file is instead and what to do; OSError where it cannot be opened.
    """
    file = open_regular(path)
    try:
        kind, _ = recognise(file, str(path))
        if kind in READABLE and kind in ("safetensors", "torch-legacy", "pickle"):
            return Loose(file, Path(path), kind)
    except (CorruptFileError, OSError):
        file.close()
        raise
    file.close()
    return Archive.open(path)


def inspect(path: Path | str) -> Index:
    """What a model file says of itself, without torch and without reading the weights.

    Of hypertuner's files, everything; of another's torch, safetensors or pickle file, the tensors and, in
    `extra["globals"]`, what unpickling it would import.

    Raises: CorruptFileError where the file is damaged or no model; OSError where it cannot be opened.
    """
    with open_model(path) as archive:
        return archive.index


@dataclass(frozen=True)
class Verified:
    """What `verify` found whole, and how much that says."""

    path: Path
    nbytes: int
    tensors: int
    seconds: float
    format: str
    level: str  # 'every bit' (ours) · 'crc32' (each member's bytes) · 'structure' (no checksums in the file)


def verify(path: Path | str) -> Verified:
    """Read the whole file and find out whether it is as it was written.

    In a hypertuner file every changed bit is found. Other files are checked as far as they can be: `level` says how.

    Raises: CorruptFileError that names the member, and the tensors whose bytes are not what they were.
    """
    began = time.perf_counter()
    if kind_of(path) in ("safetensors", "pickle", "torch-legacy"):
        index, level, nbytes = inspect(path), "structure", Path(path).stat().st_size
    else:
        with Archive.open(path) as archive:
            level = _verify_own(archive) if archive.kind == FORMAT else _verify_torch(archive)
            index, nbytes = archive.index, archive.nbytes
    tensors = sum(map(len, index.tensors.values()))
    return Verified(Path(path), nbytes, tensors, time.perf_counter() - began, index.format, level)


def _verify_own(archive: Archive) -> str:
    directory, index, where = archive._directory, archive.index, str(archive.path)
    sealed = read_seal(directory.comment)
    if sealed is None:
        raise damaged(where, "its seal, the zip comment, is missing or unreadable")
    if directory.tail != sealed_tail(len(directory.members), directory.start, directory.nbytes, sealed):
        raise damaged(where, "its end record or its seal is not what was written")
    hashes = Hashes(directory, directory.end)
    for key, row in index.storages.items():
        if hashes.storages[key] != row.xxh3:
            raise damaged(where, f"the bytes of {_owners(index, key)} (member 'data/{key}') are not what was written")
    if hashes.whole.hexdigest() != sealed.xxh3:
        _find_damage(directory, sealed)
    for key in index.storages:
        archive.storage(key)
    if archive.data_pkl_sha256() != index.data_pkl_sha256:
        raise damaged(where, "its index belongs to another data.pkl")
    if tensors_of(directory, archive.pickle()) != index.tensors or ties_of(index.state_dict) != index.ties:
        raise damaged(where, "its index and its data.pkl describe different tensors")
    return "every bit"


def _find_damage(directory: Directory, sealed: Seal) -> None:
    for name in directory.members:
        if not name.startswith("data/"):
            directory.read(name)  # raises with the member's name
    raise damaged(directory.where, "bytes between its members, or of its directory, are not what was written")


def _owners(index: Index, key: str) -> str:
    names = [name for rows in index.tensors.values() for name, row in rows.items() if row.storage == key]
    shown = ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"tensor {shown}" if names else "a tensor"


def _verify_torch(archive: Archive) -> str:
    directory, where = archive._directory, str(archive.path)
    index = archive.index
    wrong: list[str] = []
    recorded = 0
    for name, entry in directory.members.items():
        if archive.kind == "torchscript" and entry.method != 0:
            continue
        offset, left = directory.locate(name)
        archive.file.seek(offset)
        crc = 0
        while left:
            chunk = archive.file.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise damaged(where, f"it ends within its member {name!r}")
            crc = zlib.crc32(chunk, crc)
            left -= len(chunk)
        recorded += entry.crc32 != 0
        if crc != entry.crc32:
            wrong.append(name)
    if wrong and recorded:
        name = wrong[0]
        whose = f" ({_owners(index, name.removeprefix('data/'))})" if name.startswith("data/") else ""
        raise damaged(where, f"the bytes of its member {name!r}{whose} are not what was written")
    return "crc32" if recorded else "structure"
