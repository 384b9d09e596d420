"""One checkpoint file, open for reading: what it is, its index, its members, and whether all of it is whole.

Nothing in a file is run, imported or believed unchecked, and torch is not needed. One descriptor is held: what was
checked is what is read, also when the name has meanwhile come to mean another file.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal

from hypertuner.checkpoint.format import collecting, foreign, pickles, trust, whole
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
    member,
    read_seal,
    seal,
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
    "Verify",
    "inspect",
    "kind_of",
    "open_model",
    "seal",
    "verify",
]

Verify = Literal["index", "full", "none"]
"""How much of a file is checked before its weights are used; `hypertuner.load` says what each level promises."""


class Archive:
    """A torch file that is open; use `with Archive.open(path) as archive`."""

    lenient = False
    """Whether the index is believed though the file contradicts it, as far as memory stays safe: for damaged files."""

    def __init__(self, file: io.FileIO, path: Path, kind: str, directory: Directory) -> None:
        self.file = file  # the one descriptor, unbuffered; seek before every read
        self.path = path
        self.kind = kind
        self.directory = directory

    @classmethod
    def open(cls, path: Path | str) -> Archive:
        """Open a torch file ('hypertuner/1', 'torch', 'torchscript'), hypertuner's own or another's.

        Raises: CorruptFileError, with what the file is instead and what to do; OSError where it cannot be opened.
        """
        return cls._of(open_regular(path), path)

    @classmethod
    def _of(cls, file: io.FileIO, path: Path | str, *, loose: bool = False) -> Archive:
        try:
            with collecting.paused():
                kind, directory = recognise(file, str(path))
            if directory is not None:
                return cls(file, Path(path), kind, directory)
            if loose and kind in ("safetensors", "torch-legacy", "pickle"):
                return Loose(file, Path(path), kind)
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
        return tuple(self.directory.members)

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self.directory.file_nbytes

    def read(self, name: str) -> bytes:
        """The bytes of a member, checked against its CRC.

        Raises: KeyError where there is no such member; CorruptFileError.
        """
        return self.directory.read(name)

    def storage(self, key: str) -> tuple[int, int]:
        """(offset, length) in `file` of the bytes of a storage.

        Raises: KeyError where there is no such storage; CorruptFileError where the file contradicts itself.
        """
        place = self.directory.locate(f"data/{key}")
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
        tensors = tensors_of(self.directory, pickle.root)
        index = Index(
            format=self.kind,
            tensors=tensors,
            storages=storages_of(self.directory),
            ties=ties_of(tensors.get("state_dict", {})),
            data_pkl_sha256=self.data_pkl_sha256(),
            extra={"globals": list(pickle.globals)},
        )
        check(index, str(self.path))
        return index

    def pickle(self) -> SymbolicPickle:
        """`data.pkl`, read without running it.

        Raises: CorruptFileError, for another program's file also where it would take more than a short while; for ours
            also where it is not the one that the index was written for.
        """
        self.check_data_pkl()
        most = pickles.MOST_OPERATIONS_OF_OURS if self.kind == FORMAT else pickles.MOST_OPERATIONS
        return pickles.read(self._data_pkl, str(self.path), most_operations=most)

    @property
    def globals(self) -> tuple[str, ...]:
        """What unpickling `data.pkl` would import."""
        return self.pickle().globals

    def data_pkl_sha256(self) -> str:
        """SHA-256 of the bytes of `data.pkl` as they are (the index says what they were)."""
        return hashlib.sha256(self._data_pkl).hexdigest()

    def check_data_pkl(self) -> None:
        """Raises: CorruptFileError where `data.pkl` is not the one that the index was written for."""
        if self.kind == FORMAT and self.data_pkl_sha256() != self.index.data_pkl_sha256:
            raise self._damaged("its index belongs to another data.pkl")

    @property
    def mark(self) -> str | None:
        """The mark that somebody's key left on the file, unchecked; None where there is none."""
        found = read_seal(self.directory.comment)
        return found.mark if found else None

    @property
    def file_hash(self) -> str | None:
        """The recorded xxh3-128 of the file's bytes before its end record; None in another program's file."""
        found = read_seal(self.directory.comment)
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
        return member(self.directory, "data.pkl")

    @cached_property
    def _index_bytes(self) -> bytes:
        return self.directory.read(INDEX_MEMBER, MOST_BYTES, check=not self.lenient)

    def check_whole(self, *, quick: bool = True) -> str:
        """Read the whole file: is it as it was written? Returns how much that says, in the words of `Verified.level`.

        Not `quick`, what it says twice (index, pickle, directory) is also compared.
        Raises: CorruptFileError that names the tensors, or the member, whose bytes are not what they were.
        """
        if self.kind != FORMAT:
            return whole.check_members(self.directory, self.index, self.kind)
        if not quick or not whole.is_as_sealed(self.directory):
            whole.check_all(self.directory, self.index, self.pickle(), self.data_pkl_sha256())
        return "every bit"

    @collecting.paused()
    def _own_index(self) -> Index:
        index = from_json(self._index_bytes, str(self.path))
        if self.lenient:
            end = self.directory.start
            if far := [key for key, row in index.storages.items() if row.offset + row.nbytes > end]:
                raise self._damaged(f"its storage {far[0]!r} lies outside it")
            return index
        members = self.directory.members
        places = {name[5:]: member for name, member in members.items() if name.startswith("data/") and name != "data/"}
        if places.keys() != index.storages.keys():
            raise self._damaged("its index names other storages than its directory")
        # The members' own headers are left alone until a storage is asked for: reading each would touch the whole of
        # a large file. The directory alone proves that no storage can reach into another or out of the file.
        for key, (offset, nbytes, _) in index.storages.items():
            member = places[key]
            if nbytes != member[3] or offset < member[1] + 30 or offset + nbytes > member[2]:
                raise self._damaged(f"its index and its directory disagree about storage {key!r}")
        return index

    def _damaged(self, what: str) -> CorruptFileError:
        return damaged(str(self.path), what)


class Loose(Archive):
    """A model file that is no zip archive: safetensors, torch's format from before 1.6, or a bare pickle."""

    def check_whole(self, *, quick: bool = True) -> str:
        """'structure': such a file records no checksums."""
        _ = self.index
        return "structure"

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
    def nbytes(self) -> int:
        """The size of the file."""
        return os.fstat(self.file.fileno()).st_size

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
    return Archive._of(open_regular(path), path, loose=True)


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
    with open_model(path) as archive:
        level = archive.check_whole(quick=False)
        index, nbytes = archive.index, archive.nbytes
    tensors = sum(map(len, index.tensors.values()))
    return Verified(Path(path), nbytes, tensors, time.perf_counter() - began, index.format, level)
