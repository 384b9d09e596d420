"""Facts: what the files of one run say, and the signature that tells whether they still say it.

Everything a row shows is here but what only a living process can tell (`running`, `crashed`, how long it runs): facts
name the process to ask. So facts may be kept for as long as the files stay as they are, also of a run that runs.

A signature is the times, sizes and inodes of every folder of the run and of every file that may change in place. It is
taken before the files are read, so what changes meanwhile makes it wrong, and the facts are read again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from hypertuner.index.row import RunRow
from hypertuner.index.spelling import is_nonfinite
from hypertuner.store import Run, RunState, layout, metrics, records
from hypertuner.store.attempt import living_state
from hypertuner.store.direction import direction
from hypertuner.store.process import ProcessIdentity
from hypertuner.store.run import Glance
from hypertuner.store.written import wrote_at

# File systems keep times in steps (Linux: a tick of the kernel, up to 10 ms; FAT: 2 s): a second change within one
# step is not seen. A run that changed less than this before its signature was taken is read again the next time.
_SETTLED_NS = 2_500_000_000
_BY_METRIC = ("metrics", "best", "first", "lowest", "highest")


@dataclass(frozen=True)
class Facts:
    """What the files of one run said."""

    row: RunRow
    """The row; where there is an `owner`, without its state, and with the duration until what it wrote last."""
    owner: ProcessIdentity | None = None
    """The process that must be asked how the run is; None when the files tell."""
    started: float | None = None
    logged: float | None = None
    """Time of the last record of metrics."""
    position: metrics.Position | None = None
    """How far the metrics were read, while they may grow."""

    def complete(self) -> RunRow:
        """The row as it is now."""
        if self.owner is None:
            return self.row
        state, duration_s = living_state(self.owner), self.row.duration_s
        if state == RunState.running and self.started is not None:
            duration_s = max(0.0, time.time() - self.started)
        return replace(self.row, state=str(state), duration_s=duration_s)

    def summary(self) -> metrics.Summary:
        """What was logged up to `position`."""
        row = self.row
        return metrics.Summary(
            dict(row.first), dict(row.metrics), dict(row.lowest), dict(row.highest), row.step, self.logged
        )


def read_facts(run: Run, known: Facts | None = None) -> Facts:
    """What the files of a run say. Of metrics that only grew since `known`, the rest is read.

    Raises: CorruptFileError when one of its files is damaged; OSError when one cannot be read.
    """
    glance = run if isinstance(run, Glance) else Glance(run.folder)
    record, notes, attempt = glance.record(), glance.notes(), glance.newest_attempt()
    owner = attempt.owner() if attempt is not None else None
    summary, position = _read_metrics(glance, known)
    started = records.seconds(attempt.started.started_at) if attempt is not None and attempt.started else None
    ended = attempt.exit() if attempt is not None else None
    until = records.seconds(ended.ended_at) if ended is not None else summary.time
    row = RunRow(
        name=run.name,
        state=str(RunState.unknown if owner is not None else glance.state()),
        config=glance.effective_config(),
        metrics=summary.last,
        best=_best(summary),
        tags=notes.tags,
        created=glance.created(),
        duration_s=None if started is None or until is None else max(0.0, until - started),
        step=summary.step,
        checkpoints=len(glance.checkpoints()) or int(glance.layout.model.exists()),
        nbytes=glance.size_bytes(),
        parent=record.parent.reference if record is not None and record.parent is not None else None,
        script=record.script if record is not None else None,
        note=notes.note,
        starred=notes.starred,
        archived=notes.archived,
        first=summary.first,
        lowest=summary.lowest,
        highest=summary.highest,
        folder=str(run.folder),
        wrote_at=wrote_at(attempt.layout) if attempt is not None and owner is not None else None,
        reason=ended.reason if ended is not None and ended.state != RunState.finished else None,
        colour=notes.colour,
    )
    return Facts(row, owner, started, summary.time, position if owner is not None else None)


def _read_metrics(run: Run, known: Facts | None) -> tuple[metrics.Summary, metrics.Position | None]:
    path = run.path()
    if len(path) != 1 or not path[0].attempt.layout.metrics.exists():
        return metrics.summarise(run.logged()), None
    return metrics.summarise_on(
        path[0].attempt.layout.metrics, (known.summary(), known.position) if known and known.position else None
    )


def _best(summary: metrics.Summary) -> dict[str, float]:
    found = {}
    for name, highest in summary.highest.items():
        if (way := direction(name)) is not None:
            found[name] = highest if way == "max" else summary.lowest[name]
    return found


@dataclass(frozen=True)
class Signature:
    """Names below the run's folder, and of each its times, size and inode."""

    names: list[str]
    stats: list[int]

    def holds(self, folder: str) -> bool:
        """Whether all is as it was."""
        try:
            return _stats(folder, self.names) == self.stats
        except OSError:
            return False


def signature_of(folder: str) -> Signature | None:
    """The signature of a run's folder; None when it cannot vouch for anything.

    That is: something changed just now, or cannot be read, or a folder in it is a link to somewhere else.
    """
    asked_ns = time.time_ns()
    names = [""]
    try:
        for place, folders, files in os.walk(folder, onerror=_raise):
            below = place[len(folder) :]
            if any(Path(place, name).is_symlink() for name in folders):
                return None
            # Of files that never change, the time of their folder tells which there are.
            inner = folders if layout.WRITTEN_ONCE.intersection(Path(below).parts) else [*folders, *files]
            names += [f"{below}{os.sep}{name}" for name in inner]
        stats = _stats(folder, names)
    except OSError:
        return None
    return Signature(names, stats) if max(stats[::4]) < asked_ns - _SETTLED_NS else None


def _raise(error: OSError) -> None:
    raise error


def _stats(folder: str, names: list[str]) -> list[int]:
    found: list[int] = []
    for name in names:
        status = os.stat(folder + name)  # noqa: PTH116  # asked ten times a run: a Path costs more than the call
        found += (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    return found


def encode(facts: Facts, signature: Signature | None) -> bytes | None:
    """Facts and signature as bytes; None for what JSON cannot hold, such as text that is no Unicode."""
    row = facts.row
    by_metric = {name: getattr(row, name) for name in _BY_METRIC}
    nonfinite = {
        name: {key: repr(value) for key, value in values.items() if is_nonfinite(value)}
        for name, values in by_metric.items()
    }
    try:
        return orjson.dumps(
            {
                "facts": facts,
                "nonfinite": {name: values for name, values in nonfinite.items() if values},
                "signature": signature,
            }
        )
    except orjson.JSONEncodeError:
        return None


def decode(data: bytes) -> tuple[Facts, Signature | None]:
    """What `encode` was given."""
    raw: dict[str, Any] = orjson.loads(data)
    values: dict[str, Any] = raw["facts"]
    row: dict[str, Any] = values["row"]
    row["tags"] = tuple(row["tags"])
    for name, spelled in raw["nonfinite"].items():
        row[name].update((key, float(text)) for key, text in spelled.items())
    return Facts(
        RunRow(**row),
        _made(ProcessIdentity, values["owner"]),
        values["started"],
        values["logged"],
        _made(metrics.Position, values["position"]),
    ), _made(Signature, raw["signature"])


def _made(kind: type[Any], values: Mapping[str, Any] | None) -> Any:
    return None if values is None else kind(**values)
