"""Pins: the checkpoints of a run that a person keeps, whatever retention and cleaning would do.

A pin is written into notes.json as attempt and file name, '1/step-00001200.1': it tells a step that was saved twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypertuner.checkpoint import offer
from hypertuner.checkpoint.reference import Resolved
from hypertuner.errors import CheckpointError
from hypertuner.store import CheckpointFile, Run


def pin_of(file: CheckpointFile) -> str:
    """How a checkpoint is pinned."""
    return f"{file.attempt}/{file.path.stem}"


def pinned(run: Run, checkpoints: Iterable[CheckpointFile]) -> set[CheckpointFile]:
    """Those that are pinned. Raises: CorruptFileError, when the run's notes cannot be read."""
    pins = set(run.notes().pins)
    return {file for file in checkpoints if pin_of(file) in pins}


def pin(found: Resolved, *, off: bool = False) -> tuple[Run, CheckpointFile]:
    """Pin the checkpoint that a reference named, or no longer; which one it is.

    Raises: CheckpointError for a file that is no checkpoint of a run.
    """
    run, file = _checkpoint(found)
    notes = run.notes()
    others = tuple(name for name in notes.pins if name != pin_of(file))
    pins = others if off else (*others, pin_of(file))
    if set(pins) != set(notes.pins):
        run.write_notes(replace(notes, pins=pins))
    return run, file


def _checkpoint(found: Resolved) -> tuple[Run, CheckpointFile]:
    file = offer.behind(found.path, found.run.checkpoints()) if found.run is not None else None
    if found.run is not None and file is not None:
        return found.run, file
    raise CheckpointError(
        f"{found.reference!r} is no checkpoint of a run, so it cannot be pinned.\n"
        "  hypertuner show RUN   lists those that can: RUN@STEP."
    )
