"""The names of all files in a storage. No other module spells one.

storage/
  .gitignore                     `*`: weights do not slip into a commit
  .trash/<when>-<hex>/<run>/     deleted runs, until they are restored or cleaned away
  <run>/
    config.json                  the hyperparameters, flat; complete once the first attempt has started
    run.json                     script, arguments, working folder, created, parent
    source/                      the script and the local modules it uses
    notes.json                   what people edit
    queued.json                  present while the run waits
    parent.pt                    the checkpoint this run began from
    model.pt                     the checkpoint this run offers
    logs.csv                     metrics as hypertuner 1.0.4 wrote them; read, never written
    attempts/<n>/
      started.json  metrics.jsonl  media/  output.log  parent.json  exit.json
      checkpoints/step-00001200.pt, step-00001200.1.pt, …
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

GITIGNORE = ".gitignore"
TRASH = ".trash"
CONFIG = "config.json"

WRITTEN_ONCE = frozenset({"source", "media", "checkpoints"})
"""Folders of a run whose files never change once they have their name."""

_TRASHED = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_TRASHED_AT = "%Y%m%dT%H%M%SZ"
_CHECKPOINT = re.compile(r"step-([0-9]{8,18})(?:\.([0-9]{1,9}))?\.pt")


class AttemptLayout:
    """Paths of one attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = folder / "started.json"
        self.metrics = folder / "metrics.jsonl"
        self.media = folder / "media"
        self.output = folder / "output.log"
        self.checkpoints = folder / "checkpoints"
        self.parent = folder / "parent.json"
        self.exit = folder / "exit.json"

    def checkpoint(self, step: int, repeat: int = 0) -> Path:
        """Path of the checkpoint saved at `step`; `repeat` counts further saves at the same step."""
        return self.checkpoints / (f"step-{step:08d}.pt" if not repeat else f"step-{step:08d}.{repeat}.pt")


class RunLayout:
    """Paths of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / CONFIG
        self.record = folder / "run.json"
        self.source = folder / "source"
        self.notes = folder / "notes.json"
        self.queued = folder / "queued.json"
        self.parent = folder / "parent.pt"
        self.model = folder / "model.pt"
        self.old_metrics = folder / "logs.csv"
        self.old_model = folder / "model.old.pt"
        self.attempts = folder / "attempts"

    def attempt(self, number: int) -> AttemptLayout:
        """Paths of attempt `number`, 1, 2, …"""
        return AttemptLayout(self.attempts / str(number))


def trash_place() -> str:
    """Name of a new folder in the trash, which says when it was made."""
    return f"{datetime.now(timezone.utc).strftime(_TRASHED_AT)}-{os.urandom(4).hex()}"


def trashed_at(name: str) -> float | None:
    """When a folder of the trash was made, in seconds since 1970; None for one that we did not make."""
    match = _TRASHED.fullmatch(name)
    try:
        return datetime.strptime(f"{match[1]}+0000", f"{_TRASHED_AT}%z").timestamp() if match else None
    except ValueError:
        return None


def checkpoint_step(path: Path) -> tuple[int, int] | None:
    """(step, repeat) of a checkpoint's file name, or None for another file."""
    match = _CHECKPOINT.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def run_of_config(path: Path, storage: Path) -> Path | None:
    """The run folder that `path` names as its `config.json`, or None when it is some other file.

    It names a run when its folder lies in `storage`, in a folder called like it, or is a run folder already.
    """
    if path.name != CONFIG:
        return None
    # Lexically: `storage/../config.json` is a file beside the storage, not a run in it.
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100  # Path has no such call
    home = folder.parent
    if home == storage.absolute() or home.name == storage.name or RunLayout(folder).record.exists():
        return folder
    return None
