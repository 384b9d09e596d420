"""Every write to disk: new files, replacements, appends, links and removals.

The only module that opens for writing. What it promises:

* `put_new`, `replace` and a committed `Draft` are atomic and durable: a reader sees the old file or the
  whole new one, and a power cut after the call keeps the new one (file and folder are synced).
* `put_new` and `Draft.commit_new` fail with FileExistsError when the name is taken, also by a process that
  asked at the same instant.
* `Appender.append` is one `write`: a line is in the file for every reader, and for `kill -9`, when it returns.
* A full disk, a quota or a file-size limit is a StorageFullError, a folder that may not be written a StorageError;
  nothing that was there is touched.
* A write that failed makes its draft fail, whatever the library that wrote made of the error.

Every mutating operation passes `_do`, which counts it and asks `fault_plan`: a test can stop the shipped
code at its n-th operation, for every n.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hypertuner.errors import StorageError, StorageFullError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "a file-size limit was reached",
}
_REFUSED = {
    errno.EACCES: ("permission denied", "Make the folder yours, or name another storage (HYPERTUNER_STORAGE)."),
    errno.EPERM: ("permission denied", "Make the folder yours, or name another storage (HYPERTUNER_STORAGE)."),
    errno.EROFS: ("it lies on a read-only disk", "Name another storage (HYPERTUNER_STORAGE)."),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "Move that file, or name another storage."),
    errno.ENOENT: ("its folder is gone", "Was it moved or deleted while the script ran?"),
    errno.ENAMETOOLONG: ("its path is too long", "Name a storage with a shorter path (HYPERTUNER_STORAGE)."),
}
# What file systems without hard links answer (FAT, some FUSE and network mounts).
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_DRAFT = ".draft-"
_KEEP_SIZE = 0x01  # FALLOC_FL_KEEP_SIZE
_WRITE = 0x02  # SYNC_FILE_RANGE_WRITE


@dataclass(frozen=True)
class Operation:
    """One mutating operation that is about to happen."""

    number: int
    name: str
    path: str


fault_plan: Callable[[Operation], None] | None = None
_count = 0


def _do(name: str, path: str | Path) -> None:
    global _count
    _count += 1
    if fault_plan is not None:
        fault_plan(Operation(_count, name, str(path)))


@contextlib.contextmanager
def refusal_named(path: Path) -> Iterator[None]:
    """Turn the operating system's 'no room' and 'you may not' about writing `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        if error.errno in _FULL:
            raise StorageFullError(
                f"Cannot write {path}: {_FULL[error.errno]}.\n"
                "  Nothing that was saved before is touched. Free some room, then save again.",
                path=path,
            ) from error
        if error.errno in _REFUSED:
            why, advice = _REFUSED[error.errno]
            raise StorageError(f"Cannot write {path}: {why}.\n  {advice}", path=path) from error
        raise


class NewFile(io.FileIO):
    """An unbuffered file whose writes are counted and complete; it remembers the first that failed."""

    target: Path
    """What an error names."""
    failure: BaseException | None = None

    def write(self, data: object) -> int:
        """Write all of `data`; how many bytes that were."""
        if self.failure is not None:  # the file has a hole by now: nothing that is added makes it whole
            raise OSError(errno.EIO, "an earlier write failed", str(self.name)) from self.failure
        view, done = memoryview(data).cast("B"), 0  # type: ignore[arg-type]  # io declares a wider type than it accepts
        try:
            with refusal_named(self.target):
                while done < len(view):
                    _do("write", str(self.name))
                    done += super().write(view[done:]) or 0
        except BaseException as error:  # Ctrl-C too: torch's writer would make a RuntimeError of either
            self.failure = error
            raise
        return done

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off, at the position if no size is given; its size."""
        _do("truncate", str(self.name))
        return super().truncate(size)

    def reserve(self, nbytes: int) -> None:
        """Take `nbytes` of room now, where the file system can: a full disk is known before anything is written."""
        with refusal_named(self.target):
            _do("reserve", str(self.name))
            _linux("fallocate", self.fileno(), _KEEP_SIZE, 0, nbytes)

    def begin_sync(self, start: int, nbytes: int) -> None:
        """Let the disk begin with these bytes while others are made; nothing is promised before `fsync`."""
        _linux("sync_file_range", self.fileno(), start, nbytes, _WRITE)


def _linux(name: str, descriptor: int, *arguments: int) -> None:
    """A call that Python does not offer, where it is to be had. OSError for want of room, and for nothing else."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)  # musl has fewer
    if call is not None and call(descriptor, *map(ctypes.c_int64, arguments)) and (code := ctypes.get_errno()) in _FULL:
        raise OSError(code, os.strerror(code))


