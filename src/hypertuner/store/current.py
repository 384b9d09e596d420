"""Which run this is: the one place that knows, asked by Args, Logger and Saver at every call.

The innermost `new_run` block > `--config=<storage>/<run>/config.json` > HYPERTUNER_RUN > a new run with a
friendly name. A run's folder appears with the first thing written into it, so `--help` or an import leave
nothing behind.

The process that owns an attempt tells its children (HYPERTUNER_ATTEMPT): data-loading and spawned workers,
which run the script again, write nothing; another program started from it makes its own run.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hypertuner import files, settings
from hypertuner.errors import ConfigError, StorageError
from hypertuner.store import capture, exits, layout, metrics, records
from hypertuner.store.process import ProcessIdentity
from hypertuner.store.run import Attempt, Run
from hypertuner.store.storage import Storage

RUN_VARIABLE = "HYPERTUNER_RUN"
ATTEMPT_VARIABLE = "HYPERTUNER_ATTEMPT"
CONFIG_VARIABLE = "HYPERTUNER_CONFIG"


def say(text: str) -> None:
    """One line for people, on the error stream, unless HYPERTUNER_QUIET; never an error of its own."""
    if not settings.QUIET.get() and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"hypertuner: {text}", file=sys.stderr, flush=True)


@functools.lru_cache(maxsize=256)
def say_once(text: str) -> None:
    """`say`, the first time only."""
    say(text)


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
    ) -> None:
        self.storage = storage
        self.run = run
        self.given_from = given_from
        self.writes = writes
        """False for a worker of the process that owns the attempt, and under HYPERTUNER_MODE=off."""
        self.last_step: int | None = None
        self.last_values: dict[str, Any] = {}
        self.lost_records = 0
        self.lost_values = 0
        self.is_open = True
        self.claims: dict[str, object] = {}
        """One place for what must be one a run: the Saver's model."""
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
        self._pid = os.getpid()
        self._clock = time.time() - time.monotonic()
        self.started_before = run is not None and bool(run.attempts())

    @property
    def name(self) -> str | None:
        """Its name; None until a new run is named at its first write."""
        return self.run.name if self.run is not None else self._name

    @property
    def folder(self) -> Path:
        """Absolute path of its folder, which is made if it is not there yet."""
        self.attempt()
        assert self.run is not None
        return self.run.folder

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
    def parent_is_loaded(self) -> bool:
        """Whether this attempt put the parent's weights into a model."""
        return self._attempt is not None and self._attempt.layout.parent.exists()

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
                    "  One run has one config. For several runs in one process: "
                    "`with hypertuner.new_run(learning_rate=0.1) as args: ...`",
                    key=changed[0] if changed else None,
                )
            if self._args is None:
                self._declared = values
            self._args, self._effective = args, effective

    def config(self) -> dict[str, Any]:
        """The config in force now: as handed over, completed by Args, with what the script changed since."""
        if self._effective is not None:
            return {**(self._given or {}), **self._effective()}
        return dict(self.given) if self.has_config else {}

    @property
    def unread(self) -> Callable[[], list[str]] | None:
        """How to ask the registered Args which keys the script never read."""
        return getattr(self._args, "_unread", None)

    def attempt(self) -> Attempt:
        """The attempt that this process owns; claimed, and the folder made, at the first call."""
        with self._lock:
            if self._attempt is None:
                self._attempt = self._start()
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
        if not self.run.attempts() and self._declared is not None:
            # Completed by the script's defaults; from the first attempt on it stays as it is.
            complete = {**(self._given if self._given is not None else self.run.config()), **self._declared}
            if complete != self.run.config():
                files.replace(self.run.layout.config, records.to_bytes(complete))
        if script is not None and not self.run.layout.source.exists():
            capture.keep_source(script, self.run.layout.source)
        identity = ProcessIdentity.mine()
        attempt = self.run.claim_attempt(
            records.Started(
                attempt=0,
                started_at=records.now(),
                host=identity.host,
                boot_id=identity.boot_id,
                pid_namespace=identity.pid_namespace,
                pid=identity.pid,
                process_started=identity.started,
                exit_by="script",
                config=self.config(),
                **capture.gather(Path.cwd()),
            )
        )
        os.environ[ATTEMPT_VARIABLE] = str(attempt.layout.folder)
        for variable in (RUN_VARIABLE, CONFIG_VARIABLE):
            os.environ.pop(variable, None)
        exits.watch(self)
        say(f"run {self.run.name} → {_shown(self.run.folder)}")
        return attempt

    def _create(self, script: Path | None) -> None:
        record = records.RunRecord(
            script=_relative(script) if script else None,
            arguments=capture.without_secrets(sys.argv[1:] if script else []),
            folder=str(Path.cwd()),
            created=records.now(),
            parent=self._parent.parent if self._parent else None,
        )
        config = self._declared if self._declared is not None else (self._given or {})
        if self.run is not None and self.run.folder.exists():
            # A folder with a config that somebody wrote by hand, or hypertuner 1.0.4's GUI.
            files.put_new(self.run.layout.record, records.to_bytes(record))
            return
        name = self.run.name if self.run is not None else self._name
        self.run = self.storage.create(
            name, record, {**(self._given or {}), **config}, parent_file=self._parent.file if self._parent else None
        )

    def log(self, step: int, values: dict[str, Any], time_s: float | None = None) -> None:
        """Append one record, at `time_s` or now. Raises OSError or StorageError when it could not be written."""
        with self._lock:
            if self._appender is None:
                self._appender = files.Appender(self.attempt().layout.metrics)
            line = metrics.encode(step, self._clock + time.monotonic() if time_s is None else time_s, values)
            try:
                self._appender.append(line)
            except OSError:
                self._appender.close_half_line()
                raise
            self.last_step = step
            self.last_values.update(values)

    def on_flush(self, flush: Callable[[], None]) -> None:
        """Call `flush`, which must not raise, before a checkpoint is saved and before the run ends."""
        self._flushes.append(flush)

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
        with self._lock:
            if not self.is_open or os.getpid() != self._pid:
                return
            self.flush()
            self.is_open = False
            if self._attempt is None:
                return
            assert self.run is not None
            if state == "finished" and self.parent is not None and not self.parent_is_loaded:
                state, reason = (
                    "failed",
                    f"parent never loaded: no Saver took the weights of {self.parent.parent.reference}",
                )
                say(f"{self.run.name} failed: {reason}")
            for count, what in ((self.lost_records, "records"), (self.lost_values, "values")):
                if count:
                    say(f"{self.run.name}: {count} {what} of metrics could not be written")
            ended = records.Exit(
                state=state,
                code=code,
                signal=signal,
                reason=reason,
                ended_at=records.now(),
                traceback=trace or None,
                peak_memory_bytes=exits.peak_memory_bytes(),
                lost_records=self.lost_records,
            )
            if self._appender is not None:
                self._appender.close()
            try:
                self.run.end_attempt(self._attempt, ended)
            except (OSError, StorageError) as error:
                say(f"{self.run.name}: could not record how it ended: {error}")


