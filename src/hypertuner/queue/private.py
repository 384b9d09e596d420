"""What a queued run is started with and its folder must not say: the whole environment of whoever queued it, and its
arguments as they were typed.

It lies in the user's own folder, for this user's eyes (mode 0600), named by its content: twenty runs of one shell share
one file. A run folder that is copied, zipped or mailed has the name of it and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from hypertuner import files, settings
from hypertuner.errors import QueueError, StorageError
from hypertuner.store import records

# What the shell of the moment says of itself: no run needs it, and with it no two shells share a file.
_OF_THE_SHELL = {"_", "OLDPWD", "SHLVL", "PS1", "PROMPT_COMMAND", "HISTFILE", "WINDOWID"}


_YOUNG_S = 3600.0  # of a run that is being queued the environment is kept before its queued.json names it


@dataclass(frozen=True)
class Private:
    """The environment and the arguments of a queued run."""

    environment: Mapping[str, str]
    arguments: tuple[str, ...]


def folder_of(storage: Path) -> Path:
    """Where the private parts of a storage's queue lie."""
    return settings.config_folder() / "queued" / xxhash.xxh3_64_hexdigest(os.fsencode(os.path.realpath(storage)))


def keep(storage: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> str:
    """Keep both; the name to find them by. QueueError when the user's folder cannot be written."""
    # Bytes that are no UTF-8 are text with surrogates in Python; JSON has no such text, so each byte is a character.
    kept = {_to_json(name): _to_json(value) for name, value in environment.items() if name not in _OF_THE_SHELL}
    data = records.to_bytes({"environment": kept, "arguments": [_to_json(argument) for argument in arguments]})
    name = xxhash.xxh3_128_hexdigest(data)
    path = folder_of(storage) / f"{name}.json"
    try:
        # Written anew when it has lain there for a while: whoever sweeps leaves a young one alone.
        if not path.exists() or _age_s(path) > _YOUNG_S / 2:
            files.make_folder(path.parent, mode=0o700)
            files.replace(path, data, mode=0o600)
    except (OSError, StorageError) as error:
        raise QueueError(
            f"Nothing can be queued: its environment is kept in {path.parent}, which cannot be written: {error}\n"
            "  Make that folder writable, or name another by HYPERTUNER_HOME."
        ) from error
    return name


def read(storage: Path, name: str) -> Private | None:
    """What was kept under a name; None when it is gone: queued by another user, or on another machine."""
    if not name.isalnum():
        return None
    try:
        values = records.read_json(folder_of(storage) / f"{name}.json")
    except (OSError, StorageError):
        return None
    environment = {_from_json(key): _from_json(value) for key, value in values.get("environment", {}).items()}
    return Private(environment, tuple(map(_from_json, values.get("arguments", ()))))


def is_kept(storage: Path, name: str) -> bool:
    """Whether something is kept under a name that this user may read."""
    return name.isalnum() and os.access(folder_of(storage) / f"{name}.json", os.R_OK)


def sweep(storage: Path, needed: Iterable[str]) -> None:
    """Remove what no queued run needs any more."""
    kept = set(needed)
    with contextlib.suppress(OSError):
        for path in folder_of(storage).iterdir():
            if path.suffix == ".json" and path.stem not in kept and _age_s(path) > _YOUNG_S:
                files.remove(path)


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _to_json(text: str) -> str:
    return os.fsencode(text).decode("latin-1")


def _from_json(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))
