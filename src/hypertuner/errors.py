"""Every error that hypertuner raises on purpose, as one tree.

A message has three parts: what happened, where, what to do. What a program may want to act on is
an attribute. Misuse by the developer (a wrong type in a call) is a plain TypeError or ValueError.

    HypertunerError
      ConfigError             a config file, a key or a value; what the script declares; the command line
      StorageError            a run folder or its files
        RunNotFoundError      no run of that name
        RunExistsError        the name is taken
        StorageFullError      the disk, or a quota, is full
        CorruptFileError      a file is damaged, cut short or not what it claims to be
      CheckpointError         saving or loading a model
        CheckpointNotFoundError
        MismatchError         the weights do not fit the model
        UnsafeFileError       reading it would run somebody's code
      QueueError
      QueryError              with the position of the mistake
      MissingExtraError       an optional package is not installed
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = {
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
    errno.ESTALE: ("its network file system lost it (stale file handle)", "Is it still mounted? Then save again."),
    errno.EIO: ("the disk reports an error", "Look after the disk, or name another storage (HYPERTUNER_STORAGE)."),
    errno.EMFILE: ("this process has too many files open", "Allow more (`ulimit -n 4096`), or open fewer."),
    errno.ENFILE: ("this machine has too many files open", "End what holds them, then save again."),
    errno.ENAMETOOLONG: ("its path is too long", "Name a storage with a shorter path (HYPERTUNER_STORAGE)."),
}


class HypertunerError(Exception):
    """The root: `except hypertuner.HypertunerError` catches all that hypertuner raises on purpose."""

    # Shown to users as `hypertuner.ConfigError`, which is what they can import.
    def __init_subclass__(cls) -> None:
        """Name every subclass by the package that users import it from."""
        cls.__module__ = "hypertuner"


HypertunerError.__module__ = "hypertuner"


class ConfigError(HypertunerError):
    """A config file, a key or a value is wrong; `key` and `path` name it where there is one."""

    def __init__(self, message: str, *, key: str | None = None, path: Path | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.path = path


class StorageError(HypertunerError):
    """A run folder or one of its files; `path` names it where there is one."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class RunNotFoundError(StorageError):
    """The storage has no run of that name."""


class RunExistsError(StorageError):
    """The name is taken, or a run's fixed part would have to change."""


class StorageFullError(StorageError):
    """The disk or a quota is full: nothing was changed."""


class CorruptFileError(StorageError):
    """A file is damaged, cut short or not what it claims to be."""


class CheckpointError(HypertunerError):
    """Saving or loading a model failed; the files that were there are untouched."""


class CheckpointNotFoundError(CheckpointError):
    """A reference names no checkpoint."""


class MismatchError(CheckpointError):
    """The weights do not fit the model; `report` says which, where there is one."""

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class UnsafeFileError(CheckpointError):
    """Reading the file would run code that is not the user's own; `globals` lists what it would import."""

    def __init__(self, message: str, *, path: Path | None = None, globals: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.globals = tuple(globals)


class QueueError(HypertunerError):
    """The queue refuses what it was asked."""


class QueryError(HypertunerError):
    """A query cannot be read; `position` is the offset of the first character at fault in `query`."""

    def __init__(self, message: str, *, query: str, position: int) -> None:
        super().__init__(message)
        self.query = query
        self.position = position


class MissingExtraError(HypertunerError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed.\n  pip install 'hypertuner[{extra}]'")
        self.extra = extra


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with up to three names of `known` that resemble `word`, or ''."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def first_line(problem: object) -> str:
    """What is wrong, without the advice under it: to be said inside another sentence."""
    return str(problem).partition("\n")[0].rstrip(".")


@contextmanager
def refusal_named(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses about writing `path` into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        if error.errno in NO_ROOM:
            raise StorageFullError(
                f"Cannot write {path}: {NO_ROOM[error.errno]}.\n"
                "  Nothing that was saved before is touched. Free some room, then save again.",
                path=path,
            ) from error
        if error.errno in _REFUSED:
            why, advice = _REFUSED[error.errno]
            raise StorageError(f"Cannot write {path}: {why}.\n  {advice}", path=path) from error
        raise
