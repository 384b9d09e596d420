"""The scripts that may be started: the one that was named when the server was started, or those of the folder that was.

Whatever comes from the wire, nothing else is ever started: a script is named by an id of this list.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from hypertuner.errors import ConfigError, StorageError
from hypertuner.index.row import RunRow
from hypertuner.queue.options import UNKNOWN
from hypertuner.server.contract.acting import Scripts, ScriptSetting, ScriptView
from hypertuner.server.launching import declared
from hypertuner.server.launching.declared import Declared, Setting
from hypertuner.server.panel.detail import unread_of
from hypertuner.store import Run, Storage, records

_MOST_SCRIPTS = 500
_ASKED_RUNS = 20
_READS_ASKED = 5
_MOVED = Path()
"""Of a run whose script is not where it was: its project was moved, or copied from another machine."""


@dataclass(frozen=True)
class Script:
    """One script that may be started."""

    id: str
    path: Path

    @property
    def name(self) -> str:
        """How it is shown."""
        return self.path.name


class ScriptsOf:
    """The scripts of one server. Safe for several threads."""

    def __init__(self, storage: Storage, launchable: Path | None) -> None:
        self._storage = storage
        self._launchable = launchable.resolve() if launchable is not None else None
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[object, Declared]] = {}
        self._records: dict[str, records.RunRecord | None] = {}

    def all(self) -> list[Script]:
        """Those that there are now, by name."""
        place = self._launchable
        if place is None:
            return []
        if place.is_file():
            return [_script(place)]
        found = sorted(path for path in place.glob("*.py") if not path.name.startswith("."))
        # A link in the folder that leads out of it was not named by whoever started the server.
        inside = [path for path in found if path.is_file() and path.resolve().parent == place]
        return [_script(path) for path in inside[:_MOST_SCRIPTS]]

    def find(self, script_id: str) -> Script:
        """The script of that id. Raises: ConfigError where none of those that may be started has it."""
        for script in self.all():
            if script.id == script_id:
                return script
        raise ConfigError(f"No such script may be started here.{self._advice()}", key="script")

    def check(self, path: Path) -> Script:
        """The script that lies at `path`, if it may be started. Raises: ConfigError."""
        real = path.resolve()
        for script in self.all():
            if script.path == real:
                return script
        raise ConfigError(f"{path.name} may not be started from here.{self._advice()}", key="script")

    def moved(self, record: records.RunRecord | None) -> Script | None:
        """The script of a run whose project has been moved: the one of that name here, where there is none there."""
        if record is None or record.script is None or (Path(record.folder) / record.script).exists():
            return None
        here = [script for script in self.all() if script.name == Path(record.script).name]
        return here[0] if len(here) == 1 else None

    def _advice(self) -> str:
        if self._launchable is None:
            return "\n  Start the server with it: hypertuner train.py (or with the folder of your scripts)."
        what = "that folder's scripts" if self._launchable.is_dir() else self._launchable.name
        return f"\n  This server was started for {what} alone: start another one for it: hypertuner SCRIPT"

    def declared(self, script: Script, rows: Iterable[RunRow] = ()) -> Declared:
        """The settings of a script: what it declares, else what its newest runs had."""
        try:
            status = script.path.stat()
            stamp = status.st_mtime_ns, status.st_size, *_stamps_beside(script.path)
        except OSError:
            return Declared(problem="It is not there any more.")
        with self._lock:
            known = self._read.get(script.path)
        if known is None or known[0] != stamp:
            known = stamp, declared.read(script.path)
            with self._lock:
                self._read[script.path] = known
        found = known[1]
        if found.settings:
            return found
        newest = next(iter(self.runs_of(script, rows)), None)
        if newest is None:
            return found
        return Declared(declared.settings_of_values(newest.config), "runs", found.problem, found.makes_args)

    def runs_of(self, script: Script, rows: Iterable[RunRow]) -> list[RunRow]:
        """The runs of a script, newest first."""
        rows = (row for row in rows if row.script and Path(row.script).name == script.name and row.folder)
        return [row for row in rows if self._path_of(row) in (script.path, _MOVED)]

    def _path_of(self, row: RunRow) -> Path | None:
        if row.folder not in self._records:
            try:
                self._records[row.folder] = Run(Path(row.folder)).record()
            except (OSError, StorageError):
                return None
        record = self._records[row.folder]
        if record is None or record.script is None:
            return None
        path = (Path(record.folder) / record.script).resolve()
        return path if path.exists() else _MOVED

    def listed(self, rows: Sequence[RunRow]) -> Scripts:
        """All of them with their settings, as the page gets them."""
        return Scripts(scripts=[self._view(script, rows) for script in self.all()])

    def _view(self, script: Script, rows: Sequence[RunRow]) -> ScriptView:
        found = self.declared(script, rows)
        mine = self.runs_of(script, rows)
        read, unread = reads_of(mine)
        return ScriptView(
            id=script.id,
            name=script.name,
            settings=[_setting(one, read, unread) for one in found.settings],
            declared_by=found.by,
            newest_run=mine[0].name if mine else None,
            runs=len(mine),
            problem=found.problem,
        )


def reads_of(rows: Sequence[RunRow]) -> tuple[frozenset[str], frozenset[str]]:
    """(keys that the newest of these runs' scripts have read, keys that none of them has)."""
    read: set[str] = set()
    unread: set[str] = set()
    told = 0
    for row in rows[:_ASKED_RUNS]:
        if (never := unread_of(Run(Path(row.folder)).attempts())) is None:
            continue
        read |= row.config.keys() - never
        unread |= never
        told += 1
        if told == _READS_ASKED:
            break
    return frozenset(read), frozenset(unread - read)


def _setting(one: Setting, read: frozenset[str], unread: frozenset[str]) -> ScriptSetting:
    is_known = one.default is not UNKNOWN
    return ScriptSetting(
        key=one.key,
        kind=one.word,
        default=one.default if is_known else None,
        has_default=is_known,
        choices=[choice for choice in one.kind.choices if isinstance(choice, (bool, int, float, str))],
        help=one.help,
        is_read=True if one.key in read else False if one.key in unread else None,
    )


def _script(path: Path) -> Script:
    real = path.resolve()
    return Script(xxhash.xxh3_64_hexdigest(str(real).encode("utf-8", "surrogateescape")), real)


def _stamps_beside(script: Path) -> tuple[object, ...]:
    """Of the modules beside it: what a script declares may stand in one of them."""
    return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(script.parent.glob("*.py"))[:200])
