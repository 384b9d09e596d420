"""`hypertuner run` and `hypertuner resume`: one run, in the foreground."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.checkpoint import reference
from hypertuner.cli import given
from hypertuner.cli.terminal import count_text, duration_text, plain, say, state_cell, value_text
from hypertuner.index.runs import read_row
from hypertuner.queue import launch, make, start
from hypertuner.queue import resume as resuming
from hypertuner.queue.code import changed_sources
from hypertuner.queue.options import makes_args
from hypertuner.queue.waiting import Queue, Terms
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.monitor import watched_metric


@dataclass(frozen=True)
class Wanted:
    """What `hypertuner run` was asked for besides the script and its config."""

    name: str | None = None
    start_from: str | None = None
    fork: str | None = None
    like: str | None = None
    or_resume: bool = False
    force: bool = False
    nproc: int | None = None
    gpus: int | None = None
    queue: bool = False

    def __post_init__(self) -> None:
        if self.start_from and self.fork:
            raise given.GivenError("--from takes the weights of a checkpoint, --fork all of it: choose one.")
        if self.or_resume and not self.name:
            raise given.GivenError("--or-resume needs --name: by its name the run is found again.")
        if self.force and not self.or_resume:
            raise given.GivenError("--force is for --or-resume.")


@dataclass(frozen=True)
class Plan:
    """What is to be started, as far as the command line and the run that it is to be like say."""

    script: Path
    config: dict[str, Any]
    """Values to set; of `given.Several`, each is to have its run."""
    asked: dict[str, Any]
    """Those of them that were typed."""
    arguments: list[str]
    folder: Path | None
    processes: int | None
    like: Run | None


def plan(
    model: Run | None, script: Path | None, words: Sequence[str], after_dashes: Sequence[str], wanted: Wanted
) -> Plan:
    """What `hypertuner run` is to start; `model` is the run that gives its config. Raises: GivenError; ConfigError."""
    folder: Path | None = None
    likened: Sequence[str] = ()
    if model is not None and script is None:
        order = make.order_of(model, arguments=after_dashes)
        script, folder = order.script, order.folder
    if model is not None and not after_dashes:
        likened = make.arguments_of(model)
    if script is None:
        raise given.GivenError("Name a script: hypertuner run train.py key=value, or a run to repeat: --like RUN")
    make.check_script(script)
    processes = processes_asked(wanted.nproc, wanted.gpus)
    asked, arguments = given.read(words, makes_args=makes_args(script), several=wanted.queue)
    config = asked
    if model is not None:
        plain_values = {key: value for key, value in asked.items() if not isinstance(value, given.Several)}
        config = {**make.config_like(model, plain_values), **asked}
        likened = make.without_settings(likened, {**config, **model.config()})
    return Plan(script, config, asked, [*likened, *arguments, *after_dashes], folder, processes, model)


def run(
    script: Path | None, words: Sequence[str], after_dashes: Sequence[str], wanted: Wanted, *, storage: Storage
) -> int:
    """Make a run and run it; the script's exit code, and 1 for a run that failed although the script ended well."""
    model = _likened(script, wanted, storage)
    planned = plan(model, script, words, after_dashes, wanted)
    processes = planned.processes
    if wanted.or_resume and (there := _existing(wanted, storage)) is not None:
        return _again(
            there,
            planned.asked,
            planned.arguments,
            planned.script,
            planned.folder,
            force=wanted.force,
            processes=processes,
        )
    if processes is None:
        processes = launch.processes_of(model) if model is not None else 0
    made = make.make_run(
        planned.script,
        planned.config,
        planned.arguments,
        name=wanted.name,
        parent=wanted.fork or wanted.start_from,
        how="fork" if wanted.fork else "start from",
        asked=planned.asked,
        storage=storage,
        folder=planned.folder,
        processes=processes,
    )
    settings = " ".join(f"{key}={value_text(value)}" for key, value in planned.asked.items())
    origin = f", like {model.name}" if model is not None else ""
    origin += f", from {wanted.start_from}" if wanted.start_from else f", fork of {wanted.fork}" if wanted.fork else ""
    origin += f", {count_text(processes, 'process', 'processes')}" if processes else ""
    say(f"run {made.name}: {_shown(planned.script)}{f' {settings}' if settings else ''}{origin}")
    return _run(made, planned.script, planned.arguments, planned.folder)


