"""Which run a name meant at a moment, also after runs were renamed.

A child records its parent by the name it had. Renaming a run rewrites nothing of its children: the renamed run keeps
its former names, each with the time until which it had it (`former` in notes.json). A name and a time then tell the
run, also when another one has taken the name since. Copied and mailed folders bring what they were called along.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from hypertuner.errors import StorageError
from hypertuner.store import layout, names, records


@dataclass(frozen=True)
class _Former:
    """One name that a run no longer has."""

    folder: Path
    since: float
    until: float


def folder_called(storage: Path, name: str, when: float) -> Path | None:
    """Folder of the run that was called `name` at `when` (seconds since 1970); None when it is not in the storage.

    A run that gave the name up later comes before the one that has it now: that one cannot have had it then.
    """
    if not names.is_name(name):
        return None
    for former in _former_names(storage).get(name, ()):
        if former.since <= when <= former.until:
            return former.folder
    now = storage / name
    place = layout.RunLayout(now)
    return now if place.record.exists() or place.config.exists() else None


def renamed_to(storage: Path, name: str) -> str | None:
    """What the run is called now that was the last to be called `name`, if it was renamed."""
    found = _former_names(storage).get(name, ())
    return max(found, key=lambda former: former.until).folder.name if found else None


def _read(folder: Path) -> dict[str, float]:
    try:
        notes = records.read(records.Notes, layout.RunLayout(folder).notes)
    except (StorageError, OSError):
        return {}
    return {name: records.seconds(str(until)) or 0.0 for name, until in (notes.former if notes else {}).items()}


def _former_names(storage: Path) -> dict[str, tuple[_Former, ...]]:
    try:
        changed = storage.stat().st_mtime_ns
    except OSError:
        return {}
    return _all_former_names(storage, changed)


def forget() -> None:
    """Read former names anew: a rename by this process may come within one tick of the file system's clock."""
    _all_former_names.cache_clear()


# A rename changes the time of the storage's folder, so what was read stays true until then.
@functools.lru_cache(maxsize=4)
def _all_former_names(storage: Path, changed_ns: int) -> dict[str, tuple[_Former, ...]]:
    found: dict[str, list[_Former]] = {}
    for place in os.scandir(storage):
        folder = storage / place.name
        if place.name.startswith(".") or not layout.RunLayout(folder).notes.exists():
            continue
        since = 0.0
        for name, until in sorted(_read(folder).items(), key=lambda former: former[1]):
            if name != folder.name:
                found.setdefault(name, []).append(_Former(folder, since, until))
            since = until
    return {name: tuple(held) for name, held in found.items()}
