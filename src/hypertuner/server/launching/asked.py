"""What a launch asks for, made out: script, config, what it is compared with, the checkpoint that it begins from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.reference import Resolved
from hypertuner.errors import CheckpointNotFoundError, ConfigError, HypertunerError
from hypertuner.index.row import RunRow
from hypertuner.queue import combining, launch, make
from hypertuner.queue.options import UNKNOWN, makes_args
from hypertuner.server.contract.acting import LaunchAsked
from hypertuner.server.known import Known
from hypertuner.server.launching.declared import Declared
from hypertuner.server.launching.scripts import Script, ScriptsOf
from hypertuner.server.weights.checkpoints import MODEL, Checkpoints, Saved
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.names import is_name
from hypertuner.store.values import flatten

_WHICH = re.compile(r"last|best|[0-9]{1,18}")
_TO_COME = (RunState.queued, RunState.running)
_MOST_KEYS = 5000


@dataclass(frozen=True)
class Parent:
    """The checkpoint that new runs begin from."""

    reference: str
    run: Run
    saved: Saved | None
    """None where its run has yet to make it: the new runs wait for that."""


@dataclass(frozen=True)
class Order:
    """New runs, as they will be made."""

    script: Script
    declared: Declared
    config: dict[str, Any]
    """What is set, without the script's own defaults."""
    several: dict[str, list[Any]]
    like: Mapping[str, Any] | None
    """The config that it is compared with: of the run or parent that it comes from."""
    by_hand: dict[str, None]
    """Keys that were set by hand."""
    arguments: Sequence[str]
    folder: Path
    processes: int
    parent: Parent | None
    how: str
    rows: Sequence[RunRow] = field(default=())
    """The runs of the script, newest first."""

    @property
    def whole(self) -> dict[str, Any]:
        """The config with the defaults that the script declares."""
        defaults = {one.key: one.default for one in self.declared.settings if one.default is not UNKNOWN}
        return {**defaults, **self.config, **{key: values[0] for key, values in self.several.items() if values}}


def make_out(asked: LaunchAsked, storage: Storage, scripts: ScriptsOf, checkpoints: Checkpoints, known: Known) -> Order:
    """What is asked for. Raises: ConfigError for what may not be started; RunNotFoundError; CheckpointNotFoundError."""
    like = storage.open(asked.from_run) if asked.from_run else None
    parent = parent_of(asked.parent, storage, checkpoints) if asked.parent and asked.how != "scratch" else None
    given = flatten(asked.config)  # what came as JSON is JSON
    several = {key: values for key, values in asked.several.items() if key}
    if len(given) + len(several) > _MOST_KEYS:
        raise ConfigError(f"{len(given):,} settings: a config holds at most {_MOST_KEYS:,}.")
    model = like or (parent.run if parent is not None and not asked.script else None)
    script, arguments, folder, processes = _started_as(asked, model, scripts, {**given, **several})
    rows = known.of_scripts({script.name})
    base = (model or (parent.run if parent is not None else None)) if model or parent else None
    compared = base.effective_config() if base is not None else None
    config = {**(model.config() if model is not None else {}), **given}
    by_hand = [
        key for key in (*given, *several) if compared is None or key in several or compared.get(key) != given[key]
    ]
    return Order(
        script=script,
        declared=scripts.declared(script, rows),
        config=config,
        several=several,
        like=compared,
        by_hand=dict.fromkeys([*by_hand, *([combining.SEED] if asked.seeds > 1 else [])]),
        arguments=arguments,
        folder=folder,
        processes=processes,
        parent=parent,
        how="fork" if asked.how == "fork" else "start from",
        rows=scripts.runs_of(script, rows),
    )


def _started_as(
    asked: LaunchAsked, model: Run | None, scripts: ScriptsOf, config: Mapping[str, Any]
) -> tuple[Script, Sequence[str], Path, int]:
    """(script, its arguments, its working folder, processes). What a run's folder says is believed for scripts alone
    that may be started."""
    here = Path.cwd()
    script = (
        scripts.find(asked.script) if asked.script else scripts.moved(model.record()) if model is not None else None
    )
    if script is not None:
        if model is None or model.record() is None:
            return script, (), here, 0
        arguments = make.without_settings(make.arguments_of(model), {**model.config(), **config})
        return script, arguments, here, launch.processes_of(model)
    if model is not None:
        order = make.order_of(model)
        script = scripts.check(order.script)
        arguments = make.without_settings(order.arguments, {**model.config(), **config})
        # Not a folder of somebody's choosing: the one that the script lies in or below, or the server's own.
        folder = order.folder.resolve()
        return script, arguments, folder if script.path.is_relative_to(folder) else here, launch.processes_of(model)
    known = scripts.all()
    if len(known) == 1:
        return known[0], (), here, 0
    if not known:
        return scripts.find(""), (), here, 0
    raise ConfigError(f"Which script? There are {len(known)}.\n  Choose one of them.", key="script")


def checkpoint_of(reference: str, storage: Storage, checkpoints: Checkpoints) -> tuple[Run, Saved]:
    """The checkpoint that 'run', 'run@best', 'run@last', 'run@1200' names, of this storage: never a path.

    Raises: RunNotFoundError; CheckpointNotFoundError.
    """
    name, at, which = reference.partition("@")
    if at and not _WHICH.fullmatch(which):
        raise CheckpointNotFoundError(
            f"{reference[:80]!r} names no checkpoint.\n  Name run, run@best, run@last or run@STEP."
        )
    run = storage.open(name)
    if at:
        return run, checkpoints.find(run, which)
    found = checkpoints.of(run)
    offered = next((saved for saved in reversed(found) if saved.is_offered), None)
    return run, offered if offered is not None else checkpoints.find(run, "last")


def resolved(reference: str, storage: Storage, checkpoints: Checkpoints) -> Resolved:
    """The same, for the engines that take what a reference led to."""
    run, saved = checkpoint_of(reference, storage, checkpoints)
    return Resolved(saved.file.path, run, saved.reference)


def parent_of(reference: str, storage: Storage, checkpoints: Checkpoints) -> Parent:
    """The checkpoint that new runs begin from; one that its run has yet to make is waited for.

    Raises: RunNotFoundError; CheckpointNotFoundError.
    """
    name, _, which = reference.partition("@")
    try:
        run, saved = checkpoint_of(reference, storage, checkpoints)
    except CheckpointNotFoundError:
        run = storage.open(name)
        if run.state() not in _TO_COME or (which and not _WHICH.fullmatch(which)):
            raise
        return Parent(reference, run, None)
    if which in ("", "last", "best") and run.state() in _TO_COME:
        return Parent(reference, run, None)  # it has better ones to come: those that were asked for
    return Parent(saved.reference if which and which != MODEL else reference, run, saved)


def check_name_is_no_file(reference: str) -> None:
    """Raises: ConfigError where a file of the working folder has the reference's name, and would be taken for it."""
    if Path(reference).is_file() or not is_name(reference.partition("@")[0]):
        raise ConfigError(
            f"{reference!r} is a file here, too: it would be taken for the run.\n  Give the run another name."
        )


def takes_config(script: Script) -> bool:
    """Whether a script takes its config itself, by an Args."""
    try:
        return makes_args(script.path)
    except (HypertunerError, OSError):
        return True