def processes_asked(nproc: int | None, gpus: int | None) -> int | None:
    """How many processes torchrun is to start; None: nobody says."""
    if nproc and gpus:
        raise given.GivenError("--gpus N starts a process for each GPU, --nproc N as many as you say: choose one.")
    processes = gpus or nproc
    if processes is not None:
        launch.check_processes(processes, gpus=gpus is not None)
    return processes


def _likened(script: Path | None, wanted: Wanted, storage: Storage) -> Run | None:
    """The run whose config this one takes over: the one of --like, else, without a script, the parent's."""
    if wanted.like:
        return storage.open(wanted.like)
    parent = wanted.fork or wanted.start_from
    return reference.resolve(parent, storage).run if parent and script is None else None


def _existing(wanted: Wanted, storage: Storage) -> Run | None:
    run = Run(storage.path / (wanted.name or ""))
    return run if run.exists() else None


def _again(
    run: Run,
    asked: dict[str, Any],
    arguments: Sequence[str],
    script: Path,
    folder: Path | None,
    *,
    force: bool,
    processes: int | None,
) -> int:
    """The next attempt of a run that is started again under its name."""
    if run.state() == RunState.finished:
        resuming.check_config(run, asked)
        say(f"run {run.name} has finished already: nothing to do")
        return 0
    goes_on = resuming.next_of(run, asked, force=force)
    if goes_on is None:
        say(f"run {run.name} has saved nothing yet: it begins anew")
    else:
        _say_resumed(goes_on, script)
    which = goes_on.which if goes_on is not None else None
    return _run(run, script, arguments, folder, resume=which, processes=processes)


def resume(
    what: str,
    after_dashes: Sequence[str],
    *,
    folder: Path | None,
    force: bool,
    processes: int | None,
    queue: bool,
    storage: Storage,
) -> int:
    """Run the next attempt of a run, which goes on from its checkpoint, or let it wait; the script's exit code."""
    goes_on = resuming.resumable(what, storage, force=force)
    order = make.order_of(goes_on.run, folder=folder, arguments=after_dashes)
    _say_resumed(goes_on, order.script)
    if queue:
        from hypertuner.cli.queueing import say_who_drains

        waits = Queue(storage)
        waits.add(goes_on.run, order.arguments, Terms(live_code=True), resume=goes_on.which, processes=processes)
        say(f"queued {goes_on.run.name}")
        say_who_drains(waits)
        return 0
    return _run(goes_on.run, order.script, order.arguments, order.folder, resume=goes_on.which, processes=processes)


def _say_resumed(goes_on: resuming.Resumable, script: Path) -> None:
    say(f"run {goes_on.run.name}: {_shown(script)}, resumed from {goes_on.reference}")
    if changed := changed_sources(goes_on.run, script.absolute()):
        say(
            f"  the code has changed since the run began: {', '.join(changed[:6])}"
            + (f" and {len(changed) - 6} more" if len(changed) > 6 else "")
            + f"\n  as it was: {shown_path(goes_on.run.layout.source)}"
        )


def _run(
    run: Run,
    script: Path,
    arguments: Sequence[str],
    folder: Path | None,
    *,
    resume: str | None = None,
    processes: int | None = None,
) -> int:
    code = start.run_in_foreground(run, script, arguments, folder=folder, resume=resume, processes=processes)
    say(_ending(run))
    return code or int(run.state() == RunState.failed)


def _shown(script: Path) -> str:
    return shown_path(script) if script.is_absolute() else plain(script)


def _ending(made: Run) -> str:
    row = read_row(made)
    mark = state_cell(row.state).text
    parts = [f"{made.name} {mark} after {duration_text(row.duration_s)}"]
    attempt = made.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    if ended is not None and row.state != "finished":
        parts.append(plain(ended.reason))
    if (watched := watched_metric(row.metrics, None, None)) is not None and watched[0] in row.best:
        parts.append(f"best {plain(watched[0])} {value_text(row.best[watched[0]])}")
    if made.layout.model.exists():
        parts.append(f"model: {shown_path(made.layout.model)}")
    return ", ".join(parts)


def shown_path(path: Path) -> str:
    """A path as it is typed from here."""
    with contextlib.suppress(ValueError):
        return plain(path.relative_to(Path.cwd()))
    return plain(path)