def _relative(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _shown(folder: Path) -> str:
    with contextlib.suppress(ValueError):
        return f"./{folder.relative_to(Path.cwd())}"
    return str(folder)


_stack: contextvars.ContextVar[tuple[ActiveRun, ...]] = contextvars.ContextVar("hypertuner_runs", default=())
_open_blocks: list[ActiveRun] = []
_process_run: ActiveRun | None = None
_process_lock = threading.Lock()


def run() -> ActiveRun:
    """The current run; see the module's first lines for the order."""
    for active in reversed(_stack.get()):
        if active.is_open:
            return active
    # A thread starts without its parent's context: what it does inside a lone `new_run` belongs to that run.
    if len(_open_blocks) == 1:
        return _open_blocks[0]
    global _process_run
    with _process_lock:
        if _process_run is None:
            _process_run = _resolve()
        return _process_run


def run_for(made_in: ActiveRun) -> ActiveRun:
    """The current run for an object that was made in `made_in`: that one, in a thread that has no run of its own."""
    return made_in if not _stack.get() and made_in.is_open else run()


@contextlib.contextmanager
def new_run(
    name: str | None = None,
    values: Mapping[str, Any] | None = None,
    parent: PendingParent | None = None,
    storage: Storage | None = None,
) -> Iterator[ActiveRun]:
    """A run of its own for a block of code: what is made inside belongs to it; it ends with the block.

    An exception makes it `failed`, Ctrl-C makes it `stopped`; both go on to the caller.
    """
    place = storage or Storage()
    if name is not None:
        from hypertuner.store import names

        names.check_name(name)
    active = ActiveRun(
        place, name=name, given=dict(values or {}), given_from="new_run", parent=parent, writes=_may_write()
    )
    token = _stack.set((*_stack.get(), active))
    _open_blocks.append(active)
    try:
        yield active
    except BaseException as error:
        exits.end_by(active, error)
        raise
    else:
        active.end("finished", "the block ended")
    finally:
        _open_blocks.remove(active)
        _stack.reset(token)


def _may_write() -> bool:
    return not settings.is_off() and not _is_worker()


def _is_worker() -> bool:
    """Whether this is a worker of the process that owns the attempt: forked or spawned by multiprocessing."""
    return ATTEMPT_VARIABLE in os.environ and multiprocessing.parent_process() is not None


def own_arguments(argv: list[str]) -> tuple[str | None, list[str]]:
    """(`--config` value that is hypertuner's, or None; argv without it).

    It is ours when it names a run's config.json, or a JSON file that exists: a template for a new run.
    """
    for number, argument in enumerate(argv):
        if argument == "--":
            break
        if argument.startswith("--config="):
            value, length = argument.partition("=")[2], 1
        elif argument == "--config" and number + 1 < len(argv):
            value, length = argv[number + 1], 2
        else:
            continue
        if names_run(value) or (value.endswith(".json") and Path(value).is_file()):
            return value, [*argv[:number], *argv[number + length :]]
    return None, list(argv)


def names_run(config: str) -> bool:
    """Whether the value of a `--config` option names a run, by its config.json."""
    return layout.run_of_config(Path(config), settings.storage_path()) is not None


def _resolve() -> ActiveRun:
    writes = _may_write()
    if _is_worker():
        attempt = Attempt(Path(os.environ[ATTEMPT_VARIABLE]))
        owner = Run(attempt.layout.folder.parent.parent)
        config_there = dict(attempt.started.config) if attempt.started else {}
        return ActiveRun(Storage(owner.folder.parent), run=owner, given=config_there, writes=False)
    config, _ = own_arguments(sys.argv[1:])
    if config is not None:
        folder = layout.run_of_config(Path(config), settings.storage_path())
        if folder is not None:
            return ActiveRun(Storage(folder.parent), run=Run(folder), given_from=f"--config={config}", writes=writes)
        return ActiveRun(Storage(), given=_read_template(Path(config)), given_from=f"--config={config}", writes=writes)
    template = os.environ.get(CONFIG_VARIABLE)
    given: dict[str, Any] | None = _read_template(Path(template)) if template else None
    if name := os.environ.get(RUN_VARIABLE):
        path = Path(name)
        storage = Storage(path.parent) if path.is_absolute() else Storage()
        from hypertuner.store import names

        names.check_name(path.name)
        return ActiveRun(
            storage,
            run=Run(storage.path / path.name),
            given=given,
            given_from=f"{CONFIG_VARIABLE}={template}" if template else "",
            writes=writes,
        )
    return ActiveRun(
        Storage(), given=given, given_from=f"{CONFIG_VARIABLE}={template}" if template else "", writes=writes
    )


def _read_template(path: Path) -> dict[str, Any]:
    try:
        return records.read_json(path)
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}.", path=path) from error
    except StorageError as error:
        raise ConfigError(str(error), path=path) from error


def _forget_in_child() -> None:
    """A forked child is not the owner: what it logs and saves is dropped, its parent's files stay whole."""
    for active in (*_open_blocks, *([_process_run] if _process_run else [])):
        if active.has_started:
            active.writes = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