class Draft:
    """A new file under a temporary name in its target's folder, until it is committed.

    Leaving the `with` block without a commit removes it. `file` is open for reading and writing. When a write to it
    failed, the block ends with that error, named, also where the writing library raised another one or none.
    """

    def __init__(self, target: Path, *, mode: int = 0o644) -> None:
        self.target = target
        self._mode = mode
        self._path = _draft_path(target)

    def __enter__(self) -> Draft:
        with refusal_named(self.target):
            _do("open", self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self.file = NewFile(descriptor, "r+", closefd=True)
        self.file.name, self.file.target = str(self._path), self.target
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.file.close()
        with contextlib.suppress(OSError):
            _do("unlink", self._path)
            self._path.unlink(missing_ok=True)
        with refusal_named(self.target):
            if self.file.failure is not None:
                raise self.file.failure

    def _finish(self) -> None:
        if self.file.failure is not None:
            raise self.file.failure
        _do("fsync", self._path)
        os.fsync(self.file.fileno())
        # After the content: a reader never finds the final name with the wrong mode.
        os.chmod(self._path, self._mode & ~_UMASK)
        self.file.close()

    def commit_new(self) -> None:
        """Give the file its name, durably. FileExistsError if the name is taken."""
        with refusal_named(self.target):
            self._finish()
            _do("link", self.target)
            try:
                os.link(self._path, self.target)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # No hard links here: the check and the rename are two steps, the best this file system can do.
                if self.target.exists():
                    raise FileExistsError(errno.EEXIST, "exists", str(self.target)) from None
                os.rename(self._path, self.target)
            sync_folder(self.target.parent)

    def commit_replace(self) -> None:
        """Put the file in the place of the one with its name, durably."""
        with refusal_named(self.target):
            self._finish()
            _do("rename", self.target)
            os.replace(self._path, self.target)
            sync_folder(self.target.parent)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# Read once: the only way to read it is to set it, and threads share it.
_UMASK = _read_umask()


def put_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, atomically and durably. FileExistsError if it does."""
    with Draft(path, mode=mode) as draft:
        draft.file.write(data)
        draft.commit_new()


def replace(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file, in the place of an old one if there is one, atomically and durably."""
    with Draft(path, mode=mode) as draft:
        draft.file.write(data)
        draft.commit_replace()


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target`, which may exist, a hard link to `source`, or a copy of it where links are not to be had."""
    temporary = _draft_path(target)
    with refusal_named(target):
        try:
            _do("link", temporary)
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with Draft(target, mode=0o444) as draft, source.open("rb") as original:
                shutil.copyfileobj(original, draft.file, 8 << 20)
                draft.commit_replace()
            return
        try:
            _do("rename", target)
            os.replace(temporary, target)
        finally:
            # rename() of two links to one file does nothing at all, and leaves both names.
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        sync_folder(target.parent)


class Appender:
    """One file that grows by whole records; each `append` is one write, unbuffered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with refusal_named(path):
            _do("open", path)
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666 & ~_UMASK
            )
        self.size = os.fstat(self._descriptor).st_size
        # A writer that was killed in the middle of a record left half a line: end it, readers skip it.
        self._is_torn = bool(self.size) and os.pread(self._descriptor, 1, self.size - 1) != b"\n"

    def append(self, record: bytes) -> None:
        """Write `record`, a line, at the end. StorageFullError, when nothing or a part was written for want of room."""
        if self._is_torn:
            record = b"\n" + record
        try:
            if fault_plan is not None:
                _do("append", self.path)
            written = os.write(self._descriptor, record)
            self.size += written
            # Half a line is on the disk: the next record must not continue it.
            self._is_torn = written < len(record)
            if self._is_torn:
                raise OSError(errno.ENOSPC, "the disk is full", str(self.path))
        except OSError as error:
            with refusal_named(self.path):  # entered only now: a `with` costs more than the write
                raise error

    def sync(self) -> None:
        """Return when all that was appended survives a power cut."""
        _do("fsync", self.path)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; nothing is pending."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents, durably; nothing happens to one that exists."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with refusal_named(folder):
            _do("mkdir", folder)
            try:
                os.mkdir(folder, mode)
            except FileExistsError:
                continue
            sync_folder(folder.parent)


def make_new_folder(path: Path) -> None:
    """Create a folder that must not exist. FileExistsError if it does."""
    make_folder(path.parent)
    with refusal_named(path):
        _do("mkdir", path)
        os.mkdir(path)
        sync_folder(path.parent)


def copy_into(source: Path, target: Path) -> None:
    """Copy one file, without the promise to survive a power cut (source kept with a run)."""
    make_folder(target.parent)
    with refusal_named(target):
        _do("copy", target)
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """Remove one file; nothing happens when it is gone already."""
    _do("unlink", path)
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; links are removed, never followed."""
    _do("rmtree", path)
    shutil.rmtree(path)


def remove_empty_folder(path: Path) -> None:
    """Remove a folder with nothing in it. OSError if there is something."""
    _do("rmdir", path)
    path.rmdir()


def move(source: Path, target: Path) -> None:
    """Rename a file, folder or link within one file system. FileExistsError if the target exists."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists", str(target))
    _do("rename", target)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        # A folder that came there between the look and the move.
        raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut. Without it an acknowledged save can vanish on ext4 and XFS."""
    _do("fsync folder", path)
    if os.name == "nt":  # Windows has no such call; NTFS journals names
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def draft_folder(target: Path) -> Path:
    """A new empty folder beside `target`, to be filled and moved there; swept like a draft when its maker is killed."""
    path = _draft_path(target)
    make_new_folder(path)
    return path


def _draft_path(target: Path) -> Path:
    # Beside its target: a rename or a link is atomic within one file system only.
    return target.parent / f"{_DRAFT}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def sweep_drafts(folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Remove what killed writers of this host left half-written in `folder`, unless `dry_run`; what that is."""
    import psutil

    mark = f"{_DRAFT}{socket.gethostname()}-"
    pids = {path: path.name.removeprefix(mark).split("-")[0] for path in folder.glob(f"{mark}*")}
    killed = [path for path, pid in pids.items() if pid.isdigit() and not psutil.pid_exists(int(pid))]
    for path in killed if not dry_run else ():
        with contextlib.suppress(OSError):
            (remove_folder if path.is_dir() else remove)(path)
    return killed
