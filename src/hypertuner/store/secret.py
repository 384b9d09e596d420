"""A secret of the user's own: a text file that only they can read, made when it is first asked for."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from hypertuner import files
from hypertuner.errors import ConfigError, StorageError, first_line

_MOST_BYTES = 4096


def read_or_make(path: Path, what: str, *, variables: str, when_deleted: str, makes: bool = True) -> str:
    """The text of the file, 64 random hex digits (256 bits) when it is made here.

    Where there is none it is '' unless this `makes` one.

    Raises: ConfigError where it can be neither read nor made, or where others can read it; it speaks of `what`, names
    the `variables` that choose another place, and says what happens `when_deleted`.
    """
    try:
        text = _read(path, what, when_deleted)
        if text is not None:
            return text
        return _make(path, what, when_deleted) if makes else ""
    except (OSError, StorageError) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise ConfigError(
            f"{what} can be neither read nor made: {why}.\n"
            f"  It belongs at {path}. Make that folder yours, or set {variables}.",
            path=path,
        ) from error


def _read(path: Path, what: str, when_deleted: str) -> str | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        mode = os.fstat(file.fileno()).st_mode
        if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"other users can read or change {what} at {path} (mode {stat.S_IMODE(mode):04o}).\n"
                f"  chmod 600 {path}   or, if others may have read it, delete it: {when_deleted}.",
                path=path,
            )
        return file.read(_MOST_BYTES).decode("utf-8", "surrogateescape")


def _make(path: Path, what: str, when_deleted: str) -> str:
    files.make_folder(path.parent, mode=0o700)
    text = secrets.token_hex(32)
    try:
        files.put_new(path, f"{text}\n".encode(), mode=0o600)
    except FileExistsError:  # another process was first: its secret is the secret
        return _read(path, what, when_deleted) or ""
    return text
