"""ActiveRun: a run that this process is, or could become. Nothing is written before its first record or save.

The first write makes the folder, claims an attempt, keeps the source and tells the process's children who owns
it; `end` writes how it ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypertuner import files, settings
from hypertuner.errors import ConfigError, HypertunerError, StorageError
from hypertuner.store import board, capture, exits, metrics, ownership, process, ranks, records, supervised
from hypertuner.store.attempt import Attempt
from hypertuner.store.run import Run
from hypertuner.store.said import say, say_once, shown
from hypertuner.store.storage import Storage
from hypertuner.store.together import RUN_VARIABLE, Together

RESUME_VARIABLE = "HYPERTUNER_RESUME"
CONFIG_VARIABLE = "HYPERTUNER_CONFIG"


@dataclasses.dataclass(frozen=True)
class PendingParent:
    """The checkpoint a run is to begin from, and the file that holds it."""

    parent: records.Parent
    file: Path


class ActiveRun:
    """A run that this process is, or could become: nothing is written before `attempt()`."""

    def __init__(
        self,
        storage: Storage,
        *,
        name: str | None = None,
        run: Run | None = None,
        given: Mapping[str, Any] | None = None,
        given_from: str = "",
        parent: PendingParent | None = None,
        writes: bool = True,
        restores: bool = True,
        resume: str | None = None,
        claimed: int | None = None,
        number: int = 0,
    ) -> None:
        self.storage = storage
        self.run = run
        self.given_from = given_from
        self._writes = writes
        self._restores = restores
        self.resume = resume
        """Which checkpoint of this run a Saver restores when it is made ('last', '1200'); None: none unasked."""
        self._claimed = claimed
        """The attempt that a supervisor has claimed for this process; None: it claims its own."""
        self.parent_is_loaded = False
        """Whether this process put its parent's weights into a model."""
        self.last_step: int | None = None
        self.last_values: dict[str, Any] = {}
        self.lost_records = 0
        self.lost_values = 0
        self.is_open = True
        self.claims: dict[str, object] = {}
        """One place for what must be one a run: the Saver's model."""
        self.asked: set[str] = set()
        """Keys of the config that were set by hand, on the command line or in `new_run`."""
        self._name = name
        self._given = given
        self._parent = parent
        self._declared: dict[str, Any] | None = None
        self._args: object = None
        self._effective: Callable[[], dict[str, Any]] | None = None
        self._attempt: Attempt | None = None
        self._appender: files.Appender | None = None
        self._lock = threading.RLock()
        self._flushes: list[Callable[[], None]] = []
        self._endings: list[Callable[[], str | None]] = []
        self.began = time.monotonic()
        self._pid: int | None = None
        self._clock = time.time() - time.monotonic()
        self.together = Together(number)
        """What the ranks that train this run tell each other."""
        # Rank 0 alone refuses a changed config: to another rank a run that rank 0 has just started looks the same.
        self.started_before = run is not None and ranks.rank() == 0 and (self._has_attempts(run) or run.is_old())

    def _has_attempts(self, run: Run) -> bool:
        """Whether the run was started before this attempt of it."""
        return any(attempt.number != self._claimed and not attempt.is_void() for attempt in run.attempts())

    @property
    def writes(self) -> bool:
        """Whether this process writes: not a worker of the one that owns the attempt, nor one that imports the script
        again, no rank but 0, nothing under HYPERTUNER_MODE=off."""
        # Once it has begun to write alone, only a process group can make it another rank. Asking all the rest again at
        # every record takes a quarter of the time that a record takes.
        if self._attempt is not None and not ranks.is_grouped():
            return self._writes
        rank = ranks.rank()
        if rank > 0 and self._attempt is not None:
            say_once(
                f"rank {rank} logged or saved before its process group was there, and has made a run of its own, "
                f"{self.name}.\n  Make Logger and Saver after torch.distributed.init_process_group().",
                rank=None,
            )
        return rank == 0 and self._writes and not process.is_importing_main()

    @property
    def restores(self) -> bool:
        """Whether a Saver of this process puts a parent's or a resumed checkpoint into its model: every rank does."""
        return self._restores and not process.is_importing_main()

    def only_read(self) -> None:
        """Write nothing from here on: this process is a copy of the one that owns the attempt."""
        self._writes = False

    @property
    def name(self) -> str | None:
        """Its name; None until a new run is named at its first write, by rank 0 for all."""
        if self.run is None and self.is_follower and (folder := self.together.folder_if_told()) is not None:
            self.run = Run(folder)
        return self.run.name if self.run is not None else self._name

    @property
    def folder(self) -> Path:
        """Absolute path of its folder, which is made if it is not there yet; other ranks wait until rank 0 made it.

        Raises: ConfigError when rank 0 does not, or cannot be heard: on several machines without a process group.
        """
        if self.is_follower and self.run is None:
            self.run = Run(self.together.ask_folder())
        elif self._writes or self.run is None:
            self.attempt()
        assert self.run is not None
        return self.run.folder

    @property
    def is_follower(self) -> bool:
        """Whether another rank of the same training writes for this one."""
        return self._writes and ranks.rank() > 0

    @property
    def has_config(self) -> bool:
        """Whether it was handed a config."""
        return bool(self._given) or (self.run is not None and self.run.layout.config.exists())

    @property
    def given(self) -> Mapping[str, Any]:
        """The config it was handed, flat; {} when none. ConfigError when `--config` names one that is not there."""
        if self._given is not None:
            return self._given
        if self.run is None:
            return {}
        if not self.run.layout.config.exists() and self.given_from:
            raise ConfigError(
                f"{self.given_from} names a config that does not exist: {self.run.layout.config}.\n"
                "  Write it, or leave the option out: hypertuner makes a new run.",
                path=self.run.layout.config,
            )
        return self.run.config()

    @property
    def parent(self) -> PendingParent | None:
        """The checkpoint it is to begin from, or None."""
        if self._parent is None and self.run is not None:
            record = self.run.record()
            if record is not None and record.parent is not None:
                self._parent = PendingParent(record.parent, self.run.layout.parent)
        return self._parent

    @property
    def begins_from(self) -> str | None:
        """In words, the checkpoint that must be in the model before it trains: 'starts from …'; None: none."""
        if self.resume is not None:
            return f"resumes '{self.name}@{self.resume}'"
        if self.parent is None:
            return None
        verb = "forks" if self.parent.parent.how == "fork" else "starts from"
        return f"{verb} {self.parent.parent.reference!r}"

    @property
    def is_awaited(self) -> bool:
        """Whether this process was started to be the next attempt of a run, and has not begun it."""
        if self._attempt is not None or not self.writes or self.run is None or not self.run.layout.record.exists():
            return False
        return not process.is_worker() and (self.resume is not None or not self._has_attempts(self.run))

    def watch(self) -> None:
        """Be told how this process ends, also before anything was written."""
        self._pid = os.getpid()
        exits.watch(self)

    def declare(self, args: object, effective: Callable[[], dict[str, Any]]) -> None:
        """Register the one Args of this run. `effective` gives its values, whenever it is asked.

        Raises: ConfigError when another Args, with other values, is registered already.
        """
        with self._lock:
            values = effective()
            if self._args is not None and self._args is not args and values != self._declared:
                assert self._declared is not None
                changed = sorted(
                    key for key in values.keys() | self._declared.keys() if values.get(key) != self._declared.get(key)
                )
                raise ConfigError(
                    f"This run has its Args already, and the second one differs in {', '.join(changed[:8])}.\n"
                    f"  First: {self._args!r}\n  Second: {args!r}\n"
                    "  One run has one config. Several runs in one process (a loop, a cell that is run again, Hydra's "
                    "multirun),\n  each in a block of its own: `with hypertuner.new_run(**config) as args: ...`",
                    key=changed[0] if changed else None,
                )
            if self._args is None:
                self._declared = values
            self._args, self._effective = args, effective

    def config(self) -> dict[str, Any]:
        """The config in force now: as handed over, completed by Args, with what the script changed since."""
        if self._effective is not None:
            return self._effective()
        return dict(self.given) if self.has_config else {}

    def unread(self) -> tuple[str, ...] | None:
        """Keys of the registered Args that the script has not read; None where that is not known."""
        ask = getattr(self._args, "unread", None)
        # An earlier attempt may have read what this one had no use for.
        return tuple(ask()) if ask is not None and not self.started_before else None

    def _say_unread(self) -> None:
        """Tell of settings made by hand that had no effect: the script never read them."""
        record = self.run.record() if self.run is not None else None
        asked = self.asked.union(record.asked if record is not None else ())
        config = self.config()
        if names := [name for name in self.unread() or () if name in asked]:
            said = ", ".join(f"{name}={config.get(name)!r}" for name in names)
            say(f"{self.name}: this script never reads {said}: {'they' if len(names) > 1 else 'it'} changed nothing")

    def attempt(self) -> Attempt:
        """The attempt that this process owns; claimed, and the folder made, at the first call."""
        with self._lock:
            if self._attempt is None:
                self._attempt = self._start()
            if self.run is not None:
                self.together.tell_folder(self.run.folder)
            return self._attempt

    @property
    def has_started(self) -> bool:
        """Whether anything was written."""
        return self._attempt is not None

    def _start(self) -> Attempt:
        if not self.is_open:
            raise StorageError(f"Run {self.name!r} has ended: nothing can be written into it any more.")
        script = capture.script()
        if self.run is None or not self.run.layout.record.exists():
            self._create(script)
        assert self.run is not None
        is_first = not self.started_before and not self._has_attempts(self.run)
        if is_first and self._declared not in (None, self.run.config()):
            # Completed by the script's defaults; from the first attempt on it stays as it is.
            files.replace(self.run.layout.config, records.to_bytes(self._declared))
        if script is not None and not self.run.layout.source.exists():
            capture.keep_source(script, self.run.layout.source)
        number = self._claimed
        attempt = None if number is None else supervised.take(self.run, number, self.config())
        attempt = attempt or self.run.claim_attempt(
            records.Started.here(exit_by="script", config=self.config(), **capture.gather(Path.cwd()))
        )
        self._pid = os.getpid()
        ownership.own(attempt)
        for variable in (RUN_VARIABLE, CONFIG_VARIABLE, RESUME_VARIABLE, supervised.VARIABLE):
            os.environ.pop(variable, None)
        exits.watch(self)
        board.sweep()
        again = f" (attempt {attempt.number}: torchrun started it again)" if ranks.restarts() else ""
        say(f"run {self.run.name} → {shown(self.run.folder)}{again}")
        return attempt

    def _create(self, script: Path | None) -> None:
        record = records.RunRecord(
            script=shown(script).removeprefix("./") if script else None,
            arguments=capture.without_secrets(sys.argv[1:] if script else []),
            folder=str(settings.start_folder()),
            created=records.now(),
            parent=self._parent.parent if self._parent else None,
            asked=tuple(sorted(self.asked)),
            processes=ranks.launched(),
        )
        config = self._declared if self._declared is not None else (self._given or {})
        if self.run is not None and self.run.folder.exists():
            # A folder with a config that somebody wrote by hand, or hypertuner 1.0.4's GUI.
            files.put_new(self.run.layout.record, records.to_bytes(record))
            return
        name = self.run.name if self.run is not None else self._name
        self.run = self.storage.create(name, record, config, parent_file=self._parent.file if self._parent else None)

    def log(self, step: int, values: dict[str, Any], time_s: float | None = None) -> None:
        """Append one record, at `time_s` or now. Raises OSError or StorageError when it could not be written."""
        with self._lock:
            if self._appender is None:
                self._appender = files.Appender(self.attempt().layout.metrics)
            line = metrics.encode(step, self._clock + time.monotonic() if time_s is None else time_s, values)
            self._appender.append(line)
            self.last_step = step
            self.last_values.update(values)

    def on_flush(self, flush: Callable[[], None]) -> None:
        """Call `flush`, which must not raise, before a checkpoint is saved and before the run ends."""
        self._flushes.append(flush)

    def on_end(self, ending: Callable[[], str | None]) -> None:
        """Call `ending` before the run ends: it returns when nothing is pending, with what failed, or None."""
        self._endings.append(ending)

    def flush(self) -> None:
        """Write whatever was held back."""
        for flush in self._flushes:
            flush()

    @property
    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl now: where a resumed or forked curve goes on."""
        return self._appender.size if self._appender is not None else 0

    def sync_metrics(self) -> None:
        """Make what was logged survive a power cut."""
        if self._appender is not None:
            self._appender.sync()

    def end(self, state: str, reason: str, *, code: int | None = 0, signal: str | None = None, trace: str = "") -> None:
        """Write exit.json, once; nothing happens in a child process, or when nothing was started."""
        if self._pid not in (None, os.getpid()):
            return
        if self.is_open:
            for ending in self._endings:
                if (failure := ending()) is not None and state == "finished":
                    state, reason = "failed", failure
        with exits.undisturbed(), self._lock:
            if not self.is_open:
                return
            self.flush()
            if state == "failed" and self.is_awaited:
                # Failed before its first record: the reason is known here only. Where it cannot be written, whoever
                # waits writes the exit code.
                with contextlib.suppress(OSError, HypertunerError):
                    self.attempt()
            self.is_open = False
            if self._attempt is None:
                if state == "failed" and self.is_follower:
                    self.together.tell_failure(reason)
                return
            assert self.run is not None
            if state != "finished" and ranks.world_size() > 1:
                state, reason = self.together.with_others(state, reason)
            if state == "finished" and self.parent is not None and not self.parent_is_loaded:
                state, reason = (
                    "failed",
                    f"parent never loaded: no Saver took the weights of {self.parent.parent.reference}",
                )
                say(f"{self.run.name} failed: {reason}")
            if self.resume is not None and not self.parent_is_loaded and state == "finished":
                state, reason = "failed", f"never resumed: no Saver took the checkpoint {self.name}@{self.resume}"
                say(f"{self.run.name} failed: {reason}")
            if state == "finished":
                self._say_unread()
                goes_on = (self.begins_from or "").startswith(("resumes", "forks"))
                if goes_on and self._appender is None and not self._attempt.checkpoints():
                    say(f"{self.run.name}: went on from a checkpoint, and nothing was left to do")
            for count, what in ((self.lost_records, "records"), (self.lost_values, "values")):
                if count:
                    say(f"{self.run.name}: {count} {what} of metrics could not be written")
            ended = records.Exit(
                state=state,
                code=code,
                signal=signal,
                reason=capture.hide_secrets(reason),
                ended_at=records.now(),
                traceback=capture.hide_secrets(trace) or None,
                peak_memory_bytes=exits.peak_memory_bytes(),
                lost_records=self.lost_records,
                cause=exits.cause_of(state, reason),
                unread=self.unread() if state == "finished" else None,
            )
            if self._appender is not None:
                self._appender.close()
            ownership.disown(self._attempt)
            try:
                self.run.end_attempt(self._attempt, ended, script=True)
            except (OSError, StorageError) as error:
                say(f"{self.run.name}: could not record how it ended: {error}")
