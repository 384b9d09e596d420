"""The files of one run's folder, by descriptor: no link is followed, nothing but regular files is opened.

A file is named by an id that comes from a listing: a name from the wire is compared with what lies there, and is never
a path. What is swapped for a link between the listing and the opening is refused by the system.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

from hypertuner.errors import RunNotFoundError, StorageError
from hypertuner.store import Run

_MOST_FILES = 20_000
_DEEPEST = 12
_CHUNK = 1 << 20
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_STORED = (".pt", ".png", ".jpg", ".zip", ".gz")
"""Endings of what deflating makes no smaller."""


@dataclass(frozen=True)
class Listed:
    """A regular file of a run."""

    id: str
    parts: tuple[str, ...]
    nbytes: int
    changed_at: float

    @property
    def name(self) -> str:
        """Its place in the run's folder, as it is shown."""
        return "/".join(self.parts).encode("utf-8", "replace").decode()


def list_files(run: Run) -> list[Listed]:
    """The regular files of a run, hidden ones left out, by place; at most 20,000, twelve folders deep."""
    found: list[Listed] = []
    top = _open_run(run)
    try:
        _list(top, (), found)
    finally:
        os.close(top)
    return sorted(found, key=lambda file: file.parts)


def find(run: Run, file_id: str) -> Listed:
    """The file of that id. Raises: StorageError when the run has none."""
    for file in list_files(run):
        if file.id == file_id:
            return file
    raise NoSuchFileError(f"Run {run.name!r} has no such file (any more).\n  Look at the run again.", path=run.folder)


def open_file(run: Run, parts: Sequence[str]) -> io.FileIO:
    """A file of a run, opened for reading where it lies, from the run's folder down and through no link.

    Raises: NoSuchFileError for what is no regular file (any more).
    """
    try:
        descriptor = _open_run(run)
        for part in parts[:-1]:
            descriptor = _step(part, descriptor, _FOLDER_FLAGS)
        descriptor = _step(parts[-1], descriptor, _FILE_FLAGS)
    except OSError as error:
        raise NoSuchFileError(f"Run {run.name!r} has no such file (any more).", path=run.folder) from error
    file = io.FileIO(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoSuchFileError(f"Run {run.name!r} has no such file: it is a pipe or a device.", path=run.folder)
    return file


def chunks(file: io.FileIO) -> Iterator[bytes]:
    """What is in an open file, piece by piece; closes it."""
    with file:
        while data := file.read(_CHUNK):
            yield data


def zipped(run: Run) -> Iterator[bytes]:
    """A zip archive of a run's files, made while it is read: it takes no room anywhere."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, mode="w", allowZip64=True) as archive:
        for listed in list_files(run):
            try:
                file = open_file(run, listed.parts)
            except StorageError:  # gone since: the run goes on
                continue
            with file:
                entry = zipfile.ZipInfo(f"{run.name}/{listed.name}", _zip_time(listed.changed_at))
                entry.compress_type = zipfile.ZIP_STORED if listed.name.endswith(_STORED) else zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                with archive.open(entry, mode="w", force_zip64=listed.nbytes > 1 << 31) as target:
                    left = listed.nbytes  # of one that grows meanwhile, what was there
                    while left > 0 and (data := file.read(min(_CHUNK, left))):
                        target.write(data)
                        left -= len(data)
                        yield from pieces.take()
            yield from pieces.take()
    yield from pieces.take()


class NoSuchFileError(RunNotFoundError):
    """A run has no file of that id."""


class _Pieces(io.RawIOBase):
    """What a zip file is written into: pieces that are handed on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: object) -> int:
        """Keep a piece until it is taken."""
        piece = bytes(data)  # type: ignore[call-overload]  # bytes, or a view of them
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> Iterator[bytes]:
        """What was written since the last call."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            yield b"".join(pieces)


def _open_run(run: Run) -> int:
    """The run's folder, by its name in the storage's: the storage itself may be reached through links."""
    storage = os.open(run.folder.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    return _step(run.name, storage, _FOLDER_FLAGS)


def _step(name: str, folder: int, flags: int) -> int:
    """Open a name in an open folder, and close that folder."""
    try:
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)


def _list(folder: int, above: tuple[str, ...], found: list[Listed]) -> None:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        if len(found) >= _MOST_FILES:
            return
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append(Listed(_id_of((*above, name)), (*above, name), status.st_size, status.st_mtime))
            elif stat.S_ISDIR(status.st_mode) and len(above) < _DEEPEST:
                inner = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
                try:
                    _list(inner, (*above, name), found)
                finally:
                    os.close(inner)
        except OSError:  # gone since, or not ours to read
            continue


def _id_of(parts: tuple[str, ...]) -> str:
    return xxhash.xxh3_64_hexdigest(b"/".join(os.fsencode(part) for part in parts))


def _zip_time(moment: float) -> tuple[int, int, int, int, int, int]:
    import time

    told = time.localtime(moment)
    return (max(1980, told.tm_year), told.tm_mon, told.tm_mday, told.tm_hour, told.tm_min, told.tm_sec)
