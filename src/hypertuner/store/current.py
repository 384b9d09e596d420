"""Which run this is: the one place that knows, asked by Args, Logger and Saver at every call.

The innermost `new_run` block > `--config=<storage>/<run>/config.json` > HYPERTUNER_RUN > a new run with a
friendly name. A run's folder appears with the first thing written into it, so `--help` or an import leave
nothing behind.

The process that owns an attempt tells its children (HYPERTUNER_ATTEMPT): data-loading and spawned workers write
nothing into it, and none writes anything while it imports the script again; a worker that asks for a `new_run` has
it, and another program makes its own run.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypertuner import settings
from hypertuner.errors import ConfigError, StorageError
from hypertuner.store import board, exits, layout, names, process, ranks, records, supervised
from hypertuner.store.active import (
    CONFIG_VARIABLE,
    RESUME_VARIABLE,
    ActiveRun,
    PendingParent,
)
from hypertuner.store.attempt import Attempt
from hypertuner.store.ownership import attempt_of_parent
from hypertuner.store.run import Run
from hypertuner.store.storage import Storage
from hypertuner.store.together import RUN_VARIABLE

_stack: contextvars.ContextVar[tuple[ActiveRun, ...]] = contextvars.ContextVar("hypertuner_runs", default=())
_open_blocks: list[ActiveRun] = []
_process_run: ActiveRun | None = None
_process_lock = threading.Lock()
_numbers = itertools.count(1)
"""The processes of one training open the same blocks in the same order: their number tells which belong together."""


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
            # A rank that writes nothing tells rank 0 when it fails; a run that waits for this process, why it failed.
            if ranks.rank() > 0 or _process_run.is_awaited:
                _process_run.watch()
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
    run: Run | None = None,
    resume: str | None = None,
) -> Iterator[ActiveRun]:
    """A run of its own for a block of code: what is made inside belongs to it; it ends with the block.

    With `run` the block is the next attempt of that one, which goes on from its checkpoint `resume`.

    An exception makes it `failed`, Ctrl-C makes it `stopped`; both go on to the caller.
    """
    place = storage or Storage()
    if name is not None:
        names.check_name(name)
    active = ActiveRun(
        place,
        name=name,
        run=run,
        resume=resume,
        given=dict(values or {}),
        given_from="new_run",
        parent=parent,
        writes=not settings.is_off(),
        restores=not settings.is_off(),
        number=next(_numbers),
    )
    token = _stack.set((*_stack.get(), active))
    _open_blocks.append(active)
    try:
        yield active
    except BaseException as error:  # whatever ended the block ends the run, and goes on
        exits.end_by(active, error)
        raise
    else:
        active.end("finished", "the block ended")
    finally:
        _open_blocks.remove(active)
        _stack.reset(token)


def own_arguments(argv: list[str], folder: Path = Path()) -> tuple[str | None, list[str]]:
    """(`--config` value that is hypertuner's, or None; argv without it), of a script started in `folder`.

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
        if names_run(str(folder / value)) or (value.endswith(".json") and (folder / value).is_file()):
            return value, [*argv[:number], *argv[number + length :]]
    return None, list(argv)


def names_run(config: str) -> bool:
    """Whether the value of a `--config` option names a run, by its config.json."""
    return layout.run_of_config(Path(config), settings.storage_path()) is not None


def _resolve() -> ActiveRun:
    writes = not settings.is_off()
    if process.is_worker() and (folder_there := attempt_of_parent()) is not None:
        attempt = Attempt(folder_there)
        owner = Run(attempt.layout.folder.parent.parent)
        config_there = dict(attempt.started.config) if attempt.started else {}
        return ActiveRun(Storage(owner.folder.parent), run=owner, given=config_there, writes=False, restores=False)
    config, _ = own_arguments(sys.argv[1:])
    given: dict[str, Any] | None
    if config is not None:
        folder = layout.run_of_config(Path(config), settings.storage_path())
        if folder is not None:
            return ActiveRun(
                Storage(folder.parent), run=Run(folder), given_from=f"--config={config}", writes=writes, restores=writes
            )
        return ActiveRun(
            Storage(),
            given=_read_template(Path(config)),
            given_from=f"--config={config}",
            writes=writes,
            restores=writes,
        )
    template = os.environ.get(CONFIG_VARIABLE)
    given = _read_template(Path(template)) if template else None
    if (name := os.environ.get(RUN_VARIABLE)) and not supervised.is_taken(name):
        path = Path(name)
        storage = Storage(path.parent) if path.is_absolute() else Storage()
        names.check_name(path.name if path.is_absolute() else name)
        return ActiveRun(
            storage,
            run=Run(storage.path / path.name),
            claimed=supervised.number(),
            given=given,
            given_from=f"{CONFIG_VARIABLE}={template}" if template else "",
            writes=writes,
            restores=writes,
            resume=os.environ.get(RESUME_VARIABLE) or None,
        )
    before = board.ask_of_launch("0/run") if ranks.restarts() else None
    return ActiveRun(
        Storage(),
        run=Run(Path(os.fsdecode(before))) if before is not None else None,
        given=given,
        given_from=f"{CONFIG_VARIABLE}={template}" if template else "",
        writes=writes,
        restores=writes,
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
            active.only_read()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
