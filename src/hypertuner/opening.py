"""Opening a file that came from anywhere, for reading: a regular file, or an error."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from hypertuner.errors import CorruptFileError


def open_regular(path: Path | str) -> io.FileIO:
    """`path` opened for reading, if it is a regular file: never waits for a pipe, never reads a device.

    Raises: CorruptFileError where it is something else; OSError where it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # Looked at first, because opening a device can already do something; and again once it is open.
    _refuse_unless_regular(os.stat(path).st_mode, path)
    file = io.FileIO(os.open(path, flags), "rb")
    try:
        _refuse_unless_regular(os.fstat(file.fileno()).st_mode, path)
    except CorruptFileError:
        file.close()
        raise
    return file


def _refuse_unless_regular(mode: int, path: Path | str) -> None:
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise CorruptFileError(f"{path} is {what}, not a file.\n  Name the file itself.", path=Path(path))


def read_tail(path: Path, most_bytes: int) -> bytes:
    """The last whole lines of a regular file, at most so many bytes; b"" when there is no file."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            # One byte more: whether the first line is whole, the sign before it tells.
            begin = max(0, size - most_bytes - 1)
            file.seek(begin)
            data = file.read(size - begin)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    if begin:
        data = data[data.find(b"\n") + 1 :] if b"\n" in data else b""
    return data[: data.rfind(b"\n") + 1]
