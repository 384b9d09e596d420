"""Retention: which checkpoints of an attempt stay after a save, whole or without training state, and which go.

Whole stay the newest, the best, every Nth step, what a person pinned, what model.pt points at, and what was saved just
now. Of the others a trail stays: a few weights-only checkpoints whose ages are spread logarithmically, so that there is
something near and something far to go back to. The rules look at the files there are, and at nothing else: a killed
process leaves nothing behind that the next save would not do in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypertuner import files, settings
from hypertuner.checkpoint.about import About, about
from hypertuner.checkpoint.offer import behind, best_of
from hypertuner.checkpoint.pins import pinned
from hypertuner.errors import HypertunerError, StorageError
from hypertuner.store import Attempt, CheckpointFile, Run
from hypertuner.store.said import say, say_once


@dataclass(frozen=True)
class Keep:
    """How much stays of an attempt's checkpoints."""

    last: int = 1
    best: int = 1
    every: int | None = None
    """Those whose step is a multiple of it."""
    trail: int = 8
    """At most so many of the others, without training state."""

    def __post_init__(self) -> None:
        for name, value, least in (("last", self.last, 1), ("best", self.best, 0), ("trail", self.trail, 0)):
            if type(value) is not int or value < least:
                raise ValueError(f"keep_{name} is a whole number of at least {least}, got {value!r}")
        if self.every is not None and (type(self.every) is not int or self.every < 1):
            raise ValueError(f"keep_every is a whole number of at least 1, or None, got {self.every!r}")


def retain(run: Run, attempt: Attempt, keep: Keep, saved: Path, thin: Callable[[Path], None]) -> None:
    """Thin and remove the checkpoints of this attempt that `keep` does not keep; `saved` is the newest.

    `thin` takes the training state out of a file, atomically. Never touched is one of an earlier attempt. A file that
    cannot be removed, thinned or read stays, and is said: what was saved is saved.
    """
    remaining = attempt.checkpoints()
    try:
        kept = _kept(run, remaining, keep, saved)
    except (StorageError, OSError) as error:  # damaged notes: nobody knows what is pinned
        say_once(f"old checkpoints all stay, since it cannot be told which of them are pinned: {error}")
        return
    abouts = {file: told for file in remaining if file not in kept and (told := _told(file)) is not None}
    weights = {file: told.nbytes - told.training_nbytes for file, told in abouts.items()}
    trail = trail_of(positions(remaining), weights, most=keep.trail, most_bytes=settings.TRAIL_BYTES.get())
    for file, told in abouts.items():
        if file in trail and told.has_training:
            _thin(file, thin)
    # After thinning: until the smaller file is there, the larger ones hold what could be needed.
    for file in abouts:
        if file not in trail:
            _remove(file)


def _kept(run: Run, remaining: Sequence[CheckpointFile], keep: Keep, saved: Path) -> set[CheckpointFile]:
    """Those that stay as they are."""
    kept = {*remaining[-keep.last :], *pinned(run, remaining)}
    kept |= {file for file in remaining if file.path == saved}
    if (offered := behind(run.layout.model, remaining)) is not None:
        kept.add(offered)
    kept |= {file for file in remaining if keep.every is not None and file.step % keep.every == 0}
    candidates = list(remaining)
    for _ in range(keep.best):
        if (best := best_of(candidates)) is None:
            break
        kept.add(best)
        candidates.remove(best)
    return kept


def positions(checkpoints: Sequence[CheckpointFile]) -> dict[CheckpointFile, float]:
    """Where each was saved, in steps; those of one step follow each other within it."""
    repeats: dict[int, int] = {}
    for file in checkpoints:
        repeats[file.step] = max(file.repeat, repeats.get(file.step, 0))
    return {file: file.step + file.repeat / (repeats[file.step] + 1) for file in checkpoints}


def trail_of(
    where: Mapping[CheckpointFile, float], nbytes: Mapping[CheckpointFile, int], *, most: int, most_bytes: int
) -> Collection[CheckpointFile]:
    """Those of `nbytes` that make the trail: at most `most`, of at most `most_bytes` together, the oldest among them.

    While there are too many, the one goes whose removal leaves the smallest gap between the logarithms of the ages of
    its neighbours; the present, as far away again as the youngest is old, is the first one's neighbour.
    """
    now = max(where.values(), default=0.0)
    trail = sorted(nbytes, key=lambda file: where[file], reverse=True)  # the youngest first
    total = sum(nbytes.values())
    while trail and (len(trail) > most or total > most_bytes):
        gone = trail.pop(_most_dispensable([now - where[file] for file in trail]) if most else 0)
        total -= nbytes[gone]
    return set(trail)


def _most_dispensable(ages: Sequence[float]) -> int:
    """Place of the age, in a rising list, that is missed least; the last one's only where it is alone."""
    unit = max(ages[0], 1e-9)
    # Ages below 0 are those of a script whose steps went back.
    spots = [math.log(unit), *(math.log(unit + max(age, 0.0)) for age in ages)]
    return min(range(len(ages) - 1), key=lambda at: spots[at + 2] - spots[at], default=0)


def _told(file: CheckpointFile) -> About | None:
    """What a checkpoint says; None for one that cannot be read: nobody knows that it is not the best."""
    try:
        return about(file.path)
    except FileNotFoundError:
        return None
    except (StorageError, OSError) as error:
        say_once(f"an old checkpoint cannot be read, and stays: {error}")
        return None


def _thin(file: CheckpointFile, thin: Callable[[Path], None]) -> None:
    try:
        thin(file.path)
    except (HypertunerError, OSError) as error:
        say_once(f"the training state of an old checkpoint could not be taken out, and it stays as it is: {error}")


def _remove(file: CheckpointFile) -> None:
    try:
        files.remove(file.path)
    except OSError as error:
        say(f"could not remove the old checkpoint {file.path}: {error.strerror}")
