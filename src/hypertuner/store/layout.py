"""The names of all files in a storage. No other module spells one.

storage/
  .gitignore                     `*`: weights do not slip into a commit
  .trash/<when>-<hex>/<run>/     deleted runs, until they are restored or cleaned away
  .queue/                        drainer.json (who drains the queue), paused, changed, drainer.log,
                                 summary.txt (what came of the last draining); `clock` is only drafted
  <run>/
    config.json                  the hyperparameters, flat; complete once the first attempt has started
    run.json                     script, arguments, working folder, created, parent
    source/                      the script and the local modules it uses
    notes.json                   what people edit
    queued.json                  an attempt that the queue is to make; present until that attempt is over
    parent.pt                    the checkpoint this run began from
    model.pt                     the checkpoint this run offers
    logs.csv                     metrics as hypertuner 1.0.4 wrote them; read, never written
    attempts/<n>/
      started.json  metrics.jsonl  media/  parent.json  exit.json
      script.json  script-exit.json  stop.json      of an attempt that a supervisor started
      output.log, output.1.log, …  system.jsonl     of the same
      checkpoints/step-00001200.pt, step-00001200.1.pt, …
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

GITIGNORE = ".gitignore"
TRASH = ".trash"
QUEUE = ".queue"
CONFIG = "config.json"
QUEUED = "queued.json"

WRITTEN_ONCE = frozenset({"source", "media", "checkpoints"})
"""Folders of a run whose files never change once they have their name."""

_TRASHED = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_TRASHED_AT = "%Y%m%dT%H%M%SZ"
_OUTPUT = re.compile(r"output(?:\.([1-9][0-9]{0,8}))?\.log")
_CHECKPOINT = re.compile(r"step-([0-9]{8,18})(?:\.([0-9]{1,9}))?\.pt")


class _Within:
    """The path of a name in a layout's folder. It is made when it is asked for: each has a dozen, and a look at ten
    thousand runs asks for two."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self._attribute = attribute

    def __get__(self, layout: AttemptLayout | RunLayout, owner: type) -> Path:
        path = layout.folder / self._name
        layout.__dict__[self._attribute] = path
        return path


class AttemptLayout:
    """Paths of one attempt."""

    started = _Within("started.json")
    metrics = _Within("metrics.jsonl")
    media = _Within("media")
    output = _Within("output.log")
    figures = _Within("system.jsonl")
    checkpoints = _Within("checkpoints")
    parent = _Within("parent.json")
    exit = _Within("exit.json")
    script = _Within("script.json")
    script_exit = _Within("script-exit.json")
    stop = _Within("stop.json")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def checkpoint(self, step: int, repeat: int = 0) -> Path:
        """Path of the checkpoint saved at `step`; `repeat` counts further saves at the same step."""
        return self.checkpoints / (f"step-{step:08d}.pt" if not repeat else f"step-{step:08d}.{repeat}.pt")

    def output_part(self, number: int) -> Path:
        """Path of part `number` of what the script printed: 0 is its beginning, `output`."""
        return self.folder / f"output.{number}.log" if number else self.output

    def output_parts(self) -> list[int]:
        """The numbers of the parts that are there, in order."""
        try:
            found = [_OUTPUT.fullmatch(path.name) for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(match[1] or 0) for match in found if match)


class RunLayout:
    """Paths of one run."""

    config = _Within(CONFIG)
    record = _Within("run.json")
    source = _Within("source")
    notes = _Within("notes.json")
    queued = _Within(QUEUED)
    parent = _Within("parent.pt")
    model = _Within("model.pt")
    old_metrics = _Within("logs.csv")
    old_model = _Within("model.old.pt")
    attempts = _Within("attempts")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def attempt(self, number: int) -> AttemptLayout:
        """Paths of attempt `number`, 1, 2, …"""
        return AttemptLayout(self.attempts / str(number))

    def drafted_in(self) -> Iterator[Path]:
        """The folders there are in which something of the run is written under a draft's name first."""
        yield self.folder
        yield from self.attempts.glob("*/")
        yield from self.attempts.glob("*/*/")


class QueueLayout:
    """Paths of what a storage's queue needs besides its runs; without them nothing is lost."""

    def __init__(self, storage: Path) -> None:
        self.folder = storage / QUEUE
        self.drainer = self.folder / "drainer.json"
        self.paused = self.folder / "paused"
        self.changed = self.folder / "changed"
        self.log = self.folder / "drainer.log"
        self.summary = self.folder / "summary.txt"
        self.clock = self.folder / "clock"


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
