"""How far a run has come and how long it still takes, learnt from steps; nothing is claimed where nothing is known.

The last step that a run will log is learnt from finished runs of the same script. What counts are the settings whose
name says how long a run trains (`epochs`, `max_steps`): runs with the same values come first; else those of which one
such value differs, in proportion. Among these, runs that differ in the fewest other settings tell; where they
contradict each other, nothing is known.

How fast it goes is learnt from its own last records. A gap that is out of all proportion, such as a night in which the
laptop slept, does not count; gaps that come again and again, such as an evaluation each epoch, do.
"""

from __future__ import annotations

import functools
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from hypertuner.errors import StorageError
from hypertuner.index.row import RunRow
from hypertuner.store import Run, RunState, metrics
from hypertuner.store.metrics import Record
from hypertuner.store.records import RunRecord

_LENGTHS = frozenset(
    "epoch epochs step steps iteration iterations iter iters update updates round rounds episode episodes timesteps "
    "generations".split()
)
_NO_LENGTHS = frozenset(
    "warmup warm log logging eval evaluation save saving decay lr scheduler schedule accumulation accumulate per every "
    "size interval checkpoint print freeze unfreeze patience start first min current resume ema context inference "
    "sampling sample diffusion frequency freq drop milestone milestones rollout inner".split()
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_MOST_ALIKE = 8
_MOST_OF_A_LENGTH = 100
_AGREES = 0.25  # of the middle one
_RECENT_BYTES = 64 * 1024
_FAR = 10
_ALIKE = 4
_HABIT = 3


@dataclass(frozen=True)
class Progress:
    """How far a run that runs has come."""

    step: int | None = None
    """The last that it logged."""
    last_step: int | None = None
    """The last that it will log, as learnt."""
    left_s: float | None = None
    """How long it still takes, about."""

    @property
    def share(self) -> float | None:
        """Of its steps that are done, 0 to 1."""
        if self.step is None or not self.last_step:
            return None
        return min(1.0, max(0.0, self.step / self.last_step))


@functools.cache
def says_how_long(key: str) -> bool:
    """Whether a setting's name says how long a run trains: `epochs`, `train.max_steps`; not `warmup_steps`."""
    words = {word.lower() for word in _WORD.findall(key.rpartition(".")[2])}
    return bool(words & _LENGTHS) and not words & _NO_LENGTHS


class Learnt:
    """What finished runs tell about others of their script."""

    def __init__(self, rows: Iterable[RunRow]) -> None:
        self._finished: dict[str, list[list[RunRow]]] = {}
        """Of each script the runs of each length, the newest first."""
        self._strides: dict[str, tuple[int, int] | None] = {}
        self._records: dict[str, RunRecord | None] = {}
        finished = (row for row in rows if row.state == RunState.finished and row.script is not None)
        by_length: dict[str, dict[str, list[RunRow]]] = {}
        for row in sorted(finished, key=lambda row: -row.created):
            lengths = repr(sorted((key, value) for key, value in row.config.items() if says_how_long(key)))
            group = by_length.setdefault(row.script or "", {}).setdefault(lengths, [])
            if len(group) < _MOST_OF_A_LENGTH:
                group.append(row)
        self._finished = {script: list(groups.values()) for script, groups in by_length.items()}

    def last_step(self, row: RunRow) -> int | None:
        """The last step that a run will log; None when that is not known."""
        steps = [self._scaled_step(one, ratio) for one, ratio in self._alike(row) if one.step]
        middle = _agreed([step for step in steps if step is not None])
        return None if middle is None else round(middle)

    def duration_s(self, row: RunRow) -> float | None:
        """How long a run takes from its start to its end; None when that is not known."""
        return _agreed([one.duration_s * ratio for one, ratio in self._alike(row) if one.duration_s is not None])

    def progress(self, row: RunRow, records: Sequence[Record], since_s: float = 0.0) -> Progress:
        """How far a run has come that logged `records` last, the newest `since_s` seconds ago."""
        step, last = row.step, self.last_step(row)
        if step is None or (last is not None and step > last):
            # What was learnt does not hold for it.
            last = last if step is None else None
        left = None
        if step is not None and last is not None and (pace := pace_s(records)) is not None:
            each = _stride_of(records)
            # While the next record is due, time goes on; what is overdue tells nothing.
            left = max(0.0, (last - step) * pace - min(since_s, pace * each))
        elif (step is None or last is not None) and row.duration_s is not None:
            usual = self.duration_s(row)
            left = usual - row.duration_s if usual is not None and usual > row.duration_s else None
        return Progress(step, last, left)

    def _alike(self, row: RunRow) -> list[tuple[RunRow, float]]:
        """The finished runs that tell about this one, each with how many times as long this one trains."""
        groups = self._finished.get(row.script or "", ())
        ratios = [
            (one, ratio)
            for group in groups
            if (ratio := _ratio(row, group[0])) is not None
            for one in group
            if one.name != row.name
        ]
        # The same length first, then the fewest other differences; of equals the newest.
        ranked = sorted(ratios, key=lambda pair: (*_distance(row, *pair), -pair[0].created))
        best: tuple[bool, int] | None = None
        found: list[tuple[RunRow, float]] = []
        mine = self._record_of(row) if ranked else None
        for one, ratio in ranked:
            distance = _distance(row, one, ratio)
            if (best is not None and distance != best) or len(found) == _MOST_ALIKE:
                break
            record = self._record_of(one)
            # Two projects may have a script of one name.
            if record is None or mine is None or record.folder != mine.folder:
                continue
            # What one that waits was not given will be the script's default, as it is where nobody asked for another.
            if any(says_how_long(key) and key not in row.config and key in record.asked for key in one.config):
                continue
            best = distance
            found.append((one, ratio))
        return found

    def _record_of(self, row: RunRow) -> RunRecord | None:
        if row.folder not in self._records:
            try:
                self._records[row.folder] = Run(Path(row.folder)).record() if row.folder else None
            except (StorageError, OSError):
                self._records[row.folder] = None
        return self._records[row.folder]

    def _scaled_step(self, one: RunRow, ratio: float) -> float | None:
        """The last step of a run that trains `ratio` times as long as this one."""
        assert one.step is not None
        if ratio == 1:
            return one.step
        if (found := self._stride(one)) is None:
            return None
        first, stride = found
        # 0, 100, …, 900 are ten records; twice as long are twenty: up to 1,900.
        return first + (((one.step - first) / stride + 1) * ratio - 1) * stride

    def _stride(self, row: RunRow) -> tuple[int, int] | None:
        """(first step, distance to the second) of what a run logged."""
        if row.folder not in self._strides:
            first: int | None = None
            found = None
            for record in Run(Path(row.folder)).logged() if row.folder else ():
                first = record.step if first is None else first
                if record.step > first:
                    found = (first, record.step - first)
                    break
            self._strides[row.folder] = found
        return self._strides[row.folder]


def progress_of(row: RunRow, learnt: Learnt, now: float | None = None) -> Progress:
    """How far a run has come, by its own files; `now` by the clock of their file system."""
    attempt = Run(Path(row.folder)).newest_attempt()
    if attempt is None:
        return learnt.progress(row, ())
    records = metrics.read_recent(attempt.layout.metrics, _RECENT_BYTES)
    try:
        written = attempt.layout.metrics.stat().st_mtime
    except OSError:
        return learnt.progress(row, records)
    return learnt.progress(row, records, max(0.0, (time.time() if now is None else now) - written))


def pace_s(records: Sequence[Record]) -> float | None:
    """Seconds that a step takes, by the last records of a run; None by fewer than three steps."""
    gaps = _gaps(records)
    if len(gaps) < 2:
        return None
    paces = sorted(passed / steps for passed, steps in gaps)
    # Nine of ten are no longer; 0 where a step takes less than the clock tells apart.
    usual = paces[int(0.9 * (len(paces) - 1))] or paces[-1]
    far = [passed for passed, steps in gaps if passed / steps > _FAR * usual]
    longest = 0.0
    if len(far) >= _HABIT:
        # What comes again and again belongs to the run: all but what stands out even there.
        longest = _ALIKE * statistics.median_low(far)
    kept = [(passed, steps) for passed, steps in gaps if passed / steps <= _FAR * usual or passed <= longest]
    steps_done = sum(steps for _, steps in kept)
    return sum(passed for passed, _ in kept) / steps_done if steps_done else None


def _gaps(records: Sequence[Record]) -> list[tuple[float, int]]:
    """(seconds, steps) between the records of the last stretch in which steps only grew."""
    gaps: list[tuple[float, int]] = []
    before: Record | None = None
    for record in records:
        if before is not None and record.step < before.step:
            gaps = []
        elif before is not None:
            if record.step == before.step:
                continue
            if record.time >= before.time:  # a clock that was set back
                gaps.append((record.time - before.time, record.step - before.step))
        before = record
    return gaps


def _stride_of(records: Sequence[Record]) -> float:
    gaps = _gaps(records)
    return statistics.median(steps for _, steps in gaps) if gaps else 0.0


def _ratio(row: RunRow, other: RunRow) -> float | None:
    """How many times as long a run trains as another one; None when their settings do not tell."""
    ours, theirs = row.config, other.config
    keys = dict.fromkeys([*ours, *(theirs if row.state != RunState.queued else ())])
    differing = [key for key in keys if says_how_long(key) and ours.get(key) != theirs.get(key)]
    if not differing:
        return 1.0
    mine, its = ours.get(differing[0]), theirs.get(differing[0])
    if len(differing) > 1 or not (_is_length(mine) and _is_length(its)):
        return None
    return float(mine) / float(its)


def _is_length(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _distance(row: RunRow, other: RunRow, ratio: float) -> tuple[bool, int]:
    """(whether one has to be scaled, in how many further settings they differ)."""
    keys = (key for key in row.config if not says_how_long(key) and not key.endswith("seed"))
    return ratio != 1, sum(row.config[key] != other.config.get(key) for key in keys)


def _agreed(values: Sequence[float]) -> float | None:
    """The middle one of values that are about the same; None when they are not, or there are none."""
    if not values:
        return None
    middle = statistics.median_low(values)
    return middle if max(values) - min(values) <= 2 * _AGREES * middle else None
