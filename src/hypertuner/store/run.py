"""Run: one folder, read from its files; nothing is cached and nothing is locked. Its state is a pure function of these
files and of whether the process that owns its newest attempt is alive."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertuner import files
from hypertuner.errors import ConfigError, CorruptFileError
from hypertuner.store import layout, lineage, metrics, records, values
from hypertuner.store.attempt import Attempt, CheckpointFile, RunState, names_in

if TYPE_CHECKING:
    from hypertuner.store import orders

_LONGEST_PATH = 1000  # a ring of forks, which only a hand can make, ends here
# As we write them: int() would give "01", or a 1 in another script, the place of "1".
_NUMBER = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Stretch:
    """A part of a run's path: an attempt, up to where a later one went on from it."""

    run: Run
    attempt: Attempt
    metrics_bytes: int | None = None
    """Length of its metrics.jsonl that belongs to the path; None: all of it."""
    saved_at: str | None = None
    """When the checkpoint was saved that the next stretch went on from."""


class Run:
    """One named execution of a script with a config."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.layout = layout.RunLayout(folder)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.state()}>"

    def exists(self) -> bool:
        """Whether its folder holds a run: one of ours, or one that hypertuner 1.0.4 wrote."""
        return any(path.exists() for path in (self.layout.record, self.layout.config, self.layout.old_metrics))

    def config(self) -> dict[str, Any]:
        """The hyperparameters it was given, flat, dotted keys; {} when it was given none.

        A config.json that people or 1.0.4 wrote may be nested; it reads alike.
        """
        try:
            return values.flatten(records.read_json(self.layout.config))
        except FileNotFoundError:
            return {}
        except ConfigError as error:
            raise CorruptFileError(f"{self.layout.config}: {error}", path=self.layout.config) from error

    def effective_config(self) -> dict[str, Any]:
        """The config as the script of the newest attempt began with it, else as it was given."""
        attempt = self.newest_attempt()
        if attempt is not None and attempt.started is not None and isinstance(attempt.started.config, dict):
            return {**self.config(), **attempt.started.config}
        return self.config()

    def record(self) -> records.RunRecord | None:
        """run.json; None for a folder that hypertuner 1.0.4 made."""
        return records.read(records.RunRecord, self.layout.record)

    def notes(self) -> records.Notes:
        """What people wrote about it."""
        return records.read(records.Notes, self.layout.notes) or records.Notes()

    def write_notes(self, notes: records.Notes) -> None:
        """Replace notes.json."""
        files.replace(self.layout.notes, records.to_bytes(notes))

    def created(self) -> float:
        """When it was made, in seconds since 1970; of an old folder, when its config was written."""
        if (record := self.record()) is not None and (when := records.seconds(record.created)) is not None:
            return when
        for path in (self.layout.config, self.layout.old_metrics, self.layout.model, self.folder):
            if path.exists():
                return path.stat().st_mtime
        return 0.0

    def attempts(self) -> list[Attempt]:
        """Its attempts that were claimed, 1 first."""
        numbers = sorted(int(name) for name in names_in(self.layout.attempts) if _NUMBER.fullmatch(name))
        attempts = [Attempt(self.layout.attempts / str(number)) for number in numbers]
        return [attempt for attempt in attempts if attempt.layout.started.exists()]

    def newest_attempt(self) -> Attempt | None:
        """The attempt that was claimed last, or None; one that is void does not count."""
        return next((attempt for attempt in reversed(self.attempts()) if not attempt.is_void()), None)

    def queued(self) -> orders.Queued | None:
        """queued.json; None when the queue has nothing to do with it, or is done with it."""
        from hypertuner.store import orders

        return records.read(orders.Queued, self.layout.queued)

    def is_waiting(self) -> bool:
        """Whether the queue is to start it: queued.json asks for an attempt that nobody has started yet."""
        queued = self.queued()
        if queued is None:
            return False
        newest = self.newest_attempt()
        return newest is None or newest.number < queued.attempt

    def state(self) -> RunState:
        """What the run is doing, or how it ended."""
        attempt = self.newest_attempt()
        if self.layout.queued.exists() and self.is_waiting():
            state = attempt.state() if attempt is not None else RunState.queued
            return state if state == RunState.running else RunState.queued
        if attempt is not None:
            return attempt.state()
        if self.is_old():
            # 1.0.4 wrote the model last and recorded nothing else.
            return RunState.finished if self.layout.model.exists() else RunState.unknown
        return RunState.draft

    def is_old(self) -> bool:
        """Whether hypertuner 1.0.4 wrote it, and something ran in it."""
        return not self.layout.record.exists() and (self.layout.old_metrics.exists() or self.layout.model.exists())

    def logged(self) -> Iterator[metrics.Record]:
        """What it logged along its path; of an old folder, the rows of logs.csv."""
        path = self.path()
        if not path:
            return metrics.read_old_records(self.layout.old_metrics)
        parts = (metrics.read_records(part.attempt.layout.metrics, part.metrics_bytes) for part in path)
        return itertools.chain.from_iterable(parts)

    def path(self) -> list[Stretch]:
        """The attempts that lead to where the run is now, oldest first; [] when nothing was logged.

        It ends with the newest attempt that logged or went on from something. A resumed attempt is preceded by
        the one it resumed, up to that point; a fork's by its parent's path, if that run is in this storage.
        What an attempt did after the point that a later one went on from is not on the path.
        """
        newest = next(
            (a for a in reversed(self.attempts()) if a.layout.metrics.exists() or a.layout.parent.exists()), None
        )
        if newest is None:
            return []
        path = [Stretch(self, newest)]
        while (before := self._before(path[0])) is not None and len(path) < _LONGEST_PATH:
            path.insert(0, before)
        return path

    def _before(self, stretch: Stretch) -> Stretch | None:
        loaded = stretch.attempt.loaded()
        if loaded is None or loaded.attempt is None or loaded.how not in ("resume", "fork"):
            return None
        run = stretch.run
        if loaded.how == "fork":
            folder = lineage.folder_called(run.folder.parent, loaded.run or "", run.created())
            if folder is None or folder == run.folder:
                return None
            run = Run(folder)
            # A run of that name that was made after the checkpoint is another one: its parent was deleted.
            if run.created() > (records.seconds(loaded.saved_at) or math.inf):
                return None
        attempt = next((a for a in run.attempts() if a.number == loaded.attempt), None)
        return None if attempt is None else Stretch(run, attempt, loaded.metrics_bytes, loaded.saved_at)

    def checkpoints(self) -> list[CheckpointFile]:
        """All its checkpoints, in the order they were made: by attempt, step, repeat."""
        return [file for attempt in self.attempts() for file in attempt.checkpoints()]

    def claim_attempt(self, started: records.Started) -> Attempt:
        """Claim the next attempt: its complete started.json is linked into place, so two never own one.

        `started.attempt` is set to the number that was got.
        """
        existing = self.attempts()
        number = existing[-1].number + 1 if existing else 1
        while True:
            place = self.layout.attempt(number)
            # A folder that nobody claimed and that holds something already is not ours: what an attempt appends to
            # would be whatever lies there, a link to a file elsewhere among it.
            if place.folder.is_symlink() or (place.folder.exists() and any(place.folder.iterdir())):
                number += 1
                continue
            try:
                return self.claim(number, started)
            except FileExistsError:
                number += 1

    def claim(self, number: int, started: records.Started) -> Attempt:
        """Claim attempt `number` and no other. FileExistsError when somebody has it."""
        place = self.layout.attempt(number)
        files.make_folder(place.folder)
        files.put_new(place.started, records.to_bytes(dataclasses.replace(started, attempt=number)))
        return Attempt(place.folder)

    def next_number(self) -> int:
        """The number that a supervisor is to claim: the same for everybody who asks until somebody has claimed it.

        What a killed supervisor left half written does not take a number; what a stranger put there does.
        """
        numbers = [int(name) for name in names_in(self.layout.attempts) if _NUMBER.fullmatch(name)]
        taken = [number for number in numbers if self._is_taken(self.layout.attempt(number).folder)]
        return max(taken, default=0) + 1

    @staticmethod
    def _is_taken(folder: Path) -> bool:
        return folder.is_symlink() or any(not name.startswith(".") for name in names_in(folder))

    def end_attempt(self, attempt: Attempt, ended: records.Exit, *, script: bool = False) -> bool:
        """Write how an attempt ended unless somebody already did; whether this call wrote it.

        `script`: the script says so, whose word goes into exit.json where nobody else is to write that.
        """
        is_awaited = script and attempt.started is not None and attempt.started.exit_by != "script"
        try:
            files.put_new(attempt.layout.script_exit if is_awaited else attempt.layout.exit, records.to_bytes(ended))
        except FileExistsError:
            return False
        return True

    def parent(self) -> Run | None:
        """The run it began from, also when that was renamed since; None when it began from none of this storage."""
        record = self.record()
        if record is None or record.parent is None or record.parent.run is None:
            return None
        folder = lineage.folder_called(self.folder.parent, record.parent.run, self.created())
        return None if folder is None or folder == self.folder else Run(folder)

    def size_bytes(self) -> int:
        """Bytes of all its files on the disk; a file with two names counts once."""
        seen: set[tuple[int, int]] = set()
        total = 0
        for place, folders, others in os.walk(self.folder):
            for name in (*folders, *others):
                try:
                    status = os.lstat(f"{place}{os.sep}{name}")
                except OSError:
                    continue
                if (key := (status.st_dev, status.st_ino)) not in seen:
                    seen.add(key)
                    total += status.st_size
        return total


class Glance(Run):
    """A run at one moment: the files that several answers need are read once, and the answers agree."""

    @functools.cached_property
    def _attempts(self) -> list[Attempt]:
        return super().attempts()

    def attempts(self) -> list[Attempt]:
        """Its attempts that were claimed at that moment, 1 first."""
        return self._attempts

    @functools.cached_property
    def _record(self) -> records.RunRecord | None:
        return super().record()

    def record(self) -> records.RunRecord | None:
        """run.json at that moment."""
        return self._record


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a run: one of ours, or one that hypertuner 1.0.4 wrote."""
    return Run(folder).exists()
