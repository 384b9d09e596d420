"""Making a run: of a script and a config, of a checkpoint that it begins from, or like another run."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner import files, settings
from hypertuner.checkpoint import reference
from hypertuner.checkpoint.parents import parent_of
from hypertuner.errors import ConfigError
from hypertuner.store import Run, Storage, capture, current, records
from hypertuner.store.values import to_config

_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.\-/]*=")
_OPTION = re.compile(r"--?[A-Za-z_]")


@dataclass(frozen=True)
class Order:
    """How a run's script is started: what a resumed run keeps, and a run like it takes over."""

    script: Path
    arguments: tuple[str, ...]
    folder: Path


def make_run(
    script: Path,
    config: Mapping[str, Any],
    arguments: Sequence[str] = (),
    *,
    name: str | None = None,
    parent: str | None = None,
    how: str = "start from",
    asked: Iterable[str] | None = None,
    storage: Storage | None = None,
    folder: Path | None = None,
    processes: int = 0,
    study: str | None = None,
) -> Run:
    """A run that waits to be started, with the source as it is now.

    Args:
        config: what to set; the script's own defaults complete it when it starts.
        arguments: handed to the script as they are.
        parent: reference to the checkpoint that it begins from.
        how: 'start from' takes the parent's weights, 'fork' its full state.
        asked: the keys of `config` that were set by hand; all of them when None.
        folder: the working folder of the script, the current one when None.
        processes: how many torchrun starts for it; 0: it is started as `python SCRIPT`.
        study: what it is a part of, with the runs that were made along with it.

    Raises: ConfigError when there is no such script; RunExistsError; what resolving the reference raises.
    """
    check_script(script)
    if settings.is_off():
        raise ConfigError(
            f"HYPERTUNER_MODE=off: nothing is recorded, so there is no run to make.\n"
            f"  Unset it, or start the script alone: python {script}",
            key=settings.MODE.variable,
        )
    place = storage or Storage()
    begins = parent_of(reference.resolve(parent, place), how) if parent else None
    where = (folder or Path.cwd()).absolute()
    record = records.RunRecord(
        script=_relative(script.absolute(), where),
        arguments=capture.without_secrets(arguments),
        folder=str(where),
        created=records.now(),
        parent=begins.parent if begins else None,
        asked=tuple(config if asked is None else asked),
        processes=processes,
        study=study,
    )
    run = place.create(name, record, config, parent_file=begins.file if begins else None)
    capture.keep_source(script.absolute(), run.layout.source)
    return run


def give_parent(run: Run, parent: str, how: str) -> None:
    """Let a run that has not started begin from a checkpoint that was not there when the run was made.

    Raises: what resolving the reference raises; ConfigError when the run has a parent, or has started.
    """
    record = run.record()
    if record is None or run.newest_attempt() is not None or record.parent is not None:
        raise ConfigError(f"Run {run.name!r} has started, or has a parent: it cannot begin from {parent}.")
    begins = parent_of(reference.resolve(parent, Storage(run.folder.parent)), how)
    with contextlib.suppress(FileExistsError):
        files.link_or_copy(begins.file, run.layout.parent)
    files.replace(run.layout.record, records.to_bytes(dataclasses.replace(record, parent=begins.parent)))


def check_script(script: Path) -> None:
    """Raises: ConfigError when there is no such script."""
    if not script.is_file():
        what = "is a folder, not a script" if script.is_dir() else "does not exist"
        raise ConfigError(f"{script} {what}.\n  Name a Python file: hypertuner run train.py key=value", path=script)


def _relative(path: Path, folder: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(folder))
    return str(path)


def order_of(run: Run, *, folder: Path | None = None, arguments: Sequence[str] = ()) -> Order:
    """How `run` is started again: its script, arguments and working folder, or those given in their place.

    Raises: ConfigError when the script is not known or not there, or an argument was a secret, which is not kept.
    """
    record = run.record()
    if record is None or record.script is None:
        what = "hypertuner 1.0.4 made it" if record is None else "it ran in a notebook or a console"
        raise ConfigError(f"Run {run.name!r} has no script to start: {what}.\n  Open it where its code is.")
    where = folder or Path(record.folder)
    script = where / record.script
    if not script.is_file():
        raise ConfigError(
            f"The script of run {run.name!r} is not there any more: {script}.\n"
            f"  If the project has moved, say where it is: --folder PATH. As it was when the run began it lies in "
            f"{run.layout.source}.",
            path=script,
        )
    return Order(script, tuple(arguments or arguments_of(run, where)), where)


def arguments_of(run: Run, folder: Path | None = None) -> tuple[str, ...]:
    """The arguments that the script of `run` was started with, but for a `--config=…` of ours: the run has its config.

    Raises: ConfigError when one of them was a secret, which is not kept.
    """
    record = run.record()
    if record is None:
        return ()
    _, kept = current.own_arguments(list(record.arguments), folder or Path(record.folder))
    if hidden := [argument for argument in kept if capture.HIDDEN in argument]:
        raise ConfigError(
            f"Run {run.name!r} was started with a secret, which is not kept: {' '.join(hidden)}.\n"
            f"  Give its arguments again after --: -- {' '.join(kept)}"
        )
    return tuple(kept)


def config_like(run: Run, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The config of `run` with changes."""
    return {**run.config(), **to_config(changes)}


def without_settings(arguments: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Arguments but for those that set a key of `config`: `lr=0.1`, `--lr 0.1`, `--lr=0.1`, `--flag`, `--no-flag`.

    The config says these, and on the command line an old value would stand above it.
    """
    kept: list[str] = []
    waiting = deque(arguments)
    while waiting:
        word = waiting.popleft()
        if word == "--":
            return [*kept, word, *waiting]
        dashed = word.startswith("--")
        name, equals, _ = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if dashed and key not in config:
            key = key.removeprefix("no_")
        if not (dashed or equals) or key not in config:
            kept.append(word)
        elif not equals:
            for _ in range(_words_of(config[key])):
                if waiting and not _begins_another(waiting[0]):
                    waiting.popleft()
    return kept


def _words_of(value: Any) -> int:
    """How many words follow an option that was given this value."""
    return len(value) if isinstance(value, list) else int(not isinstance(value, bool))


def _begins_another(word: str) -> bool:
    return bool(_OPTION.match(word) or _ASSIGNMENT.match(word))
