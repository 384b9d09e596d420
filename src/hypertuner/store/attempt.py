"""Attempt: one start of a run's script, read from its folder. What it is doing is derived from its files and from
whether the process that owns it is alive: `crashed` and `unknown` are never written."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypertuner.store import layout, metrics, records
from hypertuner.store.process import ProcessIdentity

if TYPE_CHECKING:
    from hypertuner.store import orders


class RunState(str, enum.Enum):
    """What a run is doing, or how it ended."""

    draft = "draft"
    queued = "queued"
    running = "running"
    finished = "finished"
    failed = "failed"
    stopped = "stopped"
    pruned = "pruned"
    crashed = "crashed"
    """The process is gone without saying goodbye."""
    unknown = "unknown"
    """It ran on a host that cannot be asked from here."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class CheckpointFile:
    """One checkpoint's file: complete, self-describing, never overwritten."""

    path: Path
    attempt: int
    step: int
    repeat: int


class Attempt:
    """One start of a run's script."""

    def __init__(self, folder: Path) -> None:
        self.number = int(folder.name)
        self.layout = layout.AttemptLayout(folder)
        self._exit: records.Exit | None = None

    @functools.cached_property
    def started(self) -> records.Started | None:
        """started.json; None for a folder that nobody claimed. Of one claimed for a script: with what that began."""
        started = records.read(records.Started, self.layout.started)
        if started is not None and started.exit_by != "script" and (script := self.script()) is not None:
            return dataclasses.replace(started, config=script.config)
        return started

    def script(self) -> orders.Script | None:
        """script.json: which process took an attempt that had been claimed for it; None before, and of its own."""
        from hypertuner.store import orders

        return records.read(orders.Script, self.layout.script)

    def exit(self) -> records.Exit | None:
        """exit.json; None while the attempt runs, or when it never said goodbye."""
        # Written once: what was read stays true.
        if self._exit is None:
            self._exit = records.read(records.Exit, self.layout.exit)
        return self._exit

    def owner(self) -> ProcessIdentity | None:
        """The process that must be asked whether the attempt runs; None when its files tell how it is."""
        if self.exit() is not None or (started := self.started) is None:
            return None
        return ProcessIdentity(
            started.host,
            started.boot_id,
            started.pid_namespace,
            started.pid,
            started.process_started,
            started.machine,
        )

    def state(self) -> RunState:
        """finished, failed, stopped or pruned as written; else running, crashed or unknown, as found."""
        owner = self.owner()
        if owner is not None and (state := self._living_state(owner)) != RunState.crashed:
            return state
        # It may have said goodbye between the two looks, at its files and at its process. What the script of a
        # supervisor that is gone has said of its own end is still the truth.
        ended = self.exit() or records.read(records.Exit, self.layout.script_exit)
        if ended is not None:
            try:
                return RunState(ended.state)
            except ValueError:
                return RunState.unknown
        return RunState.draft if owner is None else RunState.crashed

    def _living_state(self, owner: ProcessIdentity) -> RunState:
        state = living_state(owner)
        if state == RunState.crashed and (script := self.script()) is not None:
            # Who waited for the script is gone: a supervisor takes it along, where it can; a command does not.
            return living_state(dataclasses.replace(owner, pid=script.pid, started=script.process_started))
        return state

    def is_void(self) -> bool:
        """Whether a supervisor claimed it and was gone before it started anything: as if it had never been."""
        if any(not name.startswith(".") for name in names_in(self.layout.folder) if name != self.layout.started.name):
            return False
        started = self.started
        if started is None or started.exit_by != "supervisor" or (owner := self.owner()) is None:
            return False
        # Between the two looks it may have started something.
        return owner.is_alive() is False and not self.layout.output.exists()

    def loaded(self) -> records.ParentLoaded | None:
        """parent.json; None when it began from nothing, or has not got that far."""
        return records.read(records.ParentLoaded, self.layout.parent)

    def checkpoints(self) -> list[CheckpointFile]:
        """Its checkpoints, in the order of (step, repeat)."""
        found = []
        for name in names_in(self.layout.checkpoints):
            path = self.layout.checkpoints / name
            if (step := layout.checkpoint_step(path)) is not None:
                found.append(CheckpointFile(path, self.number, *step))
        return sorted(found, key=lambda file: (file.step, file.repeat))

    def logged(self) -> Iterator[metrics.Record]:
        """What it logged, in order."""
        return metrics.read_records(self.layout.metrics)


def living_state(owner: ProcessIdentity) -> RunState:
    """The state of an attempt without exit.json, by the process that owns it: running, crashed or unknown."""
    return {True: RunState.running, False: RunState.crashed, None: RunState.unknown}[owner.is_alive()]


def names_in(folder: Path) -> list[str]:
    """The names in a folder; [] when there is no such folder."""
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
