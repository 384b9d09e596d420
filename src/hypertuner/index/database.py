"""The index: what was read of the runs of one storage, in a SQLite file in the user's cache folder.

Disposable. It is never needed and never believed: an entry counts only while the signature in it holds, and an index
that is missing, damaged, locked, of another version or on a full disk is as good as none. Each entry carries a
checksum, as SQLite itself does not notice a flipped bit. One file per storage, never inside it; none is kept open.

Beside the entries it remembers how each run looks where it is drawn, by its name and when it was made: also of runs
that are gone, which may come back from the trash, and over a change of version. It also keeps what each checkpoint says
of itself, for whoever sorts ten thousand of them: to look into one anew takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import xxhash

from hypertuner import files, settings
from hypertuner.errors import StorageError
from hypertuner.index.row import RunRow

T = TypeVar("T")

# Raise it when what an entry holds or means changes: entries of another number are not read.
_FORMAT = 2
_VERSION = zlib.crc32(repr((_FORMAT, [entry.name for entry in fields(RunRow)])).encode()) & 0x7FFFFFFF
_PATIENCE_S = 0.5
_MOST_CHECKPOINTS = 100_000
_ENDING = ".sqlite"
# What passes, or is no fault of the file's: it stays. Anything else SQLite says means that it is damaged.
_PASSING = re.compile("locked|busy|full|readonly|unable to open|interrupted|memory", re.IGNORECASE)


class Place(NamedTuple):
    """Where a run stands among those of the index, by when it was made."""

    created: float
    name: str


class Database:
    """The index of one storage. No method raises for what is wrong with the file, or with its place."""

    def __init__(self, storage: Path) -> None:
        self._storage = os.fsencode(storage.absolute())

    def read(self) -> dict[str, bytes]:
        """The entry of each run; {} when there is no index that can be read."""
        return self._forgive(self._read, {})

    def newest(self, count: int, after: Place | None = None) -> tuple[list[tuple[str, bytes]], Place | None]:
        """The entries of the `count` newest runs, or of those that follow a place, and the place of the last of them;
        ([], None) when there are no more."""
        nothing: tuple[list[tuple[str, bytes]], Place | None] = ([], None)
        return self._forgive(lambda: self._newest(count, after), nothing)

    def write(
        self,
        entries: Mapping[str, bytes],
        gone: Collection[str] = (),
        created: Mapping[str, float] | None = None,
        looks: Mapping[str, int] | None = None,
    ) -> None:
        """Put these entries in the place of the old ones, and drop those of runs that are gone.

        `created` is when the runs were made, by which `newest` has its order; `looks` are remembered for ever.
        """
        if (entries or gone or looks) and not settings.is_off():
            self._forgive(lambda: self._write(entries, gone, created or {}, looks or {}), None)

    def checkpoints(self) -> dict[str, bytes]:
        """What was kept of each checkpoint, by its path."""
        return self._forgive(self._checkpoints, {})

    def write_checkpoints(self, entries: Mapping[str, bytes]) -> None:
        """Put these entries in the place of the old ones."""
        if entries and not settings.is_off():
            self._forgive(lambda: self._write_checkpoints(entries), None)

    def looks(self, some: Sequence[str] | None = None) -> dict[str, int]:
        """How each run looks that was remembered, or of a few hundred."""
        return self._forgive(lambda: self._looks(some), {})

    def _forgive(self, ask: Callable[[], T], nothing: T) -> T:
        try:
            return ask()
        except (sqlite3.Error, TypeError, UnicodeError) as error:
            if not _PASSING.search(str(error)):
                with contextlib.suppress(OSError):
                    files.remove(self._path())
        except (OSError, RuntimeError, StorageError):  # no home folder, no right to it, no room
            pass
        return nothing

    def _path(self) -> Path:
        name = f"{xxhash.xxh3_128_hexdigest(self._storage)}{_ENDING}"
        return settings.cache_folder().absolute() / "index" / name

    def _read(self) -> dict[str, bytes]:
        path = self._path()
        if not path.exists():
            return {}
        with _open(path, "ro") as connection:
            if _version_of(connection) != _VERSION:
                return {}
            entries = connection.execute("SELECT name, checksum, entry FROM runs").fetchall()
        return dict(_sound(entries))

    def _newest(self, count: int, after: Place | None) -> tuple[list[tuple[str, bytes]], Place | None]:
        path = self._path()
        if not path.exists():
            return [], None
        with _open(path, "ro") as connection:
            if _version_of(connection) != _VERSION:
                return [], None
            where = "" if after is None else "WHERE (created, name) < (?, ?)"
            asked = f"SELECT created, name, checksum, entry FROM runs {where} ORDER BY created DESC, name DESC LIMIT ?"  # noqa: S608  # no text of anybody's
            found = connection.execute(asked, (*(after or ()), count)).fetchall()
        last = Place(float(found[-1][0]), str(found[-1][1])) if found else None
        return list(_sound(row[1:] for row in found)), last

    def _checkpoints(self) -> dict[str, bytes]:
        path = self._path()
        if not path.exists():
            return {}
        with _open(path, "ro") as connection:
            if not _has(connection, "checkpoints"):
                return {}
            return dict(_sound(connection.execute("SELECT path, checksum, entry FROM checkpoints").fetchall()))

    def _write_checkpoints(self, entries: Mapping[str, bytes]) -> None:
        path = self._path()
        if not path.exists():
            return  # whoever reads runs makes it
        with _open(path, "rw") as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS checkpoints (path TEXT PRIMARY KEY, checksum BLOB, entry BLOB)"
            )
            if connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0] > _MOST_CHECKPOINTS:
                connection.execute("DELETE FROM checkpoints")  # most are of files that are gone
            connection.executemany(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)",
                [(name, _checksum(name, entry), entry) for name, entry in entries.items()],
            )
            connection.execute("COMMIT")

    def _looks(self, some: Sequence[str] | None) -> dict[str, int]:
        path = self._path()
        if not path.exists():
            return {}
        with _open(path, "ro") as connection:
            if not _has(connection, "looks"):
                return {}
            where = "" if some is None else f"WHERE run IN ({','.join('?' * len(some))})"
            asked = f"SELECT run, look FROM looks {where}"  # noqa: S608  # no text of anybody's
            found = connection.execute(asked, tuple(some or ())).fetchall()
        return {run: look for run, look in found if isinstance(run, str) and isinstance(look, int)}

    def _write(
        self,
        entries: Mapping[str, bytes],
        gone: Collection[str],
        created: Mapping[str, float],
        looks: Mapping[str, int],
    ) -> None:
        path = self._path()
        if not path.exists():
            files.make_folder(path.parent, mode=0o700)
            _sweep(path.parent)
        with _open(path, "rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version_of(connection) != _VERSION:
                connection.execute("DROP TABLE IF EXISTS runs")
                connection.execute("DROP TABLE IF EXISTS storage")
                connection.execute(
                    "CREATE TABLE runs (name TEXT PRIMARY KEY, checksum BLOB, created REAL NOT NULL, entry BLOB)"
                )
                connection.execute("CREATE INDEX newest ON runs (created, name)")
                connection.execute("CREATE TABLE IF NOT EXISTS looks (run TEXT PRIMARY KEY, look INTEGER)")
                connection.execute("CREATE TABLE storage (path BLOB)")
                connection.execute("INSERT INTO storage VALUES (?)", (self._storage,))
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.executemany(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)",
                [(name, _checksum(name, entry), created.get(name, 0.0), entry) for name, entry in entries.items()],
            )
            connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?)", looks.items())
            connection.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in gone])
            connection.execute("COMMIT")


@contextlib.contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE_S, isolation_level=None)
    with contextlib.closing(connection):
        yield connection


def _sound(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, bytes]]:
    """(name, entry) of the rows of name, checksum and entry that are as they were written."""
    for name, checksum, entry in rows:
        # A changed bit may have made a text of bytes, or bytes of a text.
        if isinstance(name, str) and isinstance(entry, bytes) and checksum == _checksum(name, entry):
            yield name, entry


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def _version_of(connection: sqlite3.Connection) -> object:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _checksum(name: str, entry: bytes) -> bytes:
    return xxhash.xxh3_64_digest(name.encode() + b"\0" + entry)


def _sweep(folder: Path) -> None:
    """Remove the indexes of storages that are no more. Done when a new one is made, so they never pile up."""
    for path in folder.glob(f"*{_ENDING}"):
        with contextlib.suppress(sqlite3.Error, OSError, TypeError):
            with _open(path, "ro") as connection:
                found = connection.execute("SELECT path FROM storage").fetchone()
            if found is not None and not Path(os.fsdecode(found[0])).exists():
                files.remove(path)
