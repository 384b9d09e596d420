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

Every mutating operation passes `_do`, which counts it and asks `fault_plan`: tests stop the shipped code at each.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hypertuner.errors import refusal_named
from hypertuner.host import host_name
from hypertuner.syscalls import linux

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


def would_write(flags: int) -> bool:
    """Whether `os.open` with these flags makes, empties or may change a file."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _do(name: str, path: str | Path) -> None:
    global _count
    _count += 1
    if fault_plan is not None:
        fault_plan(Operation(_count, name, str(path)))


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
            linux("fallocate", self.fileno(), _KEEP_SIZE, 0, nbytes)

    def begin_sync(self, start: int, nbytes: int) -> None:
        """Let the disk begin with these bytes while others are made; nothing is promised before `fsync`."""
        linux("sync_file_range", self.fileno(), start, nbytes, _WRITE)


class Draft:
    """A new file under a temporary name in its target's folder, until it is committed.

    Leaving the `with` block without a commit removes it. `file` is open for reading and writing. When a write to it
    failed, the block ends with that error, named, also where the writing library raised another one or none.
    """

    def __init__(self, target: Path, *, mode: int = 0o644) -> None:
        self.target = target
        self._mode = mode
        self._path = _draft_path(target)
        self._inode = 0

    def __enter__(self) -> Draft:
        with refusal_named(self.target):
            _do("open", self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self.file = NewFile(descriptor, "r+", closefd=True)
        self.file.name, self.file.target = str(self._path), self.target
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # a file that is given up may say what it likes
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
        _do("chmod", self._path)
        os.chmod(self._path, self._mode & ~_UMASK)
        _do("fsync", self._path)
        os.fsync(self.file.fileno())
        self._inode = os.fstat(self.file.fileno()).st_ino
        # A network file system may have kept its "no" until now.
        _do("close", self._path)
        self.file.close()

    def commit_new(self) -> None:
        """Give the file its name, durably. FileExistsError if the name is taken."""
        with refusal_named(self.target):
            self._finish()
            _do("link", self.target)
            try:
                os.link(self._path, self.target)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    # The check and the rename are two steps, the best this file system can do.
                    if self.target.exists():
                        raise FileExistsError(errno.EEXIST, "exists", str(self.target)) from None
                    _do("rename", self.target)
                    os.rename(self._path, self.target)
                elif not self._is_in_place():
                    raise
            sync_folder(self.target.parent)

    def commit_replace(self) -> None:
        """Put the file in the place of the one with its name, durably."""
        with refusal_named(self.target):
            self._finish()
            _do("rename", self.target)
            try:
                os.replace(self._path, self.target)
            except OSError:
                if not self._is_in_place():
                    raise
            sync_folder(self.target.parent)

    def _is_in_place(self) -> bool:
        """Whether the target is this very file. NFS asks again when an answer was lost, and then reports an error
        for what the first question had done."""
        try:
            return bool(self._inode) and os.stat(self.target).st_ino == self._inode
        except OSError:
            return False


# Read once: the only way to read it is to set it, and threads share it.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


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
                while piece := original.read(8 << 20):
                    draft.file.write(piece)
                draft.commit_replace()
            return
        try:
            _do("rename", target)
            os.replace(temporary, target)
        finally:
            # rename() of two links to one file does nothing at all, and leaves both names.
            with contextlib.suppress(OSError):
                _do("unlink", temporary)
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
        self._is_named = self.size > 0
        # A writer that was killed in the middle of a record left half a line: end it, readers skip it.
        self._is_torn = bool(self.size) and os.pread(self._descriptor, 1, self.size - 1) != b"\n"

    def append(self, record: bytes) -> None:
        """Write `record`, a line, at the end. StorageFullError, when nothing or a part was written for want of room."""
        if self._is_torn:
            record = b"\n" + record
        try:
            while True:
                if fault_plan is not None:
                    _do("append", self.path)
                written = os.write(self._descriptor, record)
                self.size += written
                if written == len(record):
                    self._is_torn = False
                    return
                # Half a line is on the disk. Why, the system says when it is asked for the rest; if it takes none, the
                # next record must not continue this one.
                self._is_torn = self._is_torn or written > 0
                record = record[written:]
        except OSError as error:
            with refusal_named(self.path):  # entered only now: a `with` costs more than the write
                raise error

    def sync(self) -> None:
        """Return when all that was appended survives a power cut."""
        with refusal_named(self.path):
            _do("fsync", self.path)
            os.fsync(self._descriptor)
            if not self._is_named:
                sync_folder(self.path.parent)
                self._is_named = True

    def fileno(self) -> int:
        """Its descriptor: what a process prints may go there."""
        return self._descriptor

    def close(self) -> None:
        """Close the file; nothing is pending."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents, durably; nothing happens to one that exists."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            _make(folder, mode)


def make_new_folder(path: Path) -> None:
    """Create a folder that must not exist. FileExistsError if it does."""
    make_folder(path.parent)
    _make(path, 0o777)


def _make(path: Path, mode: int) -> None:
    with refusal_named(path):
        _do("mkdir", path)
        os.mkdir(path, mode)
        try:
            sync_folder(path.parent)
        except OSError:
            # Whoever tries again must not take a name that a power cut may remove for one that is there.
            with contextlib.suppress(OSError):
                _do("rmdir", path)
                os.rmdir(path)
            raise


def copy_into(source: Path, target: Path) -> None:
    """Copy one small file, without the promise to survive a power cut (source kept with a run)."""
    make_folder(target.parent)
    with refusal_named(target):
        _do("copy", target)
        target.write_bytes(source.read_bytes())


def remove(path: Path) -> None:
    """Remove one file; nothing happens when it is gone already."""
    _do("unlink", path)
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; links are removed, never followed."""
    import shutil

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
    with refusal_named(target):
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
    return target.parent / f"{_DRAFT}{host_name()}-{os.getpid()}-{os.urandom(4).hex()}"


def sweep_drafts(folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Remove what killed writers of this host left half-written in `folder`, unless `dry_run`; what that is."""
    import psutil

    mark = f"{_DRAFT}{host_name()}-"
    pids = {path: path.name.removeprefix(mark).split("-")[0] for path in folder.glob(f"{mark}*")}
    killed = [path for path, pid in pids.items() if pid.isdigit() and not psutil.pid_exists(int(pid))]
    for path in killed if not dry_run else ():
        with contextlib.suppress(OSError):
            (remove_folder if path.is_dir() else remove)(path)
    return killed
