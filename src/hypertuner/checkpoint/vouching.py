"""Whose files are trusted: the user's own, which carry their mark, and those that they vouched for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypertuner.checkpoint.format import pickles, trust
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.format.table import FORMAT

Trusted = Literal["yours", "vouched"]


@dataclass(frozen=True)
class Vouched:
    """One file that was vouched for, or is no longer."""

    path: Path
    was: Trusted | None
    """How it was trusted before; None: not at all."""
    user: str
    host: str
    runs: tuple[str, ...]
    """What loading its model object imports and runs."""


def trusted_as(archive: Archive) -> Trusted | None:
    """'yours' for a file with this user's mark, 'vouched' for one they vouched for; None for any other.

    Raises: ConfigError when the user's key cannot be had.
    """
    if archive.kind != FORMAT:
        return None
    key = trust.user_key()
    if archive.is_marked_by(key):
        return "yours"
    return "vouched" if trust.is_vouched(archive.mark_by(key)) else None


def vouch(path: Path, *, take_back: bool = False) -> Vouched:
    """Vouch for the code in a file, or no longer; the file itself is not touched.

    Raises: CorruptFileError where it is none of hypertuner's; ConfigError; OSError.
    """
    with Archive.open(path) as archive:
        mark = archive.mark_by(trust.user_key())
        was = trusted_as(archive)
        made = archive.index.environment
        runs = _runs(archive)
    if take_back:
        trust.take_back(mark)
    elif was is None:
        trust.vouch(mark)
    return Vouched(path, was, str(made.get("user") or "somebody"), str(made.get("host") or "another host"), runs)


def _runs(archive: Archive) -> tuple[str, ...]:
    recipe: Any = archive.index.recipe
    sources = recipe.get("sources", {}) if isinstance(recipe, dict) else {}
    found = dict.fromkeys(f"{name} (its source is in the file)" for name in sources)
    root: Any = archive.pickle().root
    for part in ("module", "opaque"):
        if isinstance(root, dict) and isinstance(data := root.get(part), bytes):
            found |= dict.fromkeys(pickles.globals_of(data, str(archive.path)))
    return tuple(found)
